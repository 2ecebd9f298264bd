"""Advice for the participant on where their face is: Face or None, over time → one FaceState.

A state must hold for a while before it is shown, and each limit has a band, so that messages do not flicker.
The module knows nothing of engines; the time is that of the frames.
"""

from typing import Literal

from lcvd.types import Face

FaceState = Literal["ok", "no_face", "move_closer", "turn_to_camera"]

MIN_WIDTH = 0.09  # face width over the picture's short side: below it there is too little skin to light well
MAX_TURN_COS = 0.62  # cosine of the angle between nose and camera: 52°; beyond it the far half of the mesh is a guess
BAND = 1.15  # a limit once crossed is crossed back only beyond this factor
HOLD_S = {"ok": 0.3, "no_face": 1.0, "move_closer": 1.0, "turn_to_camera": 1.0}  # good news faster than advice


def face_state(face: Face | None, size: tuple[int, int], shown: FaceState = "ok") -> FaceState:
    """Judges one frame of `size` (height, width), given the state that is shown now."""
    if face is None:
        return "no_face"
    width = face.width_px / min(size)
    if width < MIN_WIDTH * (BAND if shown == "move_closer" else 1.0):
        return "move_closer"
    facing = float(face.rotation[2, 2])  # z of the canonical +z axis: 1 looks into the camera
    if facing < MAX_TURN_COS * (BAND if shown == "turn_to_camera" else 1.0):
        return "turn_to_camera"
    return "ok"


class FaceAdvice:
    """Follows the state over time. Call `update` once a frame; show `state`."""

    def __init__(self) -> None:
        self.state: FaceState = "ok"
        self._candidate: FaceState = "ok"
        self._since_s: float | None = None

    def update(self, face: Face | None, size: tuple[int, int], t_s: float) -> FaceState:
        """Takes one frame's face into account and returns the state to show."""
        found = face_state(face, size, self.state)
        if found == self.state:
            self._candidate, self._since_s = found, None
        elif found != self._candidate or self._since_s is None:
            self._candidate, self._since_s = found, t_s
        if self._since_s is not None and t_s - self._since_s >= HOLD_S[self._candidate]:
            self.state, self._since_s = self._candidate, None
        return self.state
