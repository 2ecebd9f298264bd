"""The number in the picture comes back through relighting, scaling of light and a starved codec, or not at all."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bench.sample_clip import load_portrait, sample_frame
from engine.bench.timecode import MIN_HEIGHT, MIN_WIDTH, read, stamp, strip_height


def stamped(value: int, size: tuple[int, int] = (480, 640), t_s: float = 0.0) -> np.ndarray:
    rgb = sample_frame(load_portrait(), size, t_s)
    stamp(rgb, value)
    return rgb


@given(st.integers(0, 65535), st.integers(MIN_HEIGHT, 300), st.integers(MIN_WIDTH, 400))
@settings(max_examples=60, deadline=None)
def test_every_value_at_every_size(value: int, height: int, width: int) -> None:
    """What was drawn is read, in RGB and in luma, and only the strip is touched."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    stamp(rgb, value)
    assert read(rgb) == value
    assert read(rgb[:, :, 1]) == value
    assert (rgb[strip_height(height) :] == 90).all()


def test_values_come_round() -> None:
    """Numbers beyond 16 bits start again at 0."""
    assert read(stamped(65536 + 7)) == 7


@pytest.mark.parametrize("gain", [0.3, 1.8])
def test_survives_a_smooth_change_of_light(gain: float) -> None:
    """A gain that falls off across the picture, colour and clipping do not hide it."""
    rgb = stamped(0xBEEF).astype(np.float32)
    rgb *= np.linspace(gain, 1.0, 640)[None, :, None] * np.array([1.2, 1.0, 0.7])
    assert read(np.clip(rgb + 12, 0, 255).astype(np.uint8)) == 0xBEEF


def test_a_mirrored_or_missing_strip_is_not_read() -> None:
    """No number rather than a wrong one: mirrored, absent, flat, noisy or cut."""
    rng = np.random.default_rng(1)
    mirrored = [read(stamped(v)[:, ::-1]) for v in range(0, 65536, 2500)]
    assert [v for v in mirrored if v is not None] == []
    assert read(sample_frame(load_portrait(), (480, 640), 1.0)) is None
    assert read(np.zeros((480, 640, 3), np.uint8)) is None
    noise = [read(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)) for _ in range(20)]
    assert noise == [None] * 20
    assert read(stamped(5)[10:]) is None
    assert read(np.zeros((10, 10, 3), np.uint8)) is None


def test_too_small_a_picture_is_refused() -> None:
    """A strip that no codec would carry is not drawn."""
    with pytest.raises(ValueError, match="at least"):
        stamp(np.zeros((20, 640, 3), np.uint8), 1)


@pytest.mark.parametrize(("size", "bit_rate"), [((480, 640), 80_000), ((240, 320), 60_000)])
def test_survives_a_starved_vp8(size: tuple[int, int], bit_rate: int) -> None:
    """At a rate where the face is mush every number comes back."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.bit_rate = size[1], size[0], "yuv420p", bit_rate
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30, 1)
    encoder.options = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0", "qmax": "63"}
    decoder = av.CodecContext.create("vp8", "r")
    came = []
    for i in range(30):
        picture = av.VideoFrame.from_ndarray(stamped(i * 2111, size, i / 10), format="rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = i, Fraction(1, 30)
        for packet in encoder.encode(picture):
            came += [read(out.to_ndarray(format="rgb24")) for out in decoder.decode(packet)]
    assert came == [i * 2111 % 65536 for i in range(30)]
