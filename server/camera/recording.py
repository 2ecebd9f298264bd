"""A live recording: H.264 in Matroska, each picture with its own time. It can be played as far as it got.

`engine.offline.clip_writer` puts a finished clip in its place or nothing; a call that is over cannot be made again.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from lcvd.video.picture import CONVERSION

TICK = Fraction(1, 1000)  # Matroska's
CLUSTER = {"cluster_time_limit": "1000"}  # ms of pictures that a crash loses


class Recording:
    """Writes `path` from the first picture on. Raises OSError, which libav's errors are, where it cannot."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        self._container = av.open(str(path.absolute()), "w", format="matroska", options=CLUSTER)
        video = self._container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = TICK
        video.codec_context.colorspace = Colorspace.ITU709
        video.codec_context.color_primaries = ColorPrimaries.BT709
        video.codec_context.color_trc = ColorTrc.BT709
        video.codec_context.color_range = ColorRange.MPEG
        self._video = video
        self._last_pts = -1

    def write(self, rgb: NDArray[np.uint8], t_s: float) -> None:
        """Writes uint8 [height,width,3] with even sides, shown from `t_s` on."""
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=CONVERSION
        )
        frame.pts = self._last_pts = max(self._last_pts + 1, round(t_s / TICK))
        frame.time_base = TICK
        self._container.mux(self._video.encode(frame))

    def close(self) -> None:
        """Writes what the encoder holds back, and the index."""
        try:
            self._container.mux(self._video.encode(None))
        finally:
            self._container.close()
