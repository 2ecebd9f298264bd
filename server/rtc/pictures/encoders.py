"""Encoders for live pictures, in place of aiortc's (1.16): VP8 by libvpx, H.264 by the graphics hardware or x264.

1.5 Mbit/s from the first frame instead of 0.5, at most 2, of large pictures 4; x264 superfast instead of medium (2.6 ms
instead of 15–28); a new bit rate costs a key frame, so it is followed in steps.
"""

import fractions
import logging
import time
from collections.abc import Callable
from typing import Any

import av
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase

from engine.cpu_time import CPU
from server.rtc.pictures import hardware
from server.rtc.pictures.frames import resized, yuv_picture

logger = logging.getLogger(__name__)

START_BITRATE = 1_500_000
MIN_BITRATE = 120_000
MAX_BITRATE = 4_000_000
# Of pictures up to LARGE_PX, as the SDK sends them: more is packets, work and delay for what nobody sees.
MAX_BITRATE_SMALL, LARGE_PX = 2_000_000, 900 * 600
# A new rate costs a key frame: follow a falling network at once, a rising one in steps.
FALL_RATIO, RISE_RATIO, RISE_EVERY_S = 0.8, 1.35, 4.0
FALL_EVERY_S, AT_ONCE_RATIO = 1.0, 0.5  # an estimate that falls comes down in many reports: one key frame a second
# A rate too low for the picture makes a smaller one: below 1 bit a second for 1.6 px (0.025 a pixel) VP8 smears.
PX_PER_BIT = 1.6
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)
MIN_SIDE_PX = 96
HALF_RATE_BITRATE = 180_000  # below it every second picture is left out,
FULL_RATIO = 0.7  # where all of them would take more than this share of it
SIZE_SHARE = 0.1  # of a picture's size in the moving average


class BitrateControl:
    """Follows the receiver's estimate without re-creating the encoder at every report."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.current = START_BITRATE
        self.target = START_BITRATE
        self.highest = MAX_BITRATE  # for pictures of this size
        self._clock = clock
        self._changed_s = clock()

    def request(self, bitrate: int) -> None:
        """Takes the receiver's newest estimate, in bits a second, as the target."""
        self.target = max(MIN_BITRATE, min(int(bitrate), MAX_BITRATE))

    def adopt(self, free: bool = False) -> bool:
        """Adopts a target that is worth a key frame, or that needs none (`free`); returns True if `current` changed."""
        wanted = min(self.target, self.highest)
        ratio = wanted / self.current
        now_s = self._clock()
        top = wanted == self.highest and ratio > 1.1
        since_s = now_s - self._changed_s
        if (
            (free and ratio != 1)
            or (ratio < FALL_RATIO and (since_s >= FALL_EVERY_S or ratio < AT_ONCE_RATIO))
            or ((ratio > RISE_RATIO or top) and since_s >= RISE_EVERY_S)
        ):
            self.current = wanted
            self._changed_s = now_s
            return True
        return False


def encoder_threads(width: int, height: int) -> int:
    """Returns one up to 1080p, two above: libvpx's second thread spins while it waits (720p: 22 ms a frame, not 7)."""
    return 1 if width * height <= 1920 * 1088 else 2


def encoded_size(width: int, height: int, bitrate: int) -> tuple[int, int]:
    """Returns the (even) size at which a picture is encoded for `bitrate`: its own, or a smaller one of like shape."""
    fitting = (scale for scale in SCALES if width * height * scale**2 <= bitrate * PX_PER_BIT)
    smallest = max(SCALES[-1], min(1.0, MIN_SIDE_PX / min(width, height)))
    scale = max(next(fitting, smallest), smallest)
    return (width, height) if scale == 1 else (round(width * scale / 2) * 2, round(height * scale / 2) * 2)


