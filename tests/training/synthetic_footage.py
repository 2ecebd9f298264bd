"""Writes small videos for the tests of training: a real face (the page's sample portrait) that sways, and no face."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

PORTRAIT = Path(__file__).resolve().parents[2] / "client_web" / "sample" / "portrait.jpg"


def sway(count: int, size: int = 256, phase: float = 0.0) -> list[np.ndarray]:
    """Returns the portrait, `size`² RGB, moving by up to 3 % to and fro."""
    bgr = cv2.imread(str(PORTRAIT))
    assert bgr is not None
    still = cv2.resize(np.ascontiguousarray(bgr[:, :, ::-1]), (size, size), interpolation=cv2.INTER_AREA)
    out = []
    for i in range(count):
        dx = 0.03 * size * np.sin(0.25 * i + phase)
        matrix = np.array([[1, 0, dx], [0, 1, 0.3 * dx]], np.float64)
        out.append(cv2.warpAffine(still, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE))
    return out


def walls(count: int, size: int = 256, seed: int = 0) -> list[np.ndarray]:
    """Returns coloured noise without a face."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (8, 8, 3), np.uint8)
    return [cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)] * count


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int = 25) -> Path:
    """Writes H.264 of good quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.codec_context.time_base = Fraction(1, fps)
        for index, rgb in enumerate(frames):
            if index == 0:
                stream.height, stream.width, stream.pix_fmt = rgb.shape[0], rgb.shape[1], "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
