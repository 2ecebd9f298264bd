"""server.rtc: codecs, jitter and frames: what is tuned works, and says so when aiortc no longer fits."""

import random

import aiortc.rtcrtpsender
import av
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket, RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rtc import codecs, decoders
from server.rtc import jitter as receiving
from server.rtc.pictures import encoders
from server.rtc.pictures import frames as pictures
from tests.server.client import moving_square

ENCODERS = [
    pytest.param(encoders.LiveVp8Encoder, decoders.LiveVp8Decoder, vp8_depayload, id="VP8"),
    pytest.param(encoders.LiveH264Encoder, decoders.LiveH264Decoder, h264_depayload, id="H264"),
]


def encoded(encoder, depayload, rgb: np.ndarray, index: int, key: bool = False) -> JitterFrame:
    payloads, timestamp = encoder.encode(pictures.picture_of(rgb, index * 3000), key)
    return JitterFrame(b"".join(depayload(p) for p in payloads), timestamp)


def late_starts(decoder, frame: JitterFrame) -> bool:
    """Returns True where a fresh decoder makes a picture of this frame."""
    try:
        return bool(decoder.decode(frame))
    except av.FFmpegError:
        return False


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2)))


def test_this_aiortc_has_what_is_tuned() -> None:
    """The installed aiortc passes the check, and tuning twice changes nothing more."""
    codecs.tune()
    codecs.tune()
    assert aiortc.rtcrtpsender.get_encoder is codecs.get_encoder


def test_another_aiortc_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which of the names we replace this aiortc lacks."""
    monkeypatch.delattr(aiortc.rtcrtpsender, "get_encoder")
    with pytest.raises(codecs.AiortcChanged, match=r"rtcrtpsender\.get_encoder"):
        codecs.tune()


async def test_a_new_connection_receives_through_ours() -> None:
    """After tuning, a connection's receiver has our jitter buffer and bounded queue."""
    codecs.tune()
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = pc.addTransceiver("video").receiver
    assert isinstance(receiver, receiving.LiveReceiver)
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, receiving.PromptJitterBuffer)
    assert isinstance(receiver._RTCRtpReceiver__decoder_queue, receiving.BoundedDecoderQueue)
    await pc.close()


@pytest.mark.parametrize(("make", "make_decoder", "depayload"), ENCODERS)
def test_pictures_survive_the_codec(make, make_decoder, depayload) -> None:
    """An encoded picture comes back as RGB of the same size, close to what went in, with its timestamp."""
    encoder, decoder, picture = make(), make_decoder(), moving_square((240, 320))
    for index in range(8):
        rgb = picture(index)
        (out,) = decoder.decode(encoded(encoder, depayload, rgb, index))
        assert out.pts == index * 3000
        assert psnr(pictures.rgb_array(out), rgb) > 30


@pytest.mark.parametrize(("make", "make_decoder", "depayload"), ENCODERS)
def test_a_key_frame_on_demand_starts_a_new_decoder(make, make_decoder, depayload) -> None:
    """A decoder that joins late can start at a forced key frame, and cannot at another."""
    encoder, picture = make(), moving_square((120, 160))
    for index in range(5):
        encoded(encoder, depayload, picture(index), index)
    plain = encoded(encoder, depayload, picture(5), 5)
    key = encoded(encoder, depayload, picture(6), 6, key=True)
    assert len(key.data) > len(plain.data)
    assert not late_starts(make_decoder(), plain)
    (out,) = make_decoder().decode(key)
    assert psnr(pictures.rgb_array(out), picture(6)) > 28


@pytest.mark.parametrize(("make", "make_decoder", "depayload"), ENCODERS)
def test_the_size_may_change_in_mid_stream(make, make_decoder, depayload) -> None:
    """Turning the phone gives a picture of the new size, decodable by the same decoder."""
    encoder, decoder = make(), make_decoder()
    for index, size in enumerate([(120, 160), (120, 160), (160, 120), (64, 64)]):
        rgb = moving_square(size)(index)
        (out,) = decoder.decode(encoded(encoder, depayload, rgb, index))
        assert pictures.rgb_array(out).shape == rgb.shape


@pytest.mark.parametrize(("make", "make_decoder", "depayload"), ENCODERS)
def test_the_bit_rate_follows_the_receiver(make, make_decoder, depayload) -> None:
    """A receiver that asks for less gets clearly less."""
    noise = np.random.default_rng(1).integers(0, 255, (60, 120, 3), np.uint8)
    texture = np.repeat(np.repeat(noise, 8, 0), 8, 1)
    textures = [np.ascontiguousarray(texture[i * 7 : i * 7 + 240, i * 11 : i * 11 + 320]) for i in range(20)]

    def bytes_at(bitrate: int) -> int:
        encoder = make()
        encoder.target_bitrate = bitrate
        return sum(len(encoded(encoder, depayload, rgb, i).data) for i, rgb in enumerate(textures))

    assert bytes_at(300_000) < 0.7 * bytes_at(3_000_000)


