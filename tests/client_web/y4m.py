"""Writes RGB pictures as the .y4m file that Chromium's fake camera plays; a fresh machine has no ffmpeg to do so."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_y4m(path: Path, pictures: Iterable[NDArray[np.uint8]], fps: int) -> None:
    """Writes uint8 [H,W,3] pictures of one even size as 4:2:0."""
    with path.open("wb") as file:
        for index, rgb in enumerate(pictures):
            if index == 0:
                file.write(f"YUV4MPEG2 W{rgb.shape[1]} H{rgb.shape[0]} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
            file.write(b"FRAME\n")
            file.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).tobytes())
