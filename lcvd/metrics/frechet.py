"""Fréchet distances of two clouds of features, from running sums: FID of frames, FVD of windows of 16 frames.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", eq. 6: |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). The
trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric, so no complex root
appears. Covariances are unbiased (n − 1), as numpy.cov and every published FID have them. FID's features are the 2048
of the original Inception (pool 3); FVD's (Unterthiner et al. 2018, section 3) the 400 of I3D in TorchScript. One clip
has few frames for 2048 dimensions and fewer windows: the numbers rank results of one driver; the paper's are over a
whole test set.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable, ShapeError
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
from lcvd.types import FloatArray


class FeatureCloud:
    """Accumulates mean and covariance of features that come in batches; memory is D² for any number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._origin: NDArray[np.float64] | None = None  # the first feature: sums about it lose no digits
        self._sum: NDArray[np.float64] | None = None
        self._outer: NDArray[np.float64] | None = None

    def add(self, features: NDArray[np.floating]) -> None:
        """Take features [N,D]. Raises ShapeError."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2:
            raise ShapeError(f"features have shape {list(x.shape)}", "give [N,D]")
        if not np.isfinite(x).all():
            raise ShapeError("features are not finite", "the network or its weights are damaged")
        if self._origin is None or self._sum is None or self._outer is None:
            self._origin = x[0].copy()
            self._sum = np.zeros(x.shape[1])
            self._outer = np.zeros((x.shape[1], x.shape[1]))
        if x.shape[1] != len(self._origin):
            raise ShapeError(f"features have {x.shape[1]} numbers, the first had {len(self._origin)}")
        x = x - self._origin
        self._sum += x.sum(0)
        self._outer += x.T @ x
        self.count += len(x)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean [D]. Raises ShapeError without features."""
        if self._origin is None or self._sum is None:
            raise ShapeError("a cloud without features has no mean")
        return self._origin + self._sum / self.count

    def covariance(self) -> NDArray[np.float64]:
        """Return the unbiased covariance [D,D]. Raises ShapeError with fewer than two features."""
        if self._sum is None or self._outer is None or self.count < 2:
            raise ShapeError(f"a cloud of {self.count} has no covariance", "give at least two features")
        mean = self._sum / self.count
        covariance: NDArray[np.float64] = (self._outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return covariance


def frechet_distance(a: FeatureCloud, b: FeatureCloud) -> float:
    """Return the Fréchet distance of two clouds, at least 0. Raises ShapeError."""
    first, second = a.covariance(), b.covariance()
    values, vectors = np.linalg.eigh(first)
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ second @ half), 0))
    apart = float(np.square(a.mean() - b.mean()).sum())
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * roots.sum()))


TORCHSCRIPT = "inception-2015-12-05.pt"
FIDELITY = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
INCEPTION_ORIGIN = (
    "NVIDIA's StyleGAN3 metrics (inception-2015-12-05.pt) or github.com/mseitzer/pytorch-fid/releases/tag/fid_weights"
)
PictureFeatures = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # [N,3,H,W] -> [N,2048]


def load_inception(path: Path) -> PictureFeatures:
    """Load the feature network of a file. Raises ModelUnavailable."""
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
    """The metric `FID`. `features` replaces the network of the file."""

    info = MetricInfo(
        name="FID",
        column="FID",
        better="lower",
        unit="",
        source="LCVD Tables 1, 3, 4; Heusel et al. 2017 eq. 6; Inception as in pytorch-fid / StyleGAN3",
        needs=f"torch and {TORCHSCRIPT}, or torch-fidelity and {FIDELITY[0]}",
    )

    def __init__(self, request: Request, features: PictureFeatures | None = None) -> None:
        self._files = request.files
        self._features = features
        self._result, self._driver = FeatureCloud(), FeatureCloud()

    def available(self) -> Missing | None:
        if self._features is not None:
            return None
        found = find(self._files, TORCHSCRIPT, *FIDELITY)
        return every(
            require_torch(),
            require(self._files, (TORCHSCRIPT, *FIDELITY), INCEPTION_ORIGIN),
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


I3D_FILES = ("i3d_torchscript.pt",)
I3D_ORIGIN = "github.com/universome/stylegan-v (i3d_torchscript.pt)"
I3D_FRAMES = 16
SIDE_PX = 224
VideoFeatures = Callable[[FloatArray], NDArray[np.floating]]  # [1,3,16,224,224] in [-1,1] -> [1,400]


def i3d_picture(rgb: Picture) -> FloatArray:
    """Prepare a frame for I3D, [3,224,224] in [-1,1]: shorter side to 224 bilinearly, then a centre crop."""
    height, width = rgb.shape[:2]
    scale = SIDE_PX / min(height, width)
    size = max(SIDE_PX, -int(-width * scale // 1)), max(SIDE_PX, -int(-height * scale // 1))
    resized = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.float32)
    top, left = (resized.shape[0] - SIDE_PX) // 2, (resized.shape[1] - SIDE_PX) // 2
    cut = resized[top : top + SIDE_PX, left : left + SIDE_PX]
    return np.ascontiguousarray(cut.transpose(2, 0, 1) / 127.5 - 1)


class Fvd:
    """The metric `FVD`. `features` replaces the network of the file."""

    info = MetricInfo(
        name="FVD",
        column="FVD",
        better="lower",
        unit="",
        source="LCVD Table 1; Unterthiner et al. 2018 section 3; I3D as in StyleGAN-V",
        needs="torch, i3d_torchscript.pt",
    )

    def __init__(self, request: Request, features: VideoFeatures | None = None) -> None:
        self._files, self._frames = request.files, request.frames
        self._features = features
        self._windows: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        self._clouds = FeatureCloud(), FeatureCloud()

    def available(self) -> Missing | None:
        if self._frames < 2 * I3D_FRAMES:
            return Missing(f"{self._frames} frames", f"a covariance needs two windows: {2 * I3D_FRAMES} frames")
        if self._features is not None:
            return None
        return every(require_torch(), require(self._files, I3D_FILES, I3D_ORIGIN))

    def load(self) -> None:
        path = find(self._files, *I3D_FILES)
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
            if len(window) == I3D_FRAMES:
                cloud.add(self._features(np.stack(window, axis=1)[None]))
                window.clear()

    def result(self) -> Score | Missing:
        result, driver = self._clouds
        if result.count < 2:
            return Missing(f"{result.count} window(s) of {I3D_FRAMES} frames", "a covariance needs two")
        return Score(frechet_distance(result, driver), I3D_FRAMES * result.count, {"windows": float(result.count)})
