"""Radiance files as programs write them: older runs, XYZE, other orientations, other first lines."""

import numpy as np
import pytest

from lcvd.errors import ImageError
from lcvd.lighting.environment import decode_equirect
from lcvd.lighting.radiance import decode_radiance

H, W = 16, 32


def rgbe(seed: int = 0) -> np.ndarray:
    """Random pixels [H,W,4] with mantissas as Radiance makes them: the largest is 128 or more."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(2, 256, (H, W, 4)).astype(np.uint8)
    pixels[..., 0] |= 128
    pixels[..., 3] = rng.integers(125, 133, (H, W))
    return pixels


def linear(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3] * np.exp2(pixels[..., 3:].astype(np.float64) - 136)


def file(body: bytes, size: str = f"-Y {H} +X {W}", form: str = "rgbe", first: str = "#?RADIANCE") -> bytes:
    return f"{first}\nFORMAT=32-bit_rle_{form}\n\n{size}\n".encode() + body


def old_runs(line: np.ndarray) -> bytes:
    """One scanline with whole pixels run-length coded, counts over 255 in two pixels."""
    out, j = b"", 0
    while j < len(line):
        same = j + 1
        while same < len(line) and (line[same] == line[j]).all():
            same += 1
        out += line[j].tobytes()
        count = same - j - 1
        while count:
            out += bytes([1, 1, 1, count & 255])
            count >>= 8
        j = same
    return out


def test_older_runs() -> None:
    """Runs of whole pixels, over 255 of them too, are the picture that flat pixels give."""
    wide = np.repeat(rgbe()[:, :8], [1, 2, 255, 256, 257, 600, 7, 22], axis=1)
    size = f"-Y {H} +X {wide.shape[1]}"
    coded = b"".join(old_runs(line) for line in wide)
    assert len(coded) < wide.size / 20
    np.testing.assert_array_equal(decode_radiance(file(coded, size)), decode_radiance(file(wide.tobytes(), size)))
    np.testing.assert_allclose(decode_radiance(file(coded, size)), linear(wide), rtol=2**-23)


@pytest.mark.parametrize(
    "line",
    [
        bytes([1, 1, 1, 31]) + bytes([200, 9, 9, 128]),  # a run before any pixel
        bytes([200, 9, 9, 128]) + bytes([1, 1, 1, 40]),  # a run beyond the line
        bytes([200, 9, 9, 128]),  # no end
    ],
)
def test_broken_runs_are_an_error(line: bytes) -> None:
    """A run that cannot be is refused, not read from elsewhere."""
    with pytest.raises(ImageError, match="ends early"):
        decode_radiance(file(line * H))


def test_xyze_is_colour() -> None:
    """Equal X, Y, Z are white; the primaries of Rec. 709 come out as such."""
    pixels = np.full((H, W, 4), (128, 128, 128, 129), np.uint8)
    white = decode_radiance(file(pixels.tobytes(), form="xyze"))
    np.testing.assert_allclose(white, 1, atol=1e-6)
    pixels[:] = (255, 128, 10, 129)  # X above Y above Z: a red
    red = decode_radiance(file(pixels.tobytes(), form="xyze"))[0, 0]
    assert red[0] > 2 * abs(red[1])
    assert red[0] > 5 * abs(red[2])
    # Luminance is Y, but for the move of white from E to D65.
    assert abs(red @ [0.2126, 0.7152, 0.0722] - 1) < 0.1


@pytest.mark.parametrize(
    ("axes", "turn"),
    [
        ("-Y {h} +X {w}", lambda a: a),
        ("-Y {h} -X {w}", lambda a: a[:, ::-1]),
        ("+Y {h} +X {w}", lambda a: a[::-1]),
        ("+Y {h} -X {w}", lambda a: a[::-1, ::-1]),
        ("+X {w} -Y {h}", lambda a: a.swapaxes(0, 1)),
        ("-X {w} +Y {h}", lambda a: a.swapaxes(0, 1)[::-1, ::-1]),
    ],
)
def test_orientations(axes: str, turn) -> None:
    """However the scanlines run, the panorama stands upright."""
    upright = rgbe()
    # `turn` tells where a pixel of the upright picture lies in the file.
    stored = np.ascontiguousarray(turn(upright) if "Y" in axes[:2] else _columns(upright, axes))
    data = file(stored.tobytes(), axes.format(h=H, w=W))
    np.testing.assert_array_equal(decode_equirect(data), decode_equirect(file(upright.tobytes())))


def _columns(upright: np.ndarray, axes: str) -> np.ndarray:
    """The scanlines of a file whose first axis is X: columns of the picture, from the side that the signs say."""
    picture = upright[:, ::-1] if axes.startswith("-X") else upright
    picture = picture[::-1] if "+Y" in axes else picture
    return picture.swapaxes(0, 1)


@pytest.mark.parametrize("first", ["#?RADIANCE", "#?RGBE", "#?AUTOPANO"])
def test_first_lines(first: str) -> None:
    """The word after #? names the program, not the format."""
    np.testing.assert_allclose(decode_radiance(file(rgbe().tobytes(), first=first)), linear(rgbe()), rtol=2**-23)
