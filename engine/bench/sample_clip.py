"""The page's sample portrait, gently moving: a face for benches and tests where no camera and no clip is at hand.

Head and shoulders fill the frame as before a webcam (background continued by its mirror image) and sway, breathe
and tilt on sine paths that close after `PERIOD_S`. Frames are RGB uint8 [H,W,3].
"""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import ClipError

PORTRAIT = Path(__file__).resolve().parent.parent.parent / "client_web" / "sample" / "portrait.jpg"
PERIOD_S = 8.0
SWAY, NOD = 0.035, 0.02  # of the frame's short side
ZOOM = 0.04
TILT_DEG = 3.0
CENTRE_PX = (226.0, 158.0)  # of the picture cut out of the portrait, between chin and collar
SHORT_PX = 350.0  # portrait pixels along the frame's short side; the timecode's strip leaves the hair free


def sample_frames(size: tuple[int, int] = (480, 640), fps: float = 30.0) -> Iterator[NDArray[np.uint8]]:
    """Endless frames of `size` (height, width)."""
    portrait = load_portrait()
    index = 0
    while True:
        yield sample_frame(portrait, size, index / fps)
        index += 1


def load_portrait() -> NDArray[np.uint8]:
    """The portrait, RGB uint8 [H,W,3]. ClipError where it is missing."""
    bgr = cv2.imread(str(PORTRAIT))
    if bgr is None:
        raise ClipError(f"{PORTRAIT}: the sample portrait is missing", "install the whole package, or name a clip")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def sample_frame(portrait: NDArray[np.uint8], size: tuple[int, int], t_s: float) -> NDArray[np.uint8]:
    """The frame of `size` (height, width) at `t_s`."""
    height, width = size
    short = min(height, width)
    turn = 2 * math.pi * t_s / PERIOD_S
    scale = short / SHORT_PX * (1 + ZOOM * math.sin(turn))
    matrix = cv2.getRotationMatrix2D(CENTRE_PX, TILT_DEG * math.sin(2 * turn + 0.5), scale)
    matrix[0, 2] += width / 2 - CENTRE_PX[0] + SWAY * short * math.sin(turn + 1.0)
    matrix[1, 2] += height / 2 - CENTRE_PX[1] + NOD * short * math.sin(3 * turn)
    frame = cv2.warpAffine(portrait, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(frame, np.uint8)
