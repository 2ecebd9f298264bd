"""FVD: Fréchet distance of video features, 16 frames at a time (Unterthiner et al. 2018, "Towards Accurate Generative
Models of Video", section 3).

Features are the 400 logits of I3D (Kinetics-400) from the TorchScript file that StyleGAN-V and most later papers use;
frames go in as they do: shorter side to 224, centre crop, [-1,1]. Windows do not overlap and a rest of fewer than 16
frames is left out. A clip gives few windows, so the number ranks results of one driver and is not the paper's.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.metrics.frechet import FeatureCloud, frechet_distance
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, Score
from lcvd.metrics.weight_files import every, find, load_torchscript, require, require_torch
from lcvd.types import FloatArray

FILES = ("i3d_torchscript.pt",)
ORIGIN = "github.com/universome/stylegan-v (i3d_torchscript.pt)"
WINDOW = 16
SIDE_PX = 224
Features = Callable[[FloatArray], NDArray[np.floating]]  # [1,3,16,224,224] in [-1,1] -> [1,400]


def i3d_picture(rgb: Picture) -> FloatArray:
    """[3,224,224] in [-1,1]: shorter side to 224 bilinearly, centre crop."""
    height, width = rgb.shape[:2]
    scale = SIDE_PX / min(height, width)
    size = max(SIDE_PX, -int(-width * scale // 1)), max(SIDE_PX, -int(-height * scale // 1))
    resized = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.float32)
    top, left = (resized.shape[0] - SIDE_PX) // 2, (resized.shape[1] - SIDE_PX) // 2
    cut = resized[top : top + SIDE_PX, left : left + SIDE_PX]
    return np.ascontiguousarray(cut.transpose(2, 0, 1) / 127.5 - 1)


class Fvd:
    """`FVD`. `features` replaces what the file would give."""

    info = MetricInfo(
        name="FVD",
        column="FVD",
        better="lower",
        unit="",
        source="LCVD Table 1; Unterthiner et al. 2018 section 3; I3D as in StyleGAN-V",
        needs="torch, i3d_torchscript.pt",
    )

    def __init__(self, request: Request, features: Features | None = None) -> None:
        self._files, self._frames = request.files, request.frames
        self._features = features
        self._windows: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        self._clouds = FeatureCloud(), FeatureCloud()

    def available(self) -> Missing | None:
        if self._frames < 2 * WINDOW:
            return Missing(f"{self._frames} frames", f"a covariance needs two windows: {2 * WINDOW} frames")
        if self._features is not None:
            return None
        return every(require_torch(), require(self._files, FILES, ORIGIN))

    def load(self) -> None:
        path = find(self._files, *FILES)
        if self._features is None and path is not None:
            import torch

            script = load_torchscript(path)

            def through_script(clips: FloatArray) -> NDArray[np.floating]:
                with torch.inference_mode():
                    out = script(torch.from_numpy(clips), rescale=False, resize=False, return_features=True)
                return np.asarray(out)

            self._features = through_script

    def update(self, pair: FramePair) -> None:
        assert self._features is not None
        for window, cloud, rgb in zip(self._windows, self._clouds, (pair.result, pair.driver), strict=True):
            window.append(i3d_picture(rgb))
            if len(window) == WINDOW:
                cloud.add(self._features(np.stack(window, axis=1)[None]))
                window.clear()

    def result(self) -> Score | Missing:
        result, driver = self._clouds
        if result.count < 2:
            return Missing(f"{result.count} window(s) of {WINDOW} frames", "a covariance needs two")
        return Score(frechet_distance(result, driver), WINDOW * result.count, {"windows": float(result.count)})
