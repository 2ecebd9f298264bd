"""The second Tracker: the same Face from the `mediapipe` package, to compare with and to fall back on.

Releases from 0.10.30 (and 1.x) have the tasks API, FaceLandmarker, and need `face_landmarker.task`
(`lcvd.tracking.models`); releases up to 0.10.21 have `solutions.FaceMesh`, models inside, but hold numpy below 2, so
they live in an environment of their own (docs/tracking.md). The constructor finds out which of the two is installed.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable
from lcvd.face.geometry import face_mesh
from lcvd.tracking.crop import require_rgb
from lcvd.tracking.models import model_path
from lcvd.tracking.smooth import OneEuroSettings
from lcvd.tracking.solver import FaceSolver
from lcvd.types import Face, FloatArray

MAX_FACES = 4
RIVAL_RATIO = 1.4  # another face is followed when it is this much wider


class LandmarkSource(Protocol):
    """Landmarks of every face: list of [468,3] in the package's normalised units (x/W, y/H, −z/W)."""

    def __call__(self, rgb: NDArray[np.uint8], t_s: float) -> list[FloatArray]: ...

    def close(self) -> None: ...


class MediaPipeTracker:
    """Tracker on the `mediapipe` package. Raises ModelUnavailable when the package or its model is missing."""

    def __init__(
        self,
        *,
        directory: Path | None = None,
        cache_dir: Path | None = None,
        download: bool = True,
        smoothing: OneEuroSettings | None = OneEuroSettings(),  # noqa: B008 (frozen)
    ) -> None:
        try:
            import mediapipe
        except ImportError as error:
            raise ModelUnavailable(
                f"the mediapipe package cannot be imported: {error}", hint="pip install -e '.[mediapipe]'"
            ) from error
        self._source: LandmarkSource
        if hasattr(mediapipe, "solutions"):
            self._source = _SolutionsSource(mediapipe)
        else:
            task = model_path("face_landmarker_task", directory=directory, cache_dir=cache_dir, download=download)
            self._source = _TasksSource(mediapipe, task)
        self._solver = FaceSolver(smoothing)

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face | None:
        """The face in rgb uint8 [H,W,3] at t_s, or None. Raises ShapeError on anything but a picture."""
        require_rgb(rgb)
        height, width = rgb.shape[:2]
        to_px = np.array([width, height, -width], np.float32)
        faces = [points * to_px for points in self._source(rgb, t_s)]
        if not faces:
            return self._solver.hold(t_s)
        return self._solver.solve(self._choose(faces), 1.0, t_s)

    def reset(self) -> None:
        """Forget the face and the person; the package keeps its own clock."""
        self._solver.reset()

    def close(self) -> None:
        """Release the package's graph."""
        self._source.close()

    def _choose(self, faces: list[FloatArray]) -> FloatArray:
        """Choose the widest face; the current one counts for more, so that two equal faces do not take turns."""
        last = self._solver.raw

        def rank(points: FloatArray) -> float:
            width = float(np.ptp(points[:, 0]))
            near = last is not None and np.hypot(*(points - last)[:, :2].mean(0)) < 0.6 * np.ptp(last[:, 0])
            return width * (RIVAL_RATIO if near else 1.0)

        return max(faces, key=rank)


class _SolutionsSource:
    def __init__(self, mediapipe: Any) -> None:
        self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=False, max_num_faces=MAX_FACES, refine_landmarks=False
        )

    def __call__(self, rgb: NDArray[np.uint8], t_s: float) -> list[FloatArray]:
        found = self._mesh.process(np.ascontiguousarray(rgb)).multi_face_landmarks or []
        return [_array(face.landmark) for face in found]

    def close(self) -> None:
        self._mesh.close()


class _TasksSource:
    def __init__(self, mediapipe: Any, task: Path) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB
        # More than one face, because the package smooths (and lags 2–3 px) only when it looks for one.
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(task)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=MAX_FACES,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._last_ms = -1

    def __call__(self, rgb: NDArray[np.uint8], t_s: float) -> list[FloatArray]:
        self._last_ms = max(self._last_ms + 1, round(t_s * 1000))  # it insists on rising timestamps
        image = self._image(image_format=self._format, data=np.ascontiguousarray(rgb))
        found = self._landmarker.detect_for_video(image, self._last_ms).face_landmarks
        return [_array(face) for face in found]

    def close(self) -> None:
        self._landmarker.close()


def _array(landmarks: Any) -> FloatArray:
    # 478 with irises: the first 468 are the mesh.
    return np.array([(p.x, p.y, p.z) for p in landmarks[: len(face_mesh().neutral)]], np.float32)
