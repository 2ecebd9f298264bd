"""Portraits with transparent parts: what was cut away is not shown again, whatever the file holds there."""

import zlib

import cv2
import numpy as np
import pytest

from server.http.uploads import GROUND, decode_photo

MAGENTA = (255, 0, 255)  # B, G, R under the transparent part: what an eraser left behind


def cutout(dtype: type = np.uint8) -> np.ndarray:
    """BGRA [40,60,4]: a grey person at the left, half transparent in the middle, magenta cut away at the right."""
    full = np.iinfo(dtype).max
    image = np.zeros((40, 60, 4), dtype)
    image[...] = (*(full // 255 * level for level in MAGENTA), 0)
    image[:, :20] = (full // 255 * 60, full // 255 * 120, full // 255 * 200, full)
    image[:, 20:40] = (full // 255 * 60, full // 255 * 120, full // 255 * 200, full // 255 * 128)
    return image


def encoded(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, image, list(options))[1])


def turned_png(data: bytes, orientation: int) -> bytes:
    """A PNG with an eXIf chunk, as phones write it."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + b"\0\0\0\0"
    body = b"eXIf" + tiff
    chunk = len(tiff).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:33] + chunk + data[33:]  # after IHDR


@pytest.mark.parametrize(
    "data",
    [
        encoded(cutout(), ".png"),
        encoded(cutout(np.uint16), ".png"),
        encoded(cutout(), ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    ],
    ids=["png", "png of 16 bit", "webp"],
)
def test_transparent_parts_show_the_ground(data: bytes) -> None:
    """Opaque pixels stay, half transparent ones are half ground, and the magenta is gone."""
    rgb, _ = decode_photo(data, "cutout")
    np.testing.assert_allclose(rgb[:, :20], np.broadcast_to((200, 120, 60), (40, 20, 3)), atol=1)
    half = np.array((200, 120, 60)) * 128 / 255 + GROUND * 127 / 255
    np.testing.assert_allclose(rgb[:, 20:40], np.broadcast_to(half, (40, 20, 3)), atol=1.5)
    assert (rgb[:, 40:] == GROUND).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_with_the_picture(orientation: int) -> None:
    """Whether or not the decoder turns a PNG as its EXIF says, the cut-out part is where the picture has it."""
    data = turned_png(encoded(cutout(), ".png"), orientation)
    rgb, _ = decode_photo(data, "cutout.png")
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    cut = (shown == MAGENTA).all(-1)
    assert cut.sum() == 40 * 20
    assert (rgb[cut] == GROUND).all()
    assert not (rgb[~cut] == GROUND).all(-1).any()


def test_an_opaque_alpha_changes_nothing() -> None:
    """Every byte is as without the fourth channel."""
    image = cutout()
    image[..., 3] = 255
    rgb, _ = decode_photo(encoded(image, ".png"), "opaque.png")
    np.testing.assert_array_equal(rgb, image[..., 2::-1])


def test_a_wholly_transparent_picture_is_ground() -> None:
    """It holds no face, which is told later; nothing of it is shown."""
    image = cutout()
    image[..., 3] = 0
    assert (decode_photo(encoded(image, ".png"), "empty.png")[0] == GROUND).all()
