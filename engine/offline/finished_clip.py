"""The record of a clip that was written."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FinishedClip:
    """Describes a written clip."""

    frames: int  # as many as were read
    faces: int  # frames in which a face was found; 0 too where the engine looks for none
    width: int  # px
    height: int
    fps: float
    sounds: int  # tracks
    notes: tuple[str, ...]  # what was left out or mended, one sentence each
