"""Reads video with FFmpeg's own programs, which nobody here wrote; with PyAV's FFmpeg where there are none."""

import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace


@dataclass(frozen=True)
class Video:
    """What a reader found."""

    frames: np.ndarray  # uint8 [T,H,W,3]
    fps: Fraction
    limited: bool  # the range, as the file says it


def read_video(path: Path, matrix: str = "") -> Video:
    """Reads `path`; `matrix` is FFmpeg's name of the colour matrix where the file has none, "" for FFmpeg's choice."""
    if shutil.which("ffmpeg") is None:
        return _read_with_pyav(path, matrix)
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-of", "csv=p=0"]
    probe += ["-show_entries", "stream=width,height,color_range,r_frame_rate", str(path)]
    width, height, colour_range, fps = subprocess.check_output(probe, text=True).strip().split(",")
    options = ["-colorspace", matrix] if matrix else []
    command = ["ffmpeg", "-v", "error", *options, "-i", str(path), "-vsync", "passthrough"]
    raw = subprocess.check_output([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
    frames = np.frombuffer(raw, np.uint8).reshape(-1, int(height), int(width), 3)
    return Video(frames, Fraction(fps), colour_range == "tv")


def _read_with_pyav(path: Path, matrix: str) -> Video:
    source = Colorspace.ITU709 if matrix == "bt709" else Colorspace.ITU601
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        frames = [each.reformat(format="rgb24", src_colorspace=source).to_ndarray() for each in decoded]
        return Video(np.stack(frames), Fraction(stream.base_rate), decoded[0].color_range == 1)
