"""Lost packets are asked for again, given up in time, and bit rate and size follow what the network carries."""

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rate import BandwidthUsage
from aiortc.rtp import RtpPacket, is_rtcp

from server.rtc import jitter, nacks, path_rate, uplink_rate
from server.rtc.pictures import encoders
from tests.engine.fakes import Clock
from tests.server.client import CameraTrack, Participant, moving_square, running

KEY = b"\x10\x00\x00\x9d\x01\x2a"  # the begin of a VP8 key frame
DELTA = b"\x11\x00\x00more"


def packet(number: int, data: bytes = DELTA, marker: bool = True) -> RtpPacket:
    """Returns a picture of one packet."""
    made = RtpPacket(sequence_number=number % 65536, timestamp=number * 3000, marker=int(marker), ssrc=7)
    made._data = data
    return made


def test_a_lost_packet_is_asked_for_again_and_then_given_up() -> None:
    """At once, again at growing pauses, never after it came; numbers come round."""
    clock = Clock()
    asking = nacks.RepeatedNacks(clock)
    assert not asking.add(packet(65534))
    assert asking.add(packet(65537))  # that is 1
    assert asking.missing == {65535, 0}
    assert not asking.add(packet(65538))
    assert not asking.add(packet(65536))  # the retransmission
    asked = []
    for number in range(3, 43):
        clock.now += 0.01
        if asking.add(packet(65536 + number)):
            asked.append(round(clock.now - 100, 2))
            assert asking.missing == {65535}
    pauses = np.diff([0, *asked])
    assert len(asked) == 3
    assert np.all(np.diff(pauses) > 0)
    assert not asking.give_up()
    clock.now += 0.2
    assert asking.give_up()
    assert not asking.give_up()
    assert not asking.add(packet(65536 + 43))


def test_a_jump_of_numbers_asks_for_no_more_than_senders_keep() -> None:
    asking = nacks.RepeatedNacks(Clock())
    asking.add(packet(0))
    assert asking.add(packet(30_000))
    assert len(asking.missing) == 128


