"""server.rtc.pictures.hardware: an encoder of the hardware is used where it does what live pictures need, else x264.

x264 stands in for the hardware: with the right options it passes, with others it fails as drivers do.
"""

from collections.abc import Iterator
from typing import Any, get_args

import av
import pytest

from server.rtc.pictures import hardware
from server.rtc.pictures.encoders import LiveH264Encoder
from server.rtc.pictures.frames import TIME_BASE
from server.settings import Settings
from tests.server.client import Participant, running

STAND_IN = "libx264"
GOOD = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1", "profile": "baseline"}


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The options of the one encoder that this machine's hardware has."""
    options = dict(GOOD)
    monkeypatch.setattr(hardware, "HARDWARE", {"h264_nvenc": {}, STAND_IN: options})
    yield options
    hardware.choose(hardware.SOFTWARE)


def picture(pts: int = 0) -> Any:
    frame = av.VideoFrame.from_ndarray(hardware._picture(pts), format="yuv420p")
    frame.pts, frame.time_base = pts * 3000, TIME_BASE
    return frame


def test_the_first_that_works_is_used(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One without hardware is passed over; the encoder of live pictures then opens what was found."""
    assert hardware.choose(hardware.AUTO) == STAND_IN == hardware.chosen()
    opened = []
    real = hardware.open_context
    monkeypatch.setattr(hardware, "open_context", lambda *asked: opened.append(asked) or real(*asked))
    encoder = LiveH264Encoder()
    assert encoder.compress(picture())[1]
    assert opened == [(STAND_IN, 640, 480, encoder.rate.current)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tune": "film"}, "holds pictures back"),
        ({"profile": "high"}, "has profile 100"),
        ({"g": "3"}, "key frames that nobody asked for"),
        ({"x264-params": "repeat-headers=0"}, "parameter sets"),
        ({"crf": "51", "qmin": "51"}, "spoils pictures"),
        ({"preset": "no such"}, "cannot be opened"),
    ],
    ids=["late", "profile", "key frames", "headers", "quality", "options"],
)
def test_one_that_breaks_a_promise_is_not_used(options: dict[str, str], change: dict[str, str], why: str) -> None:
    options.update(change)
    with pytest.raises(hardware.Unfit, match=why):
        hardware.check(STAND_IN)
    assert hardware.choose(STAND_IN) == hardware.SOFTWARE


def test_a_card_without_a_free_stream_leaves_this_picture_to_x264(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next connection may find one."""
    hardware.choose(hardware.AUTO)

    def full(*asked: Any) -> Any:
        raise hardware.Unfit("cannot be opened: no session is free")

    monkeypatch.setattr(hardware, "open_context", full)
    assert LiveH264Encoder().compress(picture())[1]
    assert hardware.chosen() == STAND_IN


def test_an_encoder_that_fails_at_work_is_given_up(options: dict[str, str]) -> None:
    """The picture goes on with a key frame, by x264."""
    hardware.choose(hardware.AUTO)
    encoder = LiveH264Encoder()
    encoder.compress(picture())

    class Broken:
        name, width, height = STAND_IN, 640, 480

        def encode(self, frame: Any) -> None:
            raise av.ExternalError(1, "the device was reset")

    encoder.codec = Broken()
    data, key = encoder.compress(picture(1))
    assert data
    assert key
    assert hardware.chosen() is None


async def test_answers_name_h264_first_where_the_hardware_encodes_it(options: dict[str, str]) -> None:
    """So that browsers send and get it; an offer of VP8 alone is answered as before."""
    async with running(engine="passthrough") as server:
        hardware.choose(hardware.AUTO)
        async with Participant(server.ws) as tab:
            await tab.wait(type="welcome")
            answer = await tab.offer()
            await tab.pictures(3)
    assert answer["sdp"].split("a=rtpmap:")[1].split("\r\n")[0].endswith("H264/90000")


def test_the_setting_takes_what_there_is() -> None:
    """Every name of the table, and no other."""
    assert get_args(Settings.model_fields["h264_encoder"].annotation) == hardware.CHOICES
