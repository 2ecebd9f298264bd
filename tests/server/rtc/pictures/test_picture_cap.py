"""server.rtc.pictures.picture_cap: the decoder shrinks pictures above a size, and leaves out those above a rate."""

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from aiortc.jitterbuffer import JitterFrame

from server.rtc.decoders import LiveH264Decoder, LiveVp8Decoder
from server.rtc.jitter import BoundedDecoderQueue, PromptFrame
from server.rtc.pictures import encoders
from server.rtc.pictures.encoders import LiveH264Encoder, LiveVp8Encoder
from server.rtc.pictures.frames import MAX_PIXELS, picture_of, rgb_array
from server.rtc.pictures.picture_cap import PictureCap, Thinner
from tests.server.client import moving_square

CAP = PictureCap(320, 240, 15)


def kept(times: list[float], fps: float) -> list[int]:
    """Returns the places of the pictures that a Thinner admits."""
    thinner = Thinner()
    return [place for place, t_s in enumerate(times) if thinner.admits(t_s, fps)]


def test_the_shape_stays_and_sides_are_even() -> None:
    """By area, so that a phone held upright has as many pixels as a laptop; a smaller picture stays as it is."""
    assert CAP.fitted(320, 240) == (320, 240)
    assert CAP.fitted(200, 301) == (200, 301)
    assert CAP.fitted(640, 480) == (320, 240)
    assert CAP.fitted(480, 640) == (240, 320)
    width, height = CAP.fitted(1920, 1080)
    assert (width % 2, height % 2) == (0, 0)
    assert width * height <= CAP.pixels
    assert width / height == pytest.approx(16 / 9, rel=0.01)
    assert min(CAP.fitted(90_000, 1)) == 2


def test_pictures_are_left_out_evenly() -> None:
    """30 to 24 leaves out every fifth, 60 to 30 every second; no gap is longer than one picture of the source."""
    times = [i / 30 for i in range(300)]
    assert len(kept(times, 24)) == pytest.approx(240, abs=2)
    places = kept(times, 24)
    assert {b - a for a, b in pairwise(places)} == {1, 2}
    assert kept([i / 60 for i in range(120)], 30) == list(range(0, 120, 2))


def test_a_rate_below_is_left_alone() -> None:
    """Also with a little jitter, and after a pause."""
    jitter = [0.0, 0.004, -0.005, 0.003, -0.004, 0.006]
    times = [i / 30 + jitter[i % 6] for i in range(60)] + [9 + i / 30 for i in range(60)]
    assert len(kept(times, 30)) == 120


def test_a_clock_that_begins_anew_does_not_stop_the_picture() -> None:
    """Another camera may start at any time stamp."""
    assert kept([100.0, 100.033, 5.0, 5.033], 30) == [0, 1, 2, 3]


@pytest.mark.parametrize(("encoder", "decoder"), [(LiveVp8Encoder, LiveVp8Decoder), (LiveH264Encoder, LiveH264Decoder)])
def test_decoders_obey_the_cap_of_each_picture(encoder: Callable, decoder: Callable) -> None:
    """Without one all pictures come as they were; with one half of them, at the smaller size, with time and source."""
    source, decode = encoder(), decoder().decode
    draw = moving_square((480, 640))
    coded = [source.compress(picture_of(draw(index), 0))[0] for index in range(20)]
    found = []
    for index, data in enumerate(coded):
        frame = PromptFrame(data, index * 3000)
        frame.cap = CAP if index >= 10 else None
        found.append(decode(frame))
    assert [len(pictures) for pictures in found[:10]] == [1] * 10
    assert sum(len(pictures) for pictures in found[10:]) == 5
    whole, small = found[0][0], next(pictures[0] for pictures in found[10:] if pictures)
    assert (rgb_array(whole).shape, rgb_array(small).shape) == ((480, 640, 3), (240, 320, 3))
    assert whole.opaque.source == small.opaque.source == (640, 480)
    assert small.pts >= 30_000
    assert abs(rgb_array(small)[::2, ::2].mean() - rgb_array(whole)[::4, ::4].mean()) < 6


def test_a_picture_of_impossible_size_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked at; making it smaller would cost 60 ms."""
    width, height = 4096, 4096
    assert width * height > MAX_PIXELS
    source = LiveVp8Encoder()
    monkeypatch.setattr(encoders, "MAX_BITRATE", 60_000_000)  # or it would be made smaller for the rate
    source.rate.current = source.rate.target = 60_000_000
    data, _ = source.compress(picture_of(moving_square((height, width))(0), 0))
    frame = PromptFrame(data, 0)
    frame.cap = CAP
    (picture,) = LiveVp8Decoder().decode(frame)
    assert (picture.width, picture.height) == picture.opaque.source
    assert picture.width * picture.height > MAX_PIXELS


def test_the_queue_before_the_decoder_writes_the_cap_on_each_frame() -> None:
    """It is the one that counts when the frame came; frames of sound have none."""
    frames = BoundedDecoderQueue(threading.Event())
    frames.cap = lambda: CAP
    frames.put((None, PromptFrame(b"", 0)))
    frames.put((None, JitterFrame(b"", 0)))
    assert frames.get()[1].cap == CAP
    assert not hasattr(frames.get()[1], "cap")
