"""OpenEXR files as programs write them: windows, names, parts, luminance and chroma, other primaries."""

import struct

import numpy as np
import OpenEXR
import pytest

from lcvd.errors import ImageError, LightError
from lcvd.lighting.environment import decode_equirect
from lcvd.lighting.exr import decode_exr

H, W = 32, 64
FLOAT = 2.0**-23
HALF = 2.0**-11


def sky() -> np.ndarray:
    """A panorama that differs in every pixel and channel, its left side brighter."""
    rng = np.random.default_rng(3)
    image = rng.uniform(0.1, 1, (H, W, 3)).astype(np.float32)
    image[:, : W // 2] *= 4
    return image


def header(data=None, display=None, **more):
    """A scanline header; windows as (x0, y0, x1, y1)."""
    windows = {"dataWindow": data, "displayWindow": display}
    return {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        **{k: (np.int32(v[:2]), np.int32(v[2:])) for k, v in windows.items() if v is not None},
        **more,
    }


def planes(image, names="RGB"):
    return {name: np.ascontiguousarray(image[..., i]) for i, name in enumerate(names)}


def written(tmp_path, *parts) -> bytes:
    """The bytes of a file with these (header, channels)."""
    path = tmp_path / "x.exr"
    if len(parts) == 1:
        OpenEXR.File(*parts[0]).write(str(path))
    else:
        OpenEXR.File([OpenEXR.Part(*part) for part in parts]).write(str(path))
    return path.read_bytes()


def test_a_crop_stays_in_its_place(tmp_path):
    """A data window smaller than the display window: black around it; the light stays where it was."""
    image = sky()
    data = written(tmp_path, (header((8, 4, 39, 19), (0, 0, W - 1, H - 1)), planes(image[4:20, 8:40])))
    expected = np.zeros_like(image)
    expected[4:20, 8:40] = image[4:20, 8:40]
    np.testing.assert_array_equal(decode_equirect(data), expected)


def test_overscan_is_cut(tmp_path):
    """A data window larger than the display window, beginning left of it: only the picture is kept."""
    image = sky()
    around = np.pad(image, ((2, 3), (5, 6), (0, 0)), constant_values=77)
    data = written(tmp_path, (header((-5, -2, W + 5, H + 2), (0, 0, W - 1, H - 1)), planes(around)))
    np.testing.assert_array_equal(decode_equirect(data), image)


def test_a_display_window_elsewhere(tmp_path):
    """A display window that does not begin at 0, and one that is no panorama at all."""
    image = sky()
    moved = written(tmp_path, (header((100, 50, 99 + W, 49 + H), (100, 50, 99 + W, 49 + H)), planes(image)))
    np.testing.assert_array_equal(decode_equirect(moved), image)
    stale = written(tmp_path, (header((0, 0, W - 1, H - 1), (0, 0, W - 1, W - 1)), planes(image)))
    np.testing.assert_array_equal(decode_equirect(stale), image)


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("sky.R", "sky.G", "sky.B"), ("Red", "Green", "Blue")])
def test_other_names(tmp_path, names):
    """Colour under its long name or in a layer is colour."""
    image = sky()
    np.testing.assert_array_equal(decode_equirect(written(tmp_path, (header(), planes(image, names)))), image)


def test_channels_without_a_layer_win(tmp_path):
    """Beside layers of parts of the light, the whole picture is read."""
    image = sky()
    layers = planes(image * 0.25, ("a.R", "a.G", "a.B")) | planes(image * 0.5, ("z.R", "z.G", "z.B"))
    np.testing.assert_array_equal(decode_equirect(written(tmp_path, (header(), layers | planes(image)))), image)


def test_the_part_with_colour_is_read(tmp_path):
    """Of several parts the first with colour, whichever place it has."""
    image = sky()
    depth = (header(name="depth"), {"Z": np.ones((H, W), np.float32)})
    colour = (header(name="rgb"), planes(image))
    for parts in ((colour, depth), (depth, colour)):
        np.testing.assert_array_equal(decode_equirect(written(tmp_path, *parts)), image)


