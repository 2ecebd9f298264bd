"""Panoramas: formats, hostile files, orientation, energy, and the directional lights cut out of them."""

import io
import struct
import zlib

import cv2
import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcvd.errors import ImageError, LcvdError, ShapeError
from lcvd.image_header import read_header
from lcvd.lighting import environment
from lcvd.lighting.colour import LUMA
from lcvd.lighting.environment import (
    MAX_PIXELS,
    MAX_UPLOAD_BYTES,
    decode_equirect,
    equirect_directions,
    lighting_from_equirect,
    sh_from_equirect,
)
from lcvd.lighting.lighting import luminance, sh_projection, shading
from lcvd.lighting.radiance import decode_rgbe
from lcvd.lighting.sh import irradiance_over_pi

H, W = 64, 128


def room(level=0.2):
    return np.full((H, W, 3), level, np.float32)


def with_bright_patch(column, row, level=200.0, size=3, base=0.2):
    image = room(base)
    image[row - size : row + size, column - size : column + size] = level
    return image


def exr_bytes(image, tmp_path, **channels):
    path = tmp_path / "x.exr"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels or {"RGB": image}).write(str(path))
    return path.read_bytes()


def encoded(image, kind):
    source = image[..., ::-1] if kind == ".hdr" else np.rint(np.clip(image[..., ::-1], 0, 1) * 255).astype(np.uint8)
    return cv2.imencode(kind, source)[1].tobytes()


# ---- decoding


def test_radiance_file_decodes_to_its_linear_values():
    """.hdr keeps values far above 1 within the precision of its 8-bit mantissa."""
    image = np.random.default_rng(0).uniform(0, 50, (H, W, 3)).astype(np.float32)
    out = decode_equirect(encoded(image, ".hdr"), "sky.hdr")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, image, atol=50 / 128)


def test_radiance_decoder_agrees_with_opencv():
    """Our in-memory decoder gives OpenCV's pixels exactly, run-length coded or flat."""
    image = with_bright_patch(30, 20)
    image[5] = np.linspace(0, 3, W)[:, None]
    data = encoded(image, ".hdr")
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(decode_equirect(data), theirs)
    header = read_header(data)
    flat = np.random.default_rng(1).integers(3, 255, (6, 7, 4)).astype(np.uint8)
    expected = flat[..., :3] * np.exp2(flat[..., 3:].astype(float) - 136)
    np.testing.assert_allclose(decode_rgbe(flat.tobytes(), 7, 6), expected, rtol=1e-6)
    assert header[:3] == ("hdr", W, H)


def test_exr_file_decodes_to_its_linear_values(tmp_path):
    """.exr keeps float values, in half or float, whatever the order of its channels."""
    image = with_bright_patch(30, 20)
    np.testing.assert_array_equal(decode_equirect(exr_bytes(image, tmp_path)), image)
    half = exr_bytes(
        None,
        tmp_path,
        B=room()[..., 2].astype(np.float16),
        G=image[..., 1].astype(np.float16),
        R=image[..., 0].astype(np.float16),
    )
    out = decode_equirect(half)
    np.testing.assert_allclose(out[..., 0], image[..., 0], rtol=1e-3)
    np.testing.assert_allclose(out[..., 2], 0.2, rtol=1e-3)


def test_grey_exr_becomes_rgb(tmp_path):
    """A luminance-only .exr lights in grey."""
    out = decode_equirect(exr_bytes(None, tmp_path, Y=room()[..., 0]))
    assert out.shape == (H, W, 3)
    assert (out == out[..., :1]).all()


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_8_bit_pictures_are_made_linear_and_their_whites_expanded(kind):
    """sRGB grey 128 is linear 0.216; a clipped white is brighter than 1."""
    image = np.full((H, W, 3), 128 / 255, np.float32)
    image[20:30, 40:60] = 1
    out = decode_equirect(encoded(image, kind))
    assert out[50, 10, 1] == pytest.approx(0.216, abs=0.01)
    assert out[25, 50].min() > 3


