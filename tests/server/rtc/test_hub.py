"""server.rtc.hub, feed and encoded_track: encoded once, key frames bounded, one viewer's trouble is not another's."""

import asyncio
import fractions

import av
import numpy as np
import pytest
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_PLI, RtcpPsfbPacket, pack_remb_fci

from server.rtc import encoded_track, feed
from server.rtc.hub import Hub, TappedTrack
from server.rtc.pictures.encoders import START_BITRATE
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ, picture_of
from server.rtc.sender import LiveSender
from tests.engine.fakes import Clock

SIZE = (48, 64)


def picture(number: int) -> av.VideoFrame:
    """A picture that differs from the one before."""
    rgb = np.full((*SIZE, 3), 40 + number % 100, np.uint8)
    return picture_of(rgb, number * VIDEO_CLOCK_HZ // 25)


class Show:
    """Shows pictures to a hub at 25 a second of its clock, each once the one before was encoded."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self.hub, self.clock, self.number = hub, clock, 0

    async def __call__(self, count: int) -> None:
        for _ in range(count):
            before = [f.encoded for f in self.hub._videos.values() if f.tracks]
            self.hub.show(picture(self.number))
            self.number += 1
            self.clock.now += 0.04
            async with asyncio.timeout(10):
                while [f.encoded for f in self.hub._videos.values() if f.tracks] == before and before:
                    await asyncio.sleep(0.001)


async def taken(track: encoded_track.EncodedTrack) -> list[av.Packet]:
    """What waits in a track."""
    found = []
    while not track._packets.empty():
        found.append(await track.recv())
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub(clock: Clock):
    made = Hub(clock)
    yield made
    await made.close()


@pytest.fixture
def show(hub: Hub, clock: Clock) -> Show:
    return Show(hub, clock)


@pytest.mark.parametrize("mime", ["video/VP8", "video/H264"])
async def test_viewers_of_one_codec_get_the_same_packets(hub: Hub, show: Show, mime: str) -> None:
    """One encoder; who joins later begins with a key frame, and from there on gets what the others get."""
    first = hub.join_video(mime)
    await show(3)
    second = hub.join_video(mime)
    await show(30)
    ours, theirs = await taken(first), await taken(second)
    assert ours[0].is_keyframe
    assert theirs[0].is_keyframe
    assert [bytes(p) for p in theirs] == [bytes(p) for p in ours[-len(theirs) :]]
    assert [p.pts for p in ours] == sorted({p.pts for p in ours})
    assert len(ours) == 33
    assert hub.encoders == 1
    decoder = av.CodecContext.create("vp8" if "VP8" in mime else "h264", "r")
    assert len([frame for packet in theirs for frame in decoder.decode(av.Packet(bytes(packet)))]) >= len(theirs) - 1


async def test_key_frames_come_once_a_second_however_many_ask(hub: Hub, show: Show) -> None:
    """A viewer that loses everything costs the others one key frame a second."""
    track = hub.join_video("video/vp8")
    for _ in range(50):  # two seconds
        track.request_keyframe()
        await show(1)
    keys = sum(packet.is_keyframe for packet in await taken(track))
    assert keys == 2
    await show(25)
    assert sum(packet.is_keyframe for packet in await taken(track)) <= 1  # nobody asked


async def test_who_joins_a_picture_that_stands_still_sees_it(hub: Hub, show: Show, clock: Clock) -> None:
    """The last picture is encoded again: no picture has to come first."""
    hub.join_video("video/vp8")
    await show(2)
    clock.now += 5
    late = hub.join_video("video/vp8")
    async with asyncio.timeout(10):
        packet = await late.recv()
    assert packet.is_keyframe


async def test_the_bit_rate_is_the_least_within_bounds(hub: Hub) -> None:
    """The viewers' least estimate, but no lower than what one of them may cost the others; without any, the start's."""
    tracks = [hub.join_video("video/h264") for _ in range(3)]
    encoder = hub._videos["video/h264"].encoder
    tracks[0].estimate(2_000_000)
    tracks[1].estimate(1_200_000)
    assert encoder.target_bitrate == 1_200_000
    tracks[1].estimate(50_000)
    assert encoder.target_bitrate == feed.MIN_SHARED_BITRATE
    hub.leave(tracks[1])
    assert encoder.target_bitrate == 2_000_000
    hub.leave(tracks[0])
    assert encoder.target_bitrate == START_BITRATE


async def test_a_viewer_that_is_not_read_disturbs_no_other(hub: Hub, show: Show, monkeypatch) -> None:
    """Its packets are dropped, it starts again at a key frame, and the other misses nothing."""
    monkeypatch.setattr(encoded_track, "CAPACITY", 8)
    stuck, well = hub.join_video("video/vp8"), hub.join_video("video/vp8")
    seen = []
    for _ in range(28):  # full after 8, a key frame after 25 at the latest
        await show(1)
        seen += await taken(well)
    assert len(seen) == 28
    waiting = await taken(stuck)
    assert 0 < len(waiting) <= 8
    assert waiting[0].is_keyframe


async def test_the_last_viewer_takes_the_encoder_along(hub: Hub, show: Show) -> None:
    """Nothing is encoded for nobody; the next one starts anew."""
    track = hub.join_video("video/vp8")
    await show(2)
    hub.leave(track)
    assert (hub.encoders, hub.running()) == (0, [])
    assert track.readyState == "ended"
    await show(2)
    again = hub.join_video("video/vp8")
    await show(2)
    assert (await taken(again))[0].is_keyframe


def test_time_rises_through_another_source_and_a_jump(clock: Clock) -> None:
    """Going back, standing still and leaping are mended; stalls and small steps stay what they are."""
    line = feed.Timeline(1000, clock)
    assert line.at(5) == 5
    clock.now += 0.04
    assert line.at(45) == 45
    clock.now += 3  # a stall: the source's clock went on
    assert line.at(3045) == 3045
    clock.now += 0.04
    assert line.at(0) == 3085  # another source
    clock.now += 0.04
    assert line.at(40) == 3125
    clock.now += 0.04
    assert line.at(900_000) == 3165  # a leap
    assert line.at(900_000) == 3166
    assert line.shift_s == pytest.approx(3.166 - 900)


async def test_sound_is_encoded_once_for_all(hub: Hub) -> None:
    """Every viewer gets the same Opus, timed by the sound."""
    tracks = [hub.join_sound() for _ in range(2)]
    for number in range(5):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 960, fractions.Fraction(1, 48_000)
        hub.hear(frame)
    async with asyncio.timeout(10):
        got = [[await track.recv() for _ in range(5)] for track in tracks]
    assert [bytes(p) for p in got[0]] == [bytes(p) for p in got[1]]
    assert [p.pts for p in got[0]] == [0, 960, 1920, 2880, 3840]


async def test_what_a_viewer_reports_reaches_its_feed(hub: Hub) -> None:
    """PLI asks for a key frame, REMB is the estimate; of another stream it is nobody's."""

    class Transport:
        state = "new"
        _stats_id = "x"

    asked = []
    track = encoded_track.EncodedTrack("video", lambda: asked.append(True), lambda: None)
    sender = LiveSender(track, Transport())
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc))
    assert asked == [True]
    remb = pack_remb_fci(1_000_000, [sender._ssrc])
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=remb))
    assert track.bitrate == pytest.approx(1_000_000, rel=2**-17)  # 18 bits of mantissa
    other = pack_remb_fci(300_000, [sender._ssrc ^ 1])
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=other))
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=b"junk"))
    assert track.bitrate == pytest.approx(1_000_000, rel=2**-17)


async def test_a_tap_sees_what_is_given(hub: Hub) -> None:
    """The owner's frame goes on unchanged; the end is passed on."""
    source, seen = encoded_track.EncodedTrack("video", lambda: None, lambda: None), []
    tapped = TappedTrack(source, seen.append)
    packet = av.Packet(b"x")
    packet.is_keyframe = True
    source.put(packet)
    assert await tapped.recv() is packet
    assert seen == [packet]
    tapped.stop()
    assert source.readyState == "ended"
