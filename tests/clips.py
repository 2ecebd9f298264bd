"""Makes small video files for tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A smooth gradient that brightens with the index and is brighter at the right and at the bottom."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([40 + 120 * x / width, 40 + 120 * y / height, np.full_like(x, 60.0) + 4 * index], axis=-1)
    return rgb.astype(np.uint8)


def make_clip(
    path: Path,
    times_s: list[float],
    width: int = 64,
    height: int = 48,
    audio: str | None = None,
    rotation_deg: int = 0,
    codec: str = "libx264",
) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt = width, height, "yuv444p" if width % 2 or height % 2 else "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if rotation_deg:
            video.set_display_rotation(rotation_deg)
        if audio:
            sound = container.add_stream(audio, rate=16000)
        for index, t_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            frame.pts, frame.time_base = round(t_s * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            samples = (np.sin(np.arange(16000) * 0.1) * 8000).astype(np.int16)
            for start in range(0, 16000, 1000):
                piece = av.AudioFrame.from_ndarray(samples[None, start : start + 1000], format="s16", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 16000, start, Fraction(1, 16000)
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path