def test_sun_of_an_8_bit_sky_is_found():
    """A small white sun in a blue sky becomes the key although the file clipped it; the blue does not."""
    image = np.full((128, 256, 3), (0.3, 0.5, 0.95), np.float32)
    image[64:] = 0.3
    image[30:34, 178:182] = 1
    light = lighting_from_equirect(decode_equirect(encoded(image, ".png")))
    sun = equirect_directions(128, 256)[32, 180]
    assert np.dot(light.directionals[0].direction, sun) > 0.99
    assert luminance(light.directionals[0].rgb) > 0.4


def test_impossible_pixels_are_cleaned(tmp_path):
    """NaN, infinite and negative pixels become finite light that is not negative."""
    image = room()
    image[0, 0], image[1, 1], image[2, 2], image[3, 3] = np.nan, np.inf, -5, -np.inf
    out = decode_equirect(exr_bytes(image, tmp_path))
    assert np.isfinite(out).all()
    assert out.min() >= 0
    light = lighting_from_equirect(out)
    assert np.isfinite(light.sh).all()
    assert np.isfinite([d.rgb for d in light.directionals]).all()


def test_large_panoramas_come_back_small():
    """A 4096×2048 file is reduced to 1024 rows, with its mean kept."""
    out = decode_equirect(encoded(np.full((2048, 4096, 3), 0.5, np.float32), ".hdr"))
    assert out.shape == (1024, 2048, 3)
    assert out.mean() == pytest.approx(0.5, rel=0.01)


# ---- hostile files


def png_claiming(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def no_decoder(monkeypatch):
    """Any pixel decoder that is reached fails the test."""

    def reached(*_):
        pytest.fail("a decoder was reached")

    for name in ("decode_exr", "_decode_8bit", "decode_radiance"):
        monkeypatch.setattr(environment, name, reached)


def test_bombs_are_refused_before_decoding(no_decoder, tmp_path):
    """A file that claims more pixels or channels than the limit never reaches a decoder."""
    side = int((MAX_PIXELS * 2) ** 0.5) + 100
    exr = bytearray(exr_bytes(room(), tmp_path))
    at = exr.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    exr[at : at + 16] = struct.pack("<4i", 0, 0, 2 * 30000 - 1, 30000 - 1)
    bombs = {
        "png": png_claiming(side, side // 2),
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 200000\n" + b"\2\2\0\0" * 50,
        "exr": bytes(exr),
    }
    for name, data in bombs.items():
        with pytest.raises(ImageError, match="pixels"):
            decode_equirect(data, name)
    layers = {f"L{i}": np.zeros((4, 8), np.float32) for i in range(200)}
    many = bytearray(exr_bytes(None, tmp_path, **layers))
    at = many.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    many[at : at + 16] = struct.pack("<4i", 0, 0, 7999, 3999)
    with pytest.raises(ImageError, match="200 channels"):
        decode_equirect(bytes(many))


def test_oversized_uploads_are_refused_unread(no_decoder):
    """One byte over the limit is refused with the limit in the hint."""
    with pytest.raises(ImageError) as caught:
        decode_equirect(b"#?RADIANCE\n" + bytes(MAX_UPLOAD_BYTES), "huge.hdr")
    assert "huge.hdr" in caught.value.message
    assert "32 MiB" in caught.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"hello, I am a text file\n" * 50, b"GIF89a" + bytes(90), b"#?RADIANCE\n\nno size\n", b"v/1\x01"]
)
def test_what_is_no_panorama_is_a_clear_error(data):
    """Text, nothing, an unknown format or a bare magic number: an ImageError with a hint, naming the file."""
    with pytest.raises(ImageError, match=r"notes\.hdr") as caught:
        decode_equirect(data, "notes.hdr")
    assert caught.value.hint