def pictures(buffer: jitter.PromptJitterBuffer, *packets: RtpPacket) -> list[int]:
    """Returns the numbers of the pictures that leave the buffer."""
    frames: list[JitterFrame] = []
    for each in packets:
        frame = buffer.add(each)[1]
        if isinstance(frame, jitter.PromptFrame):
            frames += frame.each()
    return [frame.timestamp // 3000 for frame in frames]


def test_the_picture_goes_on_at_a_key_frame_though_something_is_missing() -> None:
    """What is before it is left, complete or not; until it comes nothing leaves, since it could not be decoded."""
    buffer = jitter.PromptJitterBuffer(512, is_video=True)
    assert pictures(buffer, packet(1, KEY), packet(2)) == [1, 2]
    assert pictures(buffer, packet(4), packet(5)) == []
    assert pictures(buffer, packet(6, KEY), packet(7)) == [6, 7]
    half = packet(9, KEY, marker=False)
    assert pictures(buffer, half) == []  # 8 is missing, and 9 is not whole
    rest = packet(10)
    rest.timestamp = half.timestamp
    assert pictures(buffer, rest) == [9]


def test_after_giving_up_pictures_wait_for_a_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would be decoded to a smear; a source that makes no key frame is shown all the same after a while."""
    clock = Clock()
    monkeypatch.setattr(jitter.time, "monotonic", clock)
    buffer = jitter.PromptJitterBuffer(512, is_video=True)
    assert pictures(buffer, packet(1, KEY)) == [1]
    buffer.give_up()
    assert pictures(buffer, packet(2), packet(3), packet(4, KEY), packet(5)) == [4, 5]
    buffer.give_up()
    assert pictures(buffer, packet(6)) == []
    clock.now += jitter.KEYFRAME_PATIENCE_S + 1
    assert pictures(buffer, packet(7)) == [6, 7]


def textured(index: int, size: tuple[int, int] = (240, 320)) -> av.VideoFrame:
    rng = np.random.default_rng(index)
    rgb = np.repeat(np.repeat(rng.integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8), 8, 0), 8, 1)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame.pts, frame.time_base = index * 3000, Fraction(1, 90_000)
    return frame


@pytest.mark.parametrize("make", [encoders.LiveVp8Encoder, encoders.LiveH264Encoder])
def test_key_frames_are_recognised(make) -> None:
    """Of both codecs, as the encoders make them and the receiver unpacks them."""
    encoder = make()
    for index in range(4):
        data, is_key = encoder.compress(textured(index), force_keyframe=index == 2)
        if make is encoders.LiveH264Encoder:
            data = b"\0\0\0\1" + next(H264Encoder._split_bitstream(data))
        assert is_key == (index in (0, 2))
        assert jitter.starts_key_frame(data) == is_key


async def test_a_packet_that_never_comes_costs_a_key_frame_and_no_more() -> None:
    """The packet and all its retransmissions are lost: the picture is back long before the buffer is full."""
    camera = CameraTrack(moving_square())
    async with running() as server, Participant(server.ws) as tab:
        await tab.offer(camera)
        await tab.pictures(5)
        transport = tab.pc.getSenders()[0].transport
        send, lost = transport._send_rtp, []

        async def lossy(data: bytes) -> None:
            if not is_rtcp(data):
                made = RtpPacket.parse(data)
                # RTX: the number of the packet that it repeats comes first.
                if not lost or made.payload[:2] == lost[0]:
                    lost.append(made.payload[:2] if lost else made.sequence_number.to_bytes(2))
                    return
            await send(data)

        transport._send_rtp = lossy
        await tab.until(lambda: len(lost) > 2, what="a second retransmission")
        begun = camera.index
        await tab.pictures(10)
        assert camera.index - begun < 200  # of the 512 packets, one a picture, that the buffer holds


@pytest.mark.parametrize(("make", "codec"), [(encoders.LiveVp8Encoder, "vp8"), (encoders.LiveH264Encoder, "h264")])
def test_a_low_rate_makes_a_smaller_picture(make, codec: str) -> None:
    """The size follows the rate down and up with the key frame that a new rate costs anyway."""
    encoder = make()
    now = [0.0]
    encoder.rate = encoders.BitrateControl(lambda: now[0])
    sizes, keys = [], []
    for index, rate in enumerate((1_500_000, 1_500_000, 200_000, 200_000, 3_000_000, 3_000_000)):
        encoder.target_bitrate = rate
        now[0] += 5
        data, is_key = encoder.compress(textured(index, (720, 1280)))
        keys.append(is_key)
        if is_key:
            decoder = av.CodecContext.create(codec, "r")
            [decoded] = decoder.decode(av.Packet(data)) + decoder.decode(None)
            sizes.append((decoded.width, decoded.height))
    assert keys == [True, False, True, False, True, False]
    assert sizes == [(1280, 720), (640, 360), (1280, 720)]


def test_below_a_rate_every_second_picture_is_left_out() -> None:
    """A key frame that was asked for is not; nor is any picture where all of them fit."""
    encoder = encoders.LiveVp8Encoder()
    encoder.target_bitrate = 120_000
    sent = [bool(encoder.encode(textured(index), force_keyframe=index == 30)[0]) for index in range(40)]
    halved = sent.index(False)
    assert halved < 20
    assert sent[halved:30] == [bool(index % 2) for index in range(30 - halved)]
    assert sent[30:34] == [True, False, True, False]
    calm = encoders.LiveVp8Encoder()
    calm.target_bitrate = 120_000
    assert all(calm.encode(textured(0))[0] for _ in range(30))


def test_sizes_keep_their_shape_and_stay_even() -> None:
    for bitrate in (120_000, 250_000, 600_000, 1_500_000, 4_000_000):
        for width, height in ((1920, 1080), (1280, 720), (640, 480), (480, 854), (98, 98)):
            found = encoders.encoded_size(width, height, bitrate)
            assert found[0] % 2 == found[1] % 2 == 0 or found == (width, height)
            assert found[0] / found[1] == pytest.approx(width / height, rel=0.03)
            assert min(found) >= min(96, width, height)
    assert encoders.encoded_size(1280, 720, 1_500_000) == (1280, 720)


def test_chance_loss_changes_nothing_and_much_loss_halves() -> None:
    """Radio loses 5 % at any rate; over a tenth the network is full. One report of few packets is no verdict."""
    clock = Clock()
    rate = path_rate.PathRate(clock)
    assert rate.estimate is None
    rate.remb(2_000_000, 1_500_000)
    rng = np.random.default_rng(1)
    for _ in range(600):
        clock.now += 0.1
        rate.loss(int(rng.binomial(15, 0.05)), 15, 1_500_000)
    assert rate.estimate > 1_000_000
    for _ in range(40):
        clock.now += 0.1
        rate.loss(int(rng.binomial(15, 0.3)), 15, min(1_500_000, rate.estimate))
    low = rate.estimate
    assert low < 800_000
    for _ in range(200):
        clock.now += 0.1
        rate.loss(0, 15, rate.estimate)
    assert rate.estimate >= 2_000_000


def test_an_estimate_of_a_picture_that_needs_few_bits_lowers_nothing() -> None:
    """Chromium begins with the rate of the first five seconds: taken for a limit, that halved a calm picture's rate."""
    clock = Clock()
    rate = path_rate.PathRate(clock)

    def send(bps: int, seconds: float) -> None:
        for _ in range(round(15 * seconds)):
            clock.now += 1 / 15
            rate.sent(bps // 8 // 15)

    send(100_000, 5)
    rate.remb(98_000, 1_500_000)
    assert rate.estimate == 1_500_000
    rate.sent(20_000)  # a key frame
    rate.remb(98_000, 1_500_000)
    assert rate.estimate == 1_500_000
    send(1_400_000, 3)
    rate.remb(1_000_000, 1_500_000)  # less than what was sent: a narrow way
    assert rate.estimate == 1_000_000
    send(100_000, 2)
    rate.remb(160_000, 1_000_000)  # within 1.5 times of what came
    assert rate.estimate == 1_000_000
    rate.remb(1_200_000, 1_000_000)
    assert rate.estimate == 1_200_000


def test_a_movement_after_a_calm_time_gets_its_bits() -> None:
    """The receiver's estimate climbs by 8 % a second from what the calm picture took, and falls on a full way."""
    clock = Clock()
    rate = path_rate.PathRate(clock)

    def second(bps: int, estimate: float) -> int | None:
        for _ in range(15):
            clock.now += 1 / 15
            rate.sent(bps // 8 // 15)
            rate.remb(round(estimate), 1_500_000)  # the same again and again
        return rate.estimate

    for index in range(6):
        assert second(300_000, 300_000 * 1.08**index) == 1_500_000
    for index in range(6, 12):
        assert second(1_500_000, 300_000 * 1.08**index) == 1_500_000
    full = round(0.85 * 600_000)
    assert second(1_500_000, full) == full


def test_a_narrow_network_is_known_in_the_first_second() -> None:
    """Not a whole second of sending is needed; and where packets queue, an estimate that creeps up is no excuse."""
    clock = Clock()
    rate = path_rate.PathRate(clock)
    for _ in range(10):
        clock.now += 1 / 30
        rate.sent(1_500_000 // 8 // 30)
    rate.remb(255_000, 1_500_000)
    assert rate.estimate == 255_000

    queued = path_rate.PathRate(clock)
    for index in range(40):
        clock.now += 1 / 30
        queued.sent(1_500_000 // 8 // 30)
        queued.remb(450_000 if index < 1 else 459_000, 1_500_000)
    queued.way(0.02)
    queued.way(0.4)
    queued.remb(460_000, 1_500_000)
    assert queued.estimate == 460_000


def test_a_participant_is_held_back_only_where_the_network_is_full() -> None:
    """Not at what came in the first seconds, which of a calm picture is little."""
    rate = uplink_rate.UplinkRate()
    normal, full = BandwidthUsage.NORMAL, BandwidthUsage.OVERUSING
    assert [rate.update(normal, 200_000, 500 * index) for index in range(20)] == [None] * 20
    assert rate.update(full, 600_000, 10_000) == 510_000
    later = [rate.update(normal, 500_000, 10_500 + 500 * index) for index in range(4)]
    assert later == sorted(later)
    assert 510_000 < later[-1] < 650_000


def test_a_stale_estimate_is_tried_and_one_that_falls_is_obeyed() -> None:
    """After a pause REMB is far below what goes through; where trying makes it fall, the next try is later."""
    clock = Clock()
    rate = path_rate.PathRate(clock)

    def remb(bitrate: int) -> None:
        for _ in range(15):
            rate.sent(1000)
        rate.remb(bitrate, 120_000)

    def calm(seconds: float) -> None:
        for _ in range(round(seconds)):
            for _ in range(10):
                clock.now += 0.1
                rate.sent(1000)
            rate.loss(0, 100, 120_000)

    remb(50_000)
    assert rate.estimate == 50_000
    calm(6)
    assert rate.estimate == 240_000
    remb(40_000)
    assert rate.estimate == 40_000
    calm(6)
    assert rate.estimate == 40_000
    calm(6)
    assert rate.estimate == 240_000
    remb(3_000_000)
    assert rate.estimate == 3_000_000
