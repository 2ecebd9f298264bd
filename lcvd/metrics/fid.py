"""FID: how far the result's frames are, as a crowd, from the driver's (Heusel et al. 2017, eq. 6).

Features are the 2048 of the original Inception (pool 3): NVIDIA's TorchScript `inception-2015-12-05.pt` needs torch
only; the weights of pytorch-fid and torchmetrics go through the package torch-fidelity. Both resize to 299² themselves,
as TensorFlow did. One clip has few frames for 2048 dimensions, and they resemble each other: the number ranks results
of one driver; the paper's is over a whole test set.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable
from lcvd.metrics.frechet import FeatureCloud, frechet_distance
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, Score
from lcvd.metrics.weight_files import (
    TROUBLES,
    every,
    find,
    first_line,
    load_torchscript,
    require,
    require_package,
    require_torch,
)

TORCHSCRIPT = "inception-2015-12-05.pt"
FIDELITY = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
ORIGIN = (
    "NVIDIA's StyleGAN3 metrics (inception-2015-12-05.pt) or github.com/mseitzer/pytorch-fid/releases/tag/fid_weights"
)
Features = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # [N,3,H,W] -> [N,2048]


def load_inception(path: Path) -> Features:
    """The feature network of a file. Raises ModelUnavailable."""
    import torch

    if path.name == TORCHSCRIPT:
        script = load_torchscript(path)

        def through_script(pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
            with torch.inference_mode():
                return np.asarray(script(torch.from_numpy(pictures), return_features=True))

        return through_script
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        torch.load(path, map_location="cpu", weights_only=True)  # refuses code; the package would run it
        model = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        ).eval()
    except TROUBLES as error:
        raise ModelUnavailable(f"Inception from {path} failed: {first_line(error)}", "fetch the file again") from error

    def through_fidelity(pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(pictures))[0])

    return through_fidelity


class Fid:
    """`FID`. `features` replaces what the file would give."""

    info = MetricInfo(
        name="FID",
        column="FID",
        better="lower",
        unit="",
        source="LCVD Tables 1, 3, 4; Heusel et al. 2017 eq. 6; Inception as in pytorch-fid / StyleGAN3",
        needs=f"torch and {TORCHSCRIPT}, or torch-fidelity and {FIDELITY[0]}",
    )

    def __init__(self, request: Request, features: Features | None = None) -> None:
        self._files = request.files
        self._features = features
        self._result, self._driver = FeatureCloud(), FeatureCloud()

    def available(self) -> Missing | None:
        if self._features is not None:
            return None
        found = find(self._files, TORCHSCRIPT, *FIDELITY)
        return every(
            require_torch(),
            require(self._files, (TORCHSCRIPT, *FIDELITY), ORIGIN),
            require_package("torch_fidelity", "pip install torch-fidelity")
            if found and found.suffix == ".pth"
            else None,
        )

    def load(self) -> None:
        path = find(self._files, TORCHSCRIPT, *FIDELITY)
        if self._features is None and path is not None:
            self._features = load_inception(path)

    def update(self, pair: FramePair) -> None:
        assert self._features is not None
        for cloud, rgb in ((self._result, pair.result), (self._driver, pair.driver)):
            cloud.add(self._features(_planes(rgb)))

    def result(self) -> Score | Missing:
        if self._result.count < 2:
            return Missing(f"{self._result.count} frame(s)", "a covariance needs two frames, a useful FID hundreds")
        return Score(frechet_distance(self._result, self._driver), self._result.count)


def _planes(rgb: Picture) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))[None]