@pytest.mark.parametrize("kind", [".hdr", ".png", ".jpg", ".exr"])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_truncated_files_are_a_clear_error(kind, share, tmp_path):
    """A file cut off anywhere is refused, never shown half grey."""
    image = np.random.default_rng(2).uniform(0, 1, (H, W, 3)).astype(np.float32)
    data = exr_bytes(image, tmp_path) if kind == ".exr" else encoded(image, kind)
    with pytest.raises(ImageError):
        decode_equirect(data[: int(len(data) * share)])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([".hdr", ".png", ".jpg"]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_corrupted_files_never_raise_anything_else(kind, changes):
    """Whatever bytes are changed, the answer is a finite picture or an error of ours."""
    data = bytearray(encoded(with_bright_patch(30, 20), kind))
    for where, value in changes:
        data[int(where * len(data))] = value
    try:
        out = decode_equirect(bytes(data))
    except LcvdError:
        return
    assert np.isfinite(out).all()


@pytest.mark.parametrize("shape", [(100, 100), (64, 400), (3, 6)])
def test_other_shapes_are_not_panoramas(shape):
    """A square or a strip is refused: it would light from wrong places."""
    with pytest.raises(ImageError, match="×"):
        decode_equirect(encoded(np.full((*shape, 3), 0.5, np.float32), ".png"))


def test_black_panorama_is_refused():
    """No light in it is an error, not a division by zero."""
    with pytest.raises(ImageError, match="black"):
        decode_equirect(encoded(room(0), ".png"))


# ---- orientation and energy


def test_directions_of_the_panorama():
    """Centre: the camera; top: above; right of centre: the participant's right hand, the left of the picture."""
    d = equirect_directions(H, W)
    np.testing.assert_allclose(d[H // 2, W // 2], (0, 0, 1), atol=0.05)
    np.testing.assert_allclose(d[0, W // 2], (0, 1, 0), atol=0.05)
    np.testing.assert_allclose(d[H // 2, 3 * W // 4], (-1, 0, 0), atol=0.05)
    np.testing.assert_allclose(d[H // 2, 0], (0, 0, -1), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(d, axis=-1), 1, atol=1e-6)


def test_rotation_brings_that_column_to_the_front():
    """rotation_deg = 90 makes what was 90° right of the centre the front."""
    image = with_bright_patch(3 * W // 4, H // 2)
    assert lighting_from_equirect(image).directionals[0].direction[0] < -0.99
    assert lighting_from_equirect(image, rotation_deg=90).directionals[0].direction[2] > 0.99
    sh = sh_from_equirect(image, 90)
    assert sh[2, 0] > 10 * abs(sh[3, 0])


def test_uniform_panorama_is_uniform_sh():
    """A grey room of radiance L shows L everywhere: energy is kept."""
    sh = sh_from_equirect(room(0.37))
    np.testing.assert_allclose(irradiance_over_pi(sh, equirect_directions(8, 16)), 0.37, atol=1e-3)


def test_sh_does_not_depend_on_resolution():
    """Reducing a panorama keeps its SH."""
    big = cv2.resize(with_bright_patch(30, 20), (1024, 512), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_allclose(sh_from_equirect(big), sh_from_equirect(with_bright_patch(30, 20)), rtol=1e-3, atol=1e-2)


def test_sh_refuses_other_shapes():
    """A grey or batched array is a ShapeError."""
    with pytest.raises(ShapeError, match="64, 128"):
        sh_from_equirect(np.zeros((64, 128)))


# ---- directional lights


def test_bright_patch_gives_a_directional_light_toward_it():
    """A small bright patch becomes a key within 3° of it, small and with a hard shadow."""
    row, column = 20, 90
    light = lighting_from_equirect(with_bright_patch(column, row, size=2), "hall")
    truth = equirect_directions(H, W)[row - 2 : row + 2, column - 2 : column + 2].mean((0, 1))
    key = light.directionals[0]
    assert np.degrees(np.arccos(np.dot(key.direction, truth / np.linalg.norm(truth)))) < 3
    assert key.wrap < 0.25
    assert key.shadow > 0.5
    assert light.name == "hall"


def test_big_window_is_softer_than_a_small_patch():
    """A wide light gets a larger wrap and a weaker shadow than a small one."""
    small = lighting_from_equirect(with_bright_patch(70, 28, size=2)).directionals[0]
    wide = lighting_from_equirect(with_bright_patch(70, 28, size=8, level=15)).directionals[0]
    assert wide.wrap > small.wrap + 0.1
    assert wide.shadow < small.shadow


def test_patch_across_the_border_is_one_light():
    """A bright patch on the left and right border of the file is found once, behind the participant."""
    image = room()
    image[28:34, :4] = 80
    image[28:34, -4:] = 80
    directionals = lighting_from_equirect(image).directionals
    assert directionals[0].direction[2] < -0.98
    assert all(luminance(d.rgb) < 0.1 * luminance(directionals[0].rgb) for d in directionals[1:])


def test_cutting_patches_out_keeps_the_light():
    """Directional lights + remaining SH shade like the whole panorama integrated directly, up to exposure."""
    image = with_bright_patch(80, 22, level=60, size=4) + np.linspace(0, 0.4, H, dtype=np.float32)[:, None, None]
    light = lighting_from_equirect(image)
    n = equirect_directions(10, 20).reshape(-1, 3)
    d = equirect_directions(H, W).reshape(-1, 3)
    solid = np.sin((np.arange(H) + 0.5) / H * np.pi) * (np.pi / H) * (2 * np.pi / W)
    weighted = (image * solid[:, None, None]).reshape(-1, 3)
    exact = np.maximum(n @ d.T, 0) @ weighted / np.pi
    ours = shading(light, n)
    scale = (ours * exact).sum() / (exact * exact).sum()
    error = np.abs(ours - scale * exact)
    assert error.max() < 0.08 * (scale * exact).max()


def test_two_patches_are_two_lights():
    """Two bright patches on different sides are both found, with their colours."""
    image = room()
    image[26:32, 26:32] = (60, 6, 6)
    image[26:32, 96:102] = (6, 6, 40)
    directionals = lighting_from_equirect(image).directionals
    assert len(directionals) == 2
    by_side = sorted(directionals, key=lambda d: d.direction[0])
    assert by_side[0].rgb[2] > 3 * by_side[0].rgb[0]
    assert by_side[1].rgb[0] > 3 * by_side[1].rgb[2]


def test_grey_room_has_no_directional_light():
    """A room in which nothing stands out gets no directional light."""
    assert lighting_from_equirect(room()).directionals == ()


@pytest.mark.parametrize("column", [4, 32, 64, 96])
@pytest.mark.parametrize("level", [1e-3, 1.0, 1e5])
def test_exposure_is_normalised(column, level):
    """For any units of the file and any place of its bright patch, a face shows about 1 and values the wire accepts."""
    light = lighting_from_equirect(with_bright_patch(column, 24) * level)
    n = equirect_directions(32, 64)
    front = n[n[..., 2] > 0.6]
    shade = shading(light, front) @ LUMA
    assert 0.4 < shade.mean() < 1.2
    assert shade.max() < 2.1
    assert max(max(d.rgb) for d in light.directionals) <= 8
    assert np.abs(light.sh).max() <= 80
    assert np.isfinite(sh_projection(light)).all()


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    """Decoding an upload creates no file."""
    data = [encoded(with_bright_patch(30, 20), k) for k in (".hdr", ".png", ".jpg")] + [exr_bytes(room(), tmp_path)]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    opened = []
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(io, "open", lambda *a, **k: opened.append(a))
    for item in data:
        decode_equirect(item)
    assert list(scratch.iterdir()) == []
    assert opened == []
