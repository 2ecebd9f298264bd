"""LPIPS: perceptual distance of result and driver, frame by frame (Zhang et al. 2018, CVPR, eq. 1).

The `lpips` package brings its linear layers, version 0.1; the AlexNet beneath them comes from torchvision and is read
from the user's file, so that evaluating never downloads. `value` compares with the driver, so a strong light moves it
by itself. The paper does not say between what its 0.0282 (Table 1) is; a relit clip has no true picture, and so small a
number suggests neighbouring frames of the result: `adjacent` gives that.
"""

import numpy as np

from lcvd.errors import ModelUnavailable
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, RunningMean, Score
from lcvd.metrics.weight_files import TROUBLES, every, find, first_line, require, require_package, require_torch

FILES = ("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth", "checkpoints/alexnet-owt-7be5be79.pth")
ORIGIN = "download.pytorch.org/models/alexnet-owt-7be5be79.pth (torchvision)"


class Lpips:
    """The metric `LPIPS`; AlexNet and version 0.1 are the package's defaults."""

    info = MetricInfo(
        name="LPIPS",
        column="LPIPS",
        better="lower",
        unit="",
        source="LCVD Table 1; Zhang et al. 2018 eq. 1, package lpips (net alex, v0.1; the paper names no net)",
        needs="torch, lpips, torchvision, alexnet-owt-7be5be79.pth",
        aligned=True,
    )

    def __init__(self, request: Request) -> None:
        self._files = request.files
        self._model: object | None = None
        self._distance, self._adjacent = RunningMean(), RunningMean()
        self._last: Picture | None = None

    def available(self) -> Missing | None:
        install = "pip install lpips torchvision"
        return every(
            require_torch(),
            require_package("lpips", install),
            require_package("torchvision", install),
            require(self._files, FILES, ORIGIN),
        )

    def load(self) -> None:
        import torch

        path = find(self._files, *FILES)
        assert path is not None  # available() said so
        try:
            import lpips

            model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
            published = torch.load(path, map_location="cpu", weights_only=True)
            # slice2.3.weight of the package is features.3.weight of torchvision's AlexNet.
            wanted = {name: f"features.{name.split('.', 1)[1]}" for name in model.net.state_dict()}
            model.net.load_state_dict({ours: published[theirs] for ours, theirs in wanted.items()})
        except TROUBLES as error:
            raise ModelUnavailable(f"LPIPS with {path} failed: {first_line(error)}", "fetch the file again") from error
        self._model = model.eval()

    def update(self, pair: FramePair) -> None:
        self._distance.add(self._between(pair.result, pair.driver))
        if self._last is not None:
            self._adjacent.add(self._between(pair.result, self._last))
        self._last = pair.result

    def _between(self, a: Picture, b: Picture) -> float:
        import torch

        assert callable(self._model)
        with torch.inference_mode():
            return float(self._model(_tensor(a), _tensor(b)))

    def result(self) -> Score | Missing:
        if not self._distance.count:
            return Missing("no frames", "give a clip with frames")
        details = {"std": self._distance.std, "worst": self._distance.worst}
        if self._adjacent.count:
            details["adjacent"] = self._adjacent.mean
        return Score(self._distance.mean, self._distance.count, details)


def _tensor(rgb: Picture):  # type: ignore[no-untyped-def]  # torch is not there to name the type
    import torch

    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None].float() / 127.5 - 1
