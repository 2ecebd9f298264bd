"""Colours of decoded frames: matrix, range, transfer and primaries as tagged, or as players guess."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from lcvd.video.picture import PictureConverter
from lcvd.video.tone_mapping import to_bt709

RGB = np.array([180, 110, 80], np.uint8)  # skin
LUMA = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}


def yuv(rgb: np.ndarray, matrix: str, full: bool, bits: int = 8) -> list[int]:
    """Code values of one colour in [0,1] by the formulas of BT.601, BT.709 and BT.2020."""
    kr, kb = LUMA[matrix]
    r, g, b = rgb
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    scale = 1 << (bits - 8)
    if full:
        top = (1 << bits) - 1
        return [round(y * top), round(u * top) + 128 * scale, round(v * top) + 128 * scale]
    return [round((16 + 219 * y) * scale), round((128 + 224 * u) * scale), round((128 + 224 * v) * scale)]


def converted(rgb: np.ndarray, size: tuple[int, int], matrix: str, tmp_path: Path, **tags: int) -> np.ndarray:
    """Encodes one colour losslessly with `tags` and returns it as the converter shows it."""
    deep = "trc" in tags or tags.get("primaries") is not None
    dtype, fmt = (np.uint16, "yuv444p10le") if deep else (np.uint8, "yuv444p")
    full = tags.get("range") == ColorRange.JPEG
    width, height = size
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, fmt
        context = video.codec_context
        context.color_range = tags.get("range", ColorRange.MPEG)
        for name, tag in (("color_trc", "trc"), ("color_primaries", "primaries"), ("colorspace", "space")):
            if tag in tags:
                setattr(context, name, tags[tag])
        values = yuv(rgb, matrix, full, 10 if deep else 8)
        frame = av.VideoFrame(width, height, fmt)
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, value, dtype))
        frame.color_range, frame.pts, frame.time_base = context.color_range, 0, Fraction(1, 25)
        container.mux(video.encode(frame))
        container.mux(video.encode(None))
    with av.open(str(path)) as container:
        converter = PictureConverter(container.streams.video[0])
        shown = converter(next(container.decode(video=0)))
    assert shown.shape == (height, width, 3)
    return shown[height // 2, width // 2].astype(int)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((64, 48), "601"), ((720, 576), "601"), ((1280, 544), "709"), ((720, 1280), "709"), ((640, 640), "709")],
)
@pytest.mark.parametrize("full", [False, True])
def test_untagged_video_has_the_matrix_of_its_size(tmp_path: Path, size: tuple, matrix: str, full: bool) -> None:
    """Standard definition is BT.601, larger is BT.709, of both ranges."""
    span = ColorRange.JPEG if full else ColorRange.MPEG
    np.testing.assert_allclose(converted(RGB / 255, size, matrix, tmp_path, range=span), RGB, atol=2)


@pytest.mark.parametrize(
    ("size", "matrix", "space"),
    [((64, 48), "709", 1), ((1280, 720), "601", 6), ((1280, 720), "601", 5), ((64, 48), "2020", 9)],
)
def test_a_tagged_matrix_wins_over_the_size(tmp_path: Path, size: tuple, matrix: str, space: int) -> None:
    """BT.601 in high definition, which libav tags 5 or 6, is not taken for untagged."""
    np.testing.assert_allclose(converted(RGB / 255, size, matrix, tmp_path, space=space), RGB, atol=2)


@pytest.mark.parametrize(
    ("tags", "transfer", "primaries"),
    [
        ({"trc": ColorTrc.ARIB_STD_B67, "primaries": ColorPrimaries.BT2020}, "hlg", "bt2020"),
        ({"trc": ColorTrc.SMPTE2084, "primaries": ColorPrimaries.BT2020}, "pq", "bt2020"),
        ({"trc": ColorTrc.SMPTE2084}, "pq", "bt2020"),
        ({"trc": ColorTrc.ARIB_STD_B67, "primaries": ColorPrimaries.BT709}, "hlg", "bt709"),
        ({"trc": ColorTrc.SMPTE2084, "primaries": ColorPrimaries.SMPTE432}, "pq", "p3"),
        ({"trc": ColorTrc.BT2020_10, "primaries": ColorPrimaries.BT2020}, "sdr", "bt2020"),
        ({"primaries": ColorPrimaries.BT2020}, "sdr", "bt2020"),
        ({"trc": ColorTrc.IEC61966_2_1, "primaries": ColorPrimaries.SMPTE432}, "sdr", "p3"),
    ],
)
@pytest.mark.parametrize("span", [ColorRange.MPEG, ColorRange.JPEG])
def test_range_and_gamut_are_as_tagged(tmp_path: Path, tags: dict, transfer: str, primaries: str, span: int) -> None:
    """HLG, PQ and wide gamut, full and limited range, at 10 bits: tone-mapped, and not taken for BT.709."""
    signal = np.array([0.55, 0.45, 0.35])
    wide = tags.get("primaries", 0) in (0, ColorPrimaries.BT2020)
    space = {"space": Colorspace.BT2020 if wide else Colorspace.ITU709}
    shown = converted(signal, (64, 48), "2020" if wide else "709", tmp_path, **tags, **space, range=span)
    expected = to_bt709(np.round(signal * 65535).astype(np.uint16)[None, None], transfer, primaries)[0, 0]
    np.testing.assert_allclose(shown, expected, atol=3)
    assert np.abs(shown - 255 * signal).max() > 3.5