class LiveEncoder:
    """Shared by the encoders: rate and size are followed in steps, each by a codec made anew; below a rate, every
    second picture is left out.
    """

    codec: Any
    _make: Callable[[int, int, int], Any]  # (width, height, bitrate) → codec

    def __init__(self) -> None:
        super().__init__()
        self.rate = BitrateControl()
        self._source = (0, 0)  # size of the pictures that come
        self._left_out = False  # the last picture was
        self._bits = 0.0  # of a picture that is no key frame
        self.took_s = 0.0  # of the last picture, colour conversion included

    @property
    def target_bitrate(self) -> int:
        return self.rate.target

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.rate.request(bitrate)

    def compress(self, frame: Any, force_keyframe: bool = False) -> tuple[bytes, bool]:
        """Returns the bytes of a picture (rgb24 or yuv420p), and whether a decoder can start there.

        There are none where the picture is left out.
        """
        started_s = time.perf_counter()
        codec, size = self.codec, (frame.width, frame.height)
        self.rate.highest = MAX_BITRATE if frame.width * frame.height > LARGE_PX else MAX_BITRATE_SMALL
        if self.rate.adopt(free=codec is None) or codec is None or size != self._source:
            self._source = size
            codec = self.codec = None  # before the next is made: the hardware has a few streams only
            codec = self.codec = type(self)._make(*encoded_size(*size, self.rate.current), self.rate.current)
        elif self._too_many and not force_keyframe and not self._left_out:
            self._left_out = True
            return b"", False
        self._left_out = False
        with CPU.part("convert"):
            frame = resized(yuv_picture(frame), codec.width, codec.height)
        frame.pict_type = av.video.frame.PictureType.I if force_keyframe else av.video.frame.PictureType.NONE
        with CPU.part("encode"):
            packets = self._encoded(frame)
        self.took_s = time.perf_counter() - started_s
        data, is_key = b"".join(bytes(packet) for packet in packets), any(packet.is_keyframe for packet in packets)
        if not is_key:
            self._bits += SIZE_SHARE * (8 * len(data) - self._bits)
        return data, is_key

    def _encoded(self, frame: Any) -> list[Any]:
        packets: list[Any] = self.codec.encode(frame)
        return packets

    @property
    def _too_many(self) -> bool:
        """True where every picture would be too much for the rate."""
        return (
            self.rate.current < HALF_RATE_BITRATE and self._bits * hardware.FRAME_RATE > FULL_RATIO * self.rate.current
        )


class LiveVp8Encoder(LiveEncoder, Vp8Encoder):
    """Runs libvpx for one live picture. Packets and descriptors are aiortc's."""

    @staticmethod
    def _make(width: int, height: int, bitrate: int) -> Any:
        return _vp8_context(width, height, bitrate)

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        data, _ = self.compress(frame, force_keyframe)
        payloads = self._packetize(data, self.picture_id) if data else []
        self.picture_id = (self.picture_id + bool(data)) % (1 << 15)
        return payloads, convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)


def _vp8_context(width: int, height: int, bitrate: int) -> Any:
    codec: Any = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.bit_rate = bitrate
    codec.time_base = fractions.Fraction(1, 90_000)
    codec.gop_size = 3000  # key frames on demand only
    codec.qmin, codec.qmax = 2, 56
    codec.thread_count = encoder_threads(width, height)
    codec.options = {
        "bufsize": str(bitrate // 2),  # half a second: a burst may not become queueing delay
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "cpu-used": "-12",
        "deadline": "realtime",
        "lag-in-frames": "0",
        "noise-sensitivity": "0",  # the picture is ours already; libvpx's denoiser costs a third of the encode
        "overshoot-pct": "15",
        "undershoot-pct": "100",
        "static-thresh": "100",  # of a still block: 5 % less work, and its bits go where something moves (+0.02 dB)
    }
    return codec


class LiveH264Encoder(LiveEncoder, H264Encoder):
    """Runs the hardware's encoder, or x264, for one live picture. Packetisation is aiortc's."""

    @staticmethod
    def _make(width: int, height: int, bitrate: int) -> Any:
        name = hardware.chosen()
        if name is not None:
            try:
                return hardware.open_context(name, width, height, bitrate)
            except hardware.Unfit as unfit:
                logger.warning("%s %s: x264 encodes this picture", name, unfit)
        return _h264_context(width, height, bitrate)

    def _encoded(self, frame: Any) -> list[Any]:
        try:
            return super()._encoded(frame)
        except av.FFmpegError as error:
            if self.codec.name not in hardware.HARDWARE:
                raise
            hardware.give_up(str(error))
        self.codec = self._make(frame.width, frame.height, self.rate.current)  # begins with a key frame
        return super()._encoded(frame)

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        data, _ = self.compress(frame, force_keyframe)
        payloads = self._packetize(self._split_bitstream(data)) if data else []
        return payloads, convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)


def _h264_context(width: int, height: int, bitrate: int) -> Any:
    # forced-idr: a key frame asked for must be one a decoder can start at
    options = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1"}
    codec = hardware.h264_context("libx264", width, height, bitrate, options)
    codec.thread_count = encoder_threads(width, height)
    codec.profile = "Baseline"
    return codec