def test_the_bit_rate_falls_at_once_and_rises_in_steps() -> None:
    """Every new rate costs a key frame, so small changes are ignored and a rise waits its turn."""
    now = [0.0]
    rate = encoders.BitrateControl(lambda: now[0])
    rate.request(1_400_000)
    assert not rate.adopt()
    rate.request(600_000)
    assert rate.adopt()
    assert rate.current == 600_000
    rate.request(10_000_000)
    now[0] = 1.0
    assert not rate.adopt()
    now[0] = 5.0
    assert rate.adopt()
    assert rate.current == encoders.MAX_BITRATE
    rate.request(1)
    assert rate.adopt()
    assert rate.current == encoders.MIN_BITRATE


@pytest.mark.parametrize(("size", "highest"), [((480, 640), 2_000_000), ((720, 1280), 4_000_000)])
def test_a_small_picture_takes_a_smaller_rate_at_most(size: tuple[int, int], highest: int) -> None:
    """On a line that carries any rate the encoder would climb for minutes, and the delay with it."""
    encoder = encoders.LiveVp8Encoder()
    encoder.target_bitrate = 100_000_000
    encoder.compress(pictures.picture_of(moving_square(size)(0), 0))
    assert encoder.rate.current == highest


# ---- colour


def test_colour_conversion_is_that_of_swscale() -> None:
    """OpenCV's conversions and FFmpeg's agree: BT.601, limited range."""
    rgb = np.ascontiguousarray(
        np.repeat(np.repeat(np.random.default_rng(0).integers(0, 255, (30, 40, 3)), 8, 0), 8, 1), np.uint8
    )
    picture = pictures.picture_of(rgb, 77)
    ours, slow = pictures.yuv_picture(picture), picture.reformat(format="yuv420p")
    assert (ours.pts, ours.time_base) == (77, pictures.TIME_BASE)
    apart = np.abs(ours.to_ndarray().astype(int) - slow.to_ndarray())
    assert apart[:240].max() <= 1  # luma
    assert np.median(apart[240:]) <= 1  # chroma: swscale also blurs it across the edges of the blocks
    back = pictures.rgb_picture(ours)
    assert back.pts == 77
    assert np.abs(pictures.rgb_array(back).astype(int) - rgb).max() <= 4  # 8-bit YUV is coarser than RGB


def test_grey_stays_grey() -> None:
    """The round trip through YUV tints nothing and shifts no level by more than one."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8).repeat(2)[None, :, None], 4, 0).repeat(3, 2)
    back = pictures.rgb_array(
        pictures.rgb_picture(pictures.yuv_picture(pictures.picture_of(np.ascontiguousarray(ramp), 0)))
    )
    assert np.abs(back.astype(int) - ramp).max() <= 1


@pytest.mark.parametrize("size", [(121, 161), (120, 161), (16, 16), (17, 19)])
def test_odd_and_padded_sizes_are_read_whole(size: tuple[int, int]) -> None:
    """Rows that FFmpeg pads, and odd sides, come out as they are."""
    rgb = moving_square(size)(3) if size[0] > 40 else np.full((*size, 3), 99, np.uint8)
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    np.testing.assert_array_equal(pictures.rgb_array(picture), rgb)
    decoded = pictures.rgb_picture(picture.reformat(format="yuv420p"))
    assert pictures.rgb_array(decoded).shape == rgb.shape
    assert pictures.even(rgb).shape == (size[0] // 2 * 2, size[1] // 2 * 2, 3)


def test_a_giant_picture_is_not_even_converted() -> None:
    """8K stays as the decoder gave it, to be refused by its size."""
    giant = av.VideoFrame(7680, 4320, "yuv420p")
    assert pictures.rgb_picture(giant) is giant


# ---- receiving


async def test_a_microphone_that_left_out_sound_is_dated_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first report after a gap in the source's clock counts alone; jitter of the reports is still evened out."""
    codecs.tune()
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = pc.addTransceiver("audio").receiver
    assert isinstance(receiver, receiving.LiveReceiver)
    monkeypatch.setattr(receiver, "_pts_s", lambda rtp: rtp / 48_000)

    async def report(sent_s: float, source_s: float) -> None:
        info = RtcpSenderInfo(round(sent_s * 2**32), round(source_s * 48_000), 0, 0)
        await receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=1, sender_info=info))

    for second, jitter_s in enumerate((0.0, 0.01, 0.0, -0.01, 0.0)):
        await report(100 + second + jitter_s, second)
    assert receiver.capture_s == pytest.approx(100, abs=1e-4)
    await report(105, 4.8)
    assert receiver.capture_s == pytest.approx(100.2, abs=1e-4)
    await pc.close()


def packets_of(frames: list[int], marked: bool = True, start: int = 65530) -> list[RtpPacket]:
    """Returns one packet list of frames with the given packet counts, sequence numbers wrapping."""
    packets = []
    for number, count in enumerate(frames):
        for part in range(count):
            packet = RtpPacket(
                marker=int(marked and part == count - 1),
                sequence_number=(start + len(packets)) % 65536,
                timestamp=3000 * number,
            )
            packet._data = f"{number}.{part};".encode()
            packets.append(packet)
    return packets


