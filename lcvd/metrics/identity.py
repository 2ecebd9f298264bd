"""Compares the person of result and reference: cosine similarity of their ArcFace embeddings.

Deng et al. 2019, "ArcFace" (CVPR); preprocessing of the InsightFace project: similarity from five points (eyes, nose
tip, mouth corners) onto its 112×112 template, (RGB − 127.5)/127.5, NCHW. Without a reference portrait the driver's
frame of the same index stands in. The file is the user's: .onnx through onnxruntime, or TorchScript through torch.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.face.geometry import similarity
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, RunningMean, Score
from lcvd.metrics.weight_files import find, first_line, load_torchscript, require, require_package, require_torch
from lcvd.types import Face, FloatArray

SIDE_PX = 112
# InsightFace's template: left eye, right eye (of the picture), nose tip, mouth corners left, right; px of 112×112.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = 4, 61, 291  # vertices of the MediaPipe mesh; left and right of the picture
FILES = ("arcface.onnx", "w600k_r50.onnx", "glintr100.onnx", "arcface.pt")
ORIGIN = "InsightFace's model zoo, github.com/deepinsight/insightface (buffalo_l has w600k_r50.onnx; research licence)"
Embedder = Callable[[FloatArray], NDArray[np.floating]]  # [1,3,112,112] in [-1,1] -> [1,D]


def five_points(face: Face) -> FloatArray:
    """Return five points [5,2] px in the template's order. Raises ShapeError for a mesh other than MediaPipe's."""
    if len(face.vertices_px) < 468:
        raise ShapeError(f"mesh {face.mesh.name} has {len(face.vertices_px)} vertices", "MediaPipe's has 468")
    xy, regions = face.vertices_px[:, :2], face.mesh.regions
    # The person's right eye is on the picture's left.
    eyes = [xy[regions[name]].mean(0) for name in ("right_eye", "left_eye")]
    return np.array([*eyes, xy[NOSE_TIP], xy[MOUTH_LEFT], xy[MOUTH_RIGHT]], np.float32)


def aligned_crop(rgb: Picture, face: Face) -> FloatArray:
    """Warp the face onto ArcFace's template: float32 [3,112,112] in [-1,1]."""
    flat = [np.column_stack([points, np.zeros(5)]) for points in (five_points(face), TEMPLATE)]
    scale, rotation, translation = similarity(*flat)
    matrix = np.column_stack([scale * rotation[:2, :2], translation[:2]]).astype(np.float64)
    crop = cv2.warpAffine(rgb, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray((np.asarray(crop, np.float32).transpose(2, 0, 1) - 127.5) / 127.5)


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the cosine similarity of two vectors [D]; 0 where one is zero."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-12))


def load_embedder(path: Path) -> Embedder:
    """Load ArcFace from an .onnx or a TorchScript file. Raises ModelUnavailable."""
    if path.suffix != ".onnx":
        import torch

        model = load_torchscript(path)

        def through_torch(crops: FloatArray) -> NDArray[np.floating]:
            with torch.inference_mode():
                return np.asarray(model(torch.from_numpy(crops)))

        return through_torch
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as pybind

    # onnxruntime's exceptions share no base of their own.
    troubles = tuple(kind for kind in vars(pybind).values() if isinstance(kind, type) and issubclass(kind, Exception))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except troubles as error:
        raise ModelUnavailable(f"{path}: not an ONNX model ({first_line(error)})", "fetch it again") from error
    name = session.get_inputs()[0].name

    def through_onnx(crops: FloatArray) -> NDArray[np.floating]:
        return np.asarray(session.run(None, {name: crops})[0])

    return through_onnx


class Identity:
    """The metric `ID`. `embedder` replaces the network of the file."""

    info = MetricInfo(
        name="ID",
        column="ID",
        better="higher",
        unit="cosine",
        source="LCVD Tables 1, 3, 4, 5; ArcFace, Deng et al. 2019, preprocessing of InsightFace",
        needs="arcface.onnx and onnxruntime, or arcface.pt (TorchScript) and torch",
    )

    def __init__(self, request: Request, embedder: Embedder | None = None) -> None:
        self._request = request
        self._embedder = embedder
        self._reference: NDArray[np.floating] | None = None
        self._similarity = RunningMean()
        self._least = 1.0

    def available(self) -> Missing | None:
        request = self._request
        if request.reference is not None and request.reference_face is None:
            return Missing("no face was found in the reference", "give a portrait with one clear face")
        if request.reference is None and request.person == "other":
            return Missing("no reference portrait was given", "add --reference portrait.png")
        if self._embedder is not None:
            return None
        missing = require(request.files, FILES, ORIGIN)
        if missing is not None:
            return missing
        if self._path.suffix == ".onnx":
            return require_package("onnxruntime", "pip install onnxruntime")
        return require_torch()

    @property
    def _path(self) -> Path:
        path = find(self._request.files, *FILES)
        assert path is not None  # available() said so
        return path

    def load(self) -> None:
        if self._embedder is None:
            self._embedder = load_embedder(self._path)
        if self._request.reference is not None and self._request.reference_face is not None:
            self._reference = self._embed(self._request.reference, self._request.reference_face)

    def _embed(self, rgb: Picture, face: Face) -> NDArray[np.floating]:
        assert self._embedder is not None
        return np.asarray(self._embedder(aligned_crop(rgb, face)[None]))[0]

    def update(self, pair: FramePair) -> None:
        if pair.result_face is None or pair.result_face.held:
            return
        reference = self._reference
        if reference is None:
            if pair.driver_face is None or pair.driver_face.held:
                return
            reference = self._embed(pair.driver, pair.driver_face)
        value = cosine(self._embed(pair.result, pair.result_face), reference)
        self._similarity.add(value)
        self._least = min(self._least, value)

    def result(self) -> Score | Missing:
        if not self._similarity.count:
            return Missing("no frame shows a face", "give a clip with a face in view")
        details = {"std": self._similarity.std, "least": self._least}
        return Score(self._similarity.mean, self._similarity.count, details)
