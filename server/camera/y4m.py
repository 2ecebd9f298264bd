"""YUV4MPEG2: RGB pictures as a stream that FFmpeg, mpv, GStreamer, x264 and Chromium's fake camera read.

4:2:0 with chroma sited left (C420mpeg2), limited range, said in the header. The matrix has no field there: mpv,
GStreamer and players of whatever is encoded from it take BT.601 up to 1279×576 and BT.709 above, so that is written.
FFmpeg alone keeps to BT.601 and is told by `-colorspace bt709` before `-i`.
"""

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from lcvd.video.picture import CONVERSION, SD_HEIGHT_PX, SD_WIDTH_PX

FRAME = b"FRAME\n"


def header(width: int, height: int, fps: Fraction) -> bytes:
    """Returns the first line of the stream."""
    rate = fps.limit_denominator(1001)
    return (
        f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
    ).encode()


def planes(rgb: NDArray[np.uint8]) -> bytes:
    """Returns Y, U and V of a picture uint8 [H,W,3] with even sides."""
    small = rgb.shape[0] <= SD_HEIGHT_PX and rgb.shape[1] <= SD_WIDTH_PX
    matrix = Colorspace.ITU601 if small else Colorspace.ITU709
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=matrix, interpolation=CONVERSION
    )
    return frame.to_ndarray().tobytes()
