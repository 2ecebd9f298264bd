"""A decoded frame becomes RGB as a viewer should see it: upright, square pixels, BT.709 colours, standard range.

The colour matrix, the range, the transfer and the primaries are those the frame is tagged with; the matrix of untagged
video is guessed as players do.
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from lcvd.video.display_geometry import Orientation, orientation, square_pixels
from lcvd.video.tone_mapping import Primaries, Transfer, to_bt709

# swscale's fast path darkens a round trip by one level; these flags leave 0.02.
CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
DEEP_CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND  # FULL_CHR_H_INT garbles rgb48 in libswscale 9.5
UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
RGB_TAG = 0  # AVCOL_SPC_RGB, which some files of YUV carry
SD_WIDTH_PX, SD_HEIGHT_PX = 1279, 576  # untagged video up to this size is BT.601 by the players' convention
# Containers that hold no ratio of their own: libav then gives the coded one of wherever its probing ended.
WITHOUT_ASPECT = ("mpegts", "mpeg", "h264", "hevc", "m4v", "mpegvideo", "flv", "obu", "ivf")
OFF_DEG = 1.0  # a display matrix further from a quarter turn is told

_TRANSFERS: dict[int, Transfer] = {ColorTrc.ARIB_STD_B67: "hlg", ColorTrc.SMPTE2084: "pq"}
_PRIMARIES: dict[int, Primaries] = {
    ColorPrimaries.BT2020: "bt2020",
    ColorPrimaries.SMPTE432: "p3",
    ColorPrimaries.SMPTE431: "p3",
}


class PictureConverter:
    """Converts the frames of one video stream; it remembers what a stream says only once."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._context = stream.codec_context
        bare = stream.container.format.name in WITHOUT_ASPECT
        self._container_aspect = None if bare else stream.sample_aspect_ratio
        self._codec_aspect: Fraction | None = None  # of the first frame
        self._frames = 0
        self._orientation = Orientation()
        self._reformatter = VideoReformatter()
        self.off_deg = 0.0  # largest angle by which a display matrix missed a quarter turn
        self.tone_maps = False  # a frame of high dynamic range was seen

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Return the frame as RGB [H,W,3]. Raises av.FFmpegError or ValueError where its format cannot be read."""
        side_data: Any = frame.side_data  # typed for one kind of side data only
        if "DISPLAYMATRIX" in side_data:
            matrix = side_data["DISPLAYMATRIX"]
            self._orientation = orientation(np.frombuffer(matrix, np.int32)[:9].tolist())
            self.off_deg = max(self.off_deg, self._orientation.off_deg)
        rgb = square_pixels(self._colours(frame), self._pixel_aspect())
        return self._orientation.upright(rgb)

    def _pixel_aspect(self) -> Fraction | None:
        """Return the container's ratio, which wins as in players, until the coded picture changes its own."""
        coded = self._context.sample_aspect_ratio
        if self._frames == 0:  # not when opened: probing has gone further and may have met another
            self._codec_aspect = coded
        self._frames += 1
        changed = coded and coded != self._codec_aspect
        return coded if changed or not self._container_aspect else self._container_aspect

    def _colours(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        matrix = _untagged_matrix(frame) if frame.colorspace in (UNTAGGED, RGB_TAG) else None
        transfer = _TRANSFERS.get(frame.color_trc, "sdr")
        # High dynamic range that names no primaries has BT.2020's: there is no other in use.
        named = frame.color_primaries != ColorPrimaries.UNSPECIFIED
        unnamed: Primaries = "bt709" if named or transfer == "sdr" else "bt2020"
        primaries = _PRIMARIES.get(frame.color_primaries, unnamed)
        plain = transfer == "sdr" and primaries == "bt709"
        converted = self._reformatter.reformat(
            frame,
            format="rgb24" if plain else "rgb48le",
            src_colorspace=matrix,
            interpolation=CONVERSION if plain else DEEP_CONVERSION,
            dst_color_range=ColorRange.JPEG,
        )
        codes = converted.to_ndarray()
        if plain:
            return np.asarray(codes, np.uint8)
        self.tone_maps |= transfer != "sdr"
        return to_bt709(np.asarray(codes, np.uint16), transfer, primaries)


def _untagged_matrix(frame: av.VideoFrame) -> Colorspace:
    if frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU601 if frame.width <= SD_WIDTH_PX and frame.height <= SD_HEIGHT_PX else Colorspace.ITU709