def test_without_colour_the_channels_are_named(tmp_path):
    """A depth picture alone: the error says what there is."""
    with pytest.raises(ImageError, match="no colour, but Z"):
        decode_equirect(written(tmp_path, (header(), {"Z": np.ones((H, W), np.float32)})))


def subsampled(planes) -> bytes:
    """An uncompressed file by hand: OpenEXR's Python binding cannot write channels of different sizes.

    Layout: openexr.com, "OpenEXR File Layout". `planes`: name → (float32 [h,w], step between its pixels).
    """
    entries = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", 2, 0, step, step) for name, (_, step) in sorted(planes.items())
    )
    box = struct.pack("<4i", 0, 0, W - 1, H - 1)
    attributes = {
        ("channels", "chlist"): entries + b"\0",
        ("compression", "compression"): b"\0",
        ("dataWindow", "box2i"): box,
        ("displayWindow", "box2i"): box,
        ("lineOrder", "lineOrder"): b"\0",
        ("pixelAspectRatio", "float"): struct.pack("<f", 1),
        ("screenWindowCenter", "v2f"): struct.pack("<2f", 0, 0),
        ("screenWindowWidth", "float"): struct.pack("<f", 1),
    }
    head = struct.pack("<iI", 20000630, 2)
    for (name, kind), value in attributes.items():
        head += f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value
    head += b"\0"
    lines = []
    for y in range(H):
        body = b"".join(p[y // step].tobytes() for _, (p, step) in sorted(planes.items()) if y % step == 0)
        lines.append(struct.pack("<ii", y, len(body)) + body)
    starts = np.cumsum([len(head) + 8 * H, *map(len, lines[:-1])])
    return head + starts.astype("<u8").tobytes() + b"".join(lines)


def test_luminance_and_chroma():
    """Y, RY, BY of half size are colour (OpenEXR's own conversion), not grey."""
    image = np.empty((H, W, 3), np.float32)
    image[:, : W // 2], image[:, W // 2 :] = (0.8, 0.4, 0.1), (0.1, 0.3, 0.9)
    y = image @ np.float32([0.2126, 0.7152, 0.0722])
    ry, by = ((image[::2, ::2, c] - y[::2, ::2]) / y[::2, ::2] for c in (0, 2))
    out = decode_equirect(subsampled({"Y": (y, 1), "RY": (ry, 2), "BY": (by, 2)}))
    middle = np.r_[0 : W // 2 - 2, W // 2 + 2 : W]  # at the edge the chroma is between the two
    # The weights above are rounded to four digits; green divides their error by 0.7152.
    np.testing.assert_allclose(out[:, middle], image[:, middle], atol=3e-4)


def test_other_primaries(tmp_path):
    """A file in other primaries: its white stays white, and its colours are Rec. 709's."""
    rec2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    # Rec. 2020 → Rec. 709 (ITU-R BT.2407, section 2), to the digits printed there.
    matrix = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    image = np.broadcast_to(np.float32([0.5, 0.6, 0.4]), (H, W, 3)).copy()
    image[0] = 1
    out = decode_equirect(written(tmp_path, (header(chromaticities=rec2020), planes(image))))
    np.testing.assert_allclose(out[0], 1, atol=2e-4)
    np.testing.assert_allclose(out[1, 0], matrix @ [0.5, 0.6, 0.4], atol=2e-4)


def test_aces_primaries(tmp_path):
    """ACES AP0, whose blue lies below y = 0: white stays white, although its white is not D65."""
    aces = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
    image = np.full((H, W, 3), 0.7, np.float32)
    out = decode_equirect(written(tmp_path, (header(chromaticities=aces), planes(image))))
    np.testing.assert_allclose(out, 0.7, atol=1e-4)


def test_impossible_primaries(tmp_path):
    """Primaries that span no colours are an error in words."""
    with pytest.raises(LightError, match="chromaticities"):
        decode_equirect(written(tmp_path, (header(chromaticities=(0.3, 0.3) * 4), planes(sky()))))


def test_half_floats_keep_their_value(tmp_path):
    """Half floats are read as they are."""
    image = sky().astype(np.float16)
    out = decode_exr(written(tmp_path, (header(), planes(image))), lambda plane: np.asarray(plane, np.float32))
    np.testing.assert_array_equal(out, image.astype(np.float32))
