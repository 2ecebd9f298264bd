"""The default Tracker: frames and their times become a Face, by MediaPipe's models on LiteRT.

rgb uint8 [H,W,3] → (lost: detector → square) → landmark network on the square → next square from the points →
`FaceSolver`. Seconds, never frame counts, drive everything in time. It follows one face: the largest, and stays with
it until another has been clearly larger for a while. With `rests` the network rests while the pixels tell where the
mesh is now: for light, one frame of 30 a second while the head moves, two while hardly anything in the face changes;
for an avatar's expression, one frame in which hardly anything changes.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import face_mesh
from lcvd.tracking.crop import Roi, require_rgb, roi_around
from lcvd.tracking.detector import BlazeFace, Detection
from lcvd.tracking.landmarks import LandmarkNetwork
from lcvd.tracking.models import model_path
from lcvd.tracking.others import OtherFaces
from lcvd.tracking.registration import MeshRegistration
from lcvd.tracking.smooth import OneEuroSettings
from lcvd.tracking.solver import FaceSolver
from lcvd.types import Face, FloatArray

MIN_PRESENCE = 0.5
FULL_RANGE_EVERY_S = 0.25  # the slower detector (5 ms), while nothing is found
RIVAL_EVERY_S = 0.7  # how often to look for a larger face (2 ms)
RIVAL_RATIO = 1.4  # it must be this much wider …
RIVAL_LOOKS = 2  # … in this many looks running
REFINEMENTS = 3  # landmark passes on a fresh detection: its box is rough
VAIN, PAUSE_S = 3, 0.25  # after so many times in vain the pixels are not asked for so long
MOVED_S = 0.1  # frames further apart tell no speed
MIN_FACE_PX = 12.0  # below this the network invents a face
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners


# Until so many s after its last run the network rests, up to MeshRegistration's error and change of expression.
Rests = tuple[tuple[float, float, float], ...]
NEVER: Rests = ()
FOR_LIGHT: Rests = ((0.05, 0.13, 0.5), (0.085, 0.045, 0.15))  # an expression may be a frame or two late
FOR_EXPRESSION: Rests = ((0.05, 0.05, 0.05),)


class MeshTracker:
    """Follows one face; with `others` it also tells the further ones in the picture. Not for two threads at once.

    `directory`, `cache_dir` and `download` are those of `lcvd.tracking.models.model_path`; `smoothing=None` turns the
    filter off. Raises ModelUnavailable.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        cache_dir: Path | None = None,
        download: bool = True,
        smoothing: OneEuroSettings | None = OneEuroSettings(),  # noqa: B008 (frozen)
        others: bool = False,
        rests: Rests = NEVER,
    ) -> None:
        find = partial(model_path, directory=directory, cache_dir=cache_dir, download=download)
        self._near = BlazeFace.short_range(find("face_detection_short_range"))
        self._far_path = find("face_detection_full_range")
        # No method of ours: a tracker with others would be in a circle, and its networks stay until Python looks there.
        self._landmarks = partial(_landmarks, LandmarkNetwork(find("face_landmark")))
        self._solver = FaceSolver(smoothing)
        self._others = OtherFaces(self._landmarks, smoothing) if others else None
        self._registration = MeshRegistration(face_mesh()) if rests else None
        self._rests = rests
        self.reset()

    @cached_property
    def _far(self) -> BlazeFace:
        """The network for faces far away: 7 MB and 25 ms that a stream need not spend while a face is near."""
        return BlazeFace.full_range(self._far_path)

    def reset(self) -> None:
        """Forget the face, the person and the clock."""
        self._solver.reset()
        self._roi: Roi | None = None
        self._size: tuple[int, ...] | None = None
        self._t_s = -np.inf
        self._far_s = -np.inf
        self._rival_s = -np.inf
        self._rival_looks = 0
        self._kept_s = -np.inf  # when the network last ran on the followed face
        self._presence = 0.0  # as it said then
        self._refused, self._asks_s = 0, -np.inf  # asked in vain so often, the pixels are asked again from then on
        self._speed: FloatArray = np.zeros(2, np.float32)  # of the followed face, px/s
        self._detected: list[Detection] = []  # what the detector saw since the last frame
        self.others: Mapping[int, Face] = {}  # in the last frame, beside the one that `track` returned, by number
        if self._others is not None:
            self._others.reset()

    def close(self) -> None:
        """Forget everything; the networks go with the object."""
        self.reset()

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face | None:
        """The face in rgb uint8 [H,W,3] at t_s, or None. Raises ShapeError on anything but a picture.

        A frame of another size, or a clock that ran back, starts afresh.
        """
        require_rgb(rgb)
        if rgb.shape[:2] != self._size or t_s < self._t_s:
            self.reset()
        self._size, self._t_s = rgb.shape[:2], t_s
        self._look_for_rival(rgb)
        found = self._register(rgb) or self._run(rgb) or self._search(rgb)
        if found is None:
            self.others = {}
            return self._solver.hold(t_s)
        points, presence = found
        self._speed = self._speed_of(points)
        if self._others is not None:
            self._others.adopt(rgb, self._detected, points)
            self._detected = []
            self.others = self._others.track(rgb, t_s, points)
        return self._solver.solve(points, presence, t_s)

    def _register(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, float] | None:
        """Return the points where they can be found without the network."""
        since_s = self._t_s - self._kept_s
        if self._registration is None or self._roi is None or not 0 < since_s < self._rests[-1][0]:
            return None
        seen = self._registration.follow(rgb, self._speed * np.float32(since_s))
        error, changed = next(limits for seconds, *limits in self._rests if since_s < seconds)
        if seen is None or seen.error > error or seen.changed > changed:
            self._refused += 1
            if self._refused >= VAIN:
                self._asks_s = self._t_s + PAUSE_S
            return None
        self._refused = 0
        following = _next_roi(seen.points)
        if not _plausible(seen.points, following, rgb.shape):
            return None
        self._roi = following
        return seen.points, self._presence

    def _run(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, float] | None:
        """Return the points that the network sees in the present square."""
        found = self._follow(rgb)
        if self._registration is not None:
            self._kept_s = -np.inf
            if found is not None:
                self._presence = found[1]
                if self._t_s >= self._asks_s:
                    self._kept_s = self._t_s
                    self._registration.keep(rgb, found[0])
        return found

    def _follow(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, float] | None:
        if self._roi is None:
            return None
        found = self._landmarks(rgb, self._roi)
        self._roi = None if found is None else found[2]
        return None if found is None else found[:2]

    def _speed_of(self, points: FloatArray) -> FloatArray:
        """Return the speed [2] of a face that is now at `points`, px/s; 0 where it was not there in the last frame."""
        moved_s, before = self._t_s - self._solver.seen_s, self._solver.raw
        if before is None or not 0 < moved_s < MOVED_S:
            return np.zeros(2, np.float32)
        return np.asarray((points - before)[:, :2].mean(0) / moved_s, np.float32)

    def _search(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, float] | None:
        for detection in self._candidates(self._detect(rgb)):
            self._roi = detection.roi()
            found = None
            for _ in range(REFINEMENTS):
                found = self._follow(rgb)
                if found is None:
                    break
            if found is not None:
                if not self._is_current(detection):
                    self._solver.new_person()
                return found
        return None

    def _detect(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """Find faces with either network. The full-range one runs only when it can add something."""
        near = self._near(rgb)
        # Several faces: the short-range network draws small ones all alike (140 px for 104 and 139), so it cannot
        # say which is the larger. None: they may be far away; but most often there is none, hence the pause.
        if len(near) > 1 or (not near and self._t_s - self._far_s >= FULL_RANGE_EVERY_S):
            self._far_s = self._t_s
            far = self._far(rgb)
            near = far + [d for d in near if not any(_same(d, other) for other in far)]
        self._detected = [d for d in near if d.width_px >= MIN_FACE_PX]
        return self._detected

    def _candidates(self, found: list[Detection]) -> list[Detection]:
        """Sort by width, three at most; the face just lost counts for more, so that equal faces do not take turns."""

        def rank(d: Detection) -> float:
            return d.width_px * (RIVAL_RATIO if self._is_current(d) else 1.0)

        return sorted(found, key=rank, reverse=True)[:3]

    def _is_current(self, d: Detection) -> bool:
        raw = self._solver.raw
        if raw is None:
            return False
        x, y = raw[:, :2].mean(0)
        return bool(np.hypot(d.x_px - x, d.y_px - y) < 0.6 * np.ptp(raw[:, 0]))

    def _look_for_rival(self, rgb: NDArray[np.uint8]) -> None:
        if self._roi is None or self._t_s - self._rival_s < RIVAL_EVERY_S:
            return
        self._rival_s = self._t_s
        found = self._detect(rgb)
        # Both are measured by the detector's box. A face the detector misses is the smaller one, or turned away; it
        # is then measured by the square around it, which is about twice as wide as the detector's box.
        width = max((d.width_px for d in found if self._is_current(d)), default=self._roi.size_px / 2)
        rivals = [d for d in found if not self._is_current(d) and d.width_px > RIVAL_RATIO * width]
        self._rival_looks = self._rival_looks + 1 if rivals else 0
        if self._rival_looks >= RIVAL_LOOKS:
            self._rival_looks = 0
            self._roi = max(rivals, key=lambda d: d.width_px).roi()
            self._kept_s = -np.inf
            self._solver.new_person()


def _landmarks(network: LandmarkNetwork, rgb: NDArray[np.uint8], roi: Roi) -> tuple[FloatArray, float, Roi] | None:
    """The points in the square, their presence, and the next square; None where there is no face."""
    points, presence = network(rgb, roi)
    following = _next_roi(points)
    if presence < MIN_PRESENCE or not _plausible(points, following, rgb.shape):
        return None
    return points, presence, following


def _next_roi(points: FloatArray) -> Roi:
    dx, dy = points[LEFT_EYE, :2] - points[RIGHT_EYE, :2]
    return roi_around(points, float(np.arctan2(dy, dx)))


def _same(a: Detection, b: Detection) -> bool:
    return float(np.hypot(a.x_px - b.x_px, a.y_px - b.y_px)) < 0.5 * max(a.width_px, b.width_px)


def _plausible(points: FloatArray, roi: Roi, shape: tuple[int, ...]) -> bool:
    """Return False for a face that is too small, too large or outside the frame."""
    if not np.isfinite(points).all() or roi.size_px < MIN_FACE_PX or roi.size_px > 4 * max(shape[:2]):
        return False
    inside = (points[:, 0] > 0) & (points[:, 0] < shape[1]) & (points[:, 1] > 0) & (points[:, 1] < shape[0])
    return bool(inside.mean() > 0.3)
