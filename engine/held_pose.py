"""The portrait's pose follows the driver's face while one is seen, and is held while none is.

Before the first face the portrait rests in its own pose. After a loss it moves from the held pose to the new one over
200 ms of the stream's own time, so that a face that comes back does not make the picture jump.
"""

from collections.abc import Callable
from dataclasses import replace

from lcvd.types import Face

EASE_S = 0.2


class HeldPose:
    """Holds the pose of one portrait. `pose` turns the driver's face into the portrait's (lcvd.motion)."""

    def __init__(self, rest: Face, pose: Callable[[Face], Face]) -> None:
        self._pose = pose
        self._shown = self._from = rest
        self._lost = False
        self._back_s = float("-inf")

    def at(self, seen: Face | None, t_s: float) -> Face:
        """Return the portrait's face at `t_s`; `seen` is the driver's, None or held where no face was found."""
        if seen is None or seen.held:
            self._lost = True
            return self._shown
        if self._lost:
            self._from, self._back_s, self._lost = self._shown, t_s, False
        face = self._pose(seen)
        u = min(max((t_s - self._back_s) / EASE_S, 0.0), 1.0)
        if u < 1:
            u = u * u * (3 - 2 * u)
            held = self._from.vertices_px
            face = replace(face, vertices_px=held + (face.vertices_px - held) * u)
        self._shown = face
        return face