def taken(buffer: JitterBuffer, packets: list[RtpPacket]) -> list[tuple[int, bytes]]:
    out = []
    for packet in packets:
        frame = buffer.add(packet)[1]
        if isinstance(frame, receiving.PromptFrame):
            out += [(one.timestamp, one.data) for one in frame.each()]
        elif frame is not None:
            out.append((frame.timestamp, frame.data))
    return out


def test_a_frame_leaves_with_its_last_packet() -> None:
    """aiortc's own buffer would hold it until the next frame's first packet."""
    packets = packets_of([3])
    assert taken(JitterBuffer(512, is_video=True), packets) == []
    assert taken(receiving.PromptJitterBuffer(512, is_video=True), packets) == [(0, b"0.0;0.1;0.2;")]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(0, 1000), st.booleans())
def test_the_prompt_buffer_gives_the_frames_of_aiortcs(counts: list[int], seed: int, marked: bool) -> None:
    """Whatever the reordering, both buffers give the same frames in the same order; ours gives them no later."""
    packets = packets_of(counts, marked)
    rng = random.Random(seed)
    delay = [0.0, *(rng.uniform(0, 5) for _ in packets[1:])]
    order = sorted(range(len(packets)), key=lambda i: i + delay[i])
    shuffled = [packets[i] for i in order]
    slow = taken(JitterBuffer(512, is_video=True), shuffled)
    fast = taken(receiving.PromptJitterBuffer(512, is_video=True), shuffled)
    assert fast[: len(slow)] == slow
    assert len(fast) >= (len(counts) if marked else len(counts) - 1)


def test_a_large_picture_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets in order that end no picture cost nothing more: 300 took 24 ms of an event loop that is everybody's."""
    looks: list[int] = []
    take = receiving.PromptJitterBuffer._take_pictures
    monkeypatch.setattr(receiving.PromptJitterBuffer, "_take_pictures", lambda self: looks.append(1) or take(self))
    packets = packets_of([300, 2])
    assert [t for t, _ in taken(receiving.PromptJitterBuffer(512, is_video=True), packets)] == [0, 3000]
    assert len(looks) == 4  # the first and the last packet of each


def test_a_retransmission_frees_all_frames_that_waited_for_it() -> None:
    """aiortc gives one frame a packet, so a backlog of small frames would stay for ever; ours has none."""
    packets = packets_of([1] * 6)
    late = [packets[0], *packets[2:], packets[1]]
    buffer = receiving.PromptJitterBuffer(512, is_video=True)
    assert taken(buffer, late[:-1]) == [(0, b"0.0;")]
    assert [t for t, _ in taken(buffer, late[-1:])] == [3000, 6000, 9000, 12000, 15000]


def test_later_frames_are_mapped_to_the_tracks_time_like_the_first() -> None:
    """aiortc rewrites the timestamp of the frame it gets; those behind it must shift alike."""
    frame = receiving.PromptFrame(b"a", 90_000)
    frame.later = [(b"b", 93_000)]
    frame.timestamp = 0
    assert [one.timestamp for one in frame.each()] == [0, 3000]


def test_sound_leaves_at_once_and_in_order() -> None:
    """aiortc holds each packet for four more; ours only waits, for three, where one is missing."""
    packets = packets_of([1] * 8)
    assert len(taken(JitterBuffer(16, prefetch=4), packets)) == 4
    assert len(taken(receiving.PromptJitterBuffer(16, prefetch=4), packets)) == 8
    swapped = [packets[0], packets[2], packets[1], *packets[3:]]
    assert [t for t, _ in taken(receiving.PromptJitterBuffer(16, prefetch=4), swapped)] == [3000 * k for k in range(8)]
    buffer = receiving.PromptJitterBuffer(16, prefetch=4)
    assert taken(buffer, [packets[0], packets[2], packets[3]]) == [(0, b"0.0;")]  # the second may still come
    assert [t for t, _ in taken(buffer, packets[4:6])] == [6000, 9000, 12000, 15000]


def test_an_empty_packet_of_sound_does_not_reach_the_decoder() -> None:
    """FFmpeg's decoder takes it for the end and answers nothing after it."""
    packets = packets_of([1] * 3)
    packets[1]._data = b""
    assert [t for t, _ in taken(receiving.PromptJitterBuffer(16, prefetch=4), packets)] == [0, 6000]


def test_a_full_decoder_queue_starts_again_and_asks_for_a_key_frame() -> None:
    """A decoder that cannot keep up never owes more than a quarter of a second."""
    import threading

    error = threading.Event()
    box = receiving.BoundedDecoderQueue(error)
    for i in range(receiving.MAX_QUEUED_FRAMES):
        box.put(i)
    assert not error.is_set()
    box.put("newest")
    assert error.is_set()
    assert box.qsize() == 1
    assert box.dropped == receiving.MAX_QUEUED_FRAMES


def test_stopping_overtakes_what_waits_for_the_decoder() -> None:
    """Closing a connection must not decode its backlog first."""
    import threading

    box = receiving.BoundedDecoderQueue(threading.Event())
    box.put(1)
    box.put(2)
    box.put(None)
    assert box.get(timeout=1) is None
