"""Tunes aiortc (1.16): encoders for live pictures, decoders that give RGB, receiving without hidden delay.

`LiveVp8Encoder`, `LiveH264Encoder`: 1.5 Mbit/s from the first frame instead of 0.5, at most 4; x264 superfast instead
of medium (2.6 ms instead of 15–28); a new bit rate costs a key frame, so it is followed in steps.
`tune` puts these and `server.rtc.jitter` in place, once; `check` raises if this aiortc lacks what they replace.
"""

import fractions
import logging
import time
from collections.abc import Callable
from typing import Any

import aiortc.codecs
import aiortc.rtcpeerconnection
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import av
from aiortc.codecs.base import Decoder, Encoder
from aiortc.codecs.h264 import H264Decoder, H264Encoder
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver

from server.rtc.frames import rgb_picture, yuv_picture
from server.rtc.jitter import LiveReceiver, PromptFrame, PromptJitterBuffer

logger = logging.getLogger(__name__)

START_BITRATE = 1_500_000
MIN_BITRATE = 250_000
MAX_BITRATE = 4_000_000
# A new rate costs a key frame: follow a falling network at once, a rising one in steps.
FALL_RATIO, RISE_RATIO, RISE_EVERY_S = 0.8, 1.35, 4.0
FRAME_RATE = 30


class AiortcChanged(RuntimeError):
    """This aiortc lacks something `tune` replaces."""


class BitrateControl:
    """Follows the receiver's estimate without re-creating the encoder at every report."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.current = START_BITRATE
        self.target = START_BITRATE
        self._clock = clock
        self._changed_s = clock()

    def request(self, bitrate: int) -> None:
        """Takes the receiver's newest estimate, in bits a second, as the target."""
        self.target = max(MIN_BITRATE, min(int(bitrate), MAX_BITRATE))

    def adopt(self, free: bool = False) -> bool:
        """Adopts a target that is worth a key frame, or that needs none (`free`); returns True if `current` changed."""
        ratio = self.target / self.current
        now_s = self._clock()
        top = self.target == MAX_BITRATE and ratio > 1.1
        if (
            (free and ratio != 1)
            or ratio < FALL_RATIO
            or ((ratio > RISE_RATIO or top) and now_s - self._changed_s >= RISE_EVERY_S)
        ):
            self.current = self.target
            self._changed_s = now_s
            return True
        return False


def encoder_threads(width: int, height: int) -> int:
    """Returns one up to 1080p, two above: libvpx's second thread spins while it waits (720p: 22 ms a frame, not 7)."""
    return 1 if width * height <= 1920 * 1088 else 2


class _LiveEncoder:
    """Shared by the encoders: a bit rate followed in steps, and a codec made anew for another rate or size."""

    codec: Any

    def __init__(self) -> None:
        super().__init__()
        self.rate = BitrateControl()

    @property
    def target_bitrate(self) -> int:
        return self.rate.target

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.rate.request(bitrate)

    def _compressed(self, frame: Any, force_keyframe: bool, make: Callable[[int, int, int], Any]) -> bytes:
        """Returns a yuv420p picture's bytes; `make(width, height, bitrate)` makes another codec where need be."""
        size = (frame.width, frame.height)
        codec = self.codec
        if self.rate.adopt(free=codec is None) or codec is None or size != (codec.width, codec.height):
            codec = self.codec = make(*size, self.rate.current)
        frame.pict_type = av.video.frame.PictureType.I if force_keyframe else av.video.frame.PictureType.NONE
        return b"".join(bytes(packet) for packet in codec.encode(frame))


class LiveVp8Encoder(_LiveEncoder, Vp8Encoder):
    """Runs libvpx for one live picture. Packets and descriptors are aiortc's."""

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        frame = yuv_picture(frame)
        data = self._compressed(frame, force_keyframe, _vp8_context)
        payloads = self._packetize(data, self.picture_id)
        self.picture_id = (self.picture_id + 1) % (1 << 15)
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
        "static-thresh": "1",
    }
    return codec


class LiveH264Encoder(_LiveEncoder, H264Encoder):
    """Runs x264 for one live picture. Packetisation is aiortc's."""

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        frame = yuv_picture(frame)
        data = self._compressed(frame, force_keyframe, _h264_context)
        payloads = self._packetize(self._split_bitstream(data)) if data else []
        return payloads, convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)


def _h264_context(width: int, height: int, bitrate: int) -> Any:
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.bit_rate = bitrate
    codec.framerate = fractions.Fraction(FRAME_RATE, 1)
    codec.time_base = fractions.Fraction(1, 90_000)
    codec.gop_size = 3000
    codec.thread_count = encoder_threads(width, height)
    codec.options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // 2),
        "forced-idr": "1",  # a key frame asked for must be one a decoder can start at
    }
    codec.profile = "Baseline"
    return codec


class _RgbPictures:
    """Decodes all that a PromptFrame carries, and turns it into RGB while still on the decoder's thread."""

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        decode = super().decode  # type: ignore[misc]
        each = encoded_frame.each() if isinstance(encoded_frame, PromptFrame) else [encoded_frame]
        return [rgb_picture(picture) for one in each for picture in decode(one)]


class LiveVp8Decoder(_RgbPictures, Vp8Decoder):
    """Runs libvpx on one thread: a frame at VGA takes 1–2 ms."""


class LiveH264Decoder(_RgbPictures, H264Decoder):
    """Runs FFmpeg's h264 without frame threading, which would hold frames back."""

    def __init__(self) -> None:
        super().__init__()
        self.codec.thread_count = 1
        self.codec.flags |= av.codec.context.Flags.low_delay


_default_encoder = aiortc.codecs.get_encoder
_default_decoder = aiortc.codecs.get_decoder


def get_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    """Returns a live encoder for video, aiortc's for audio."""
    kind = codec.mimeType.lower()
    if kind == "video/vp8":
        return LiveVp8Encoder()
    if kind == "video/h264":
        return LiveH264Encoder()
    return _default_encoder(codec)


def get_decoder(codec: RTCRtpCodecParameters) -> Decoder:
    """Returns a live decoder for video, aiortc's for audio."""
    kind = codec.mimeType.lower()
    if kind == "video/vp8":
        return LiveVp8Decoder()
    if kind == "video/h264":
        return LiveH264Decoder()
    return _default_decoder(codec)


# (module, name) that `tune` replaces, and by what.
_REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (aiortc.rtcrtpsender, "get_encoder", get_encoder),
    (aiortc.rtcrtpreceiver, "get_decoder", get_decoder),
    (aiortc.rtcrtpreceiver, "JitterBuffer", PromptJitterBuffer),
    (aiortc.rtcpeerconnection, "RTCRtpReceiver", LiveReceiver),
)
_NEEDED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (JitterBuffer, ("add", "remove", "_remove_frame", "capacity")),
    (Vp8Encoder, ("encode", "_packetize", "target_bitrate")),
    (H264Encoder, ("encode", "_packetize", "_split_bitstream", "target_bitrate")),
    (Vp8Decoder, ("decode",)),
    (H264Decoder, ("decode",)),
)


def check() -> None:
    """Raises AiortcChanged naming what this aiortc lacks."""
    missing = [f"{module.__name__}.{name}" for module, name, _ in _REPLACED if not hasattr(module, name)]
    missing += [f"{owner.__name__}.{name}" for owner, names in _NEEDED for name in names if not hasattr(owner, name)]
    code = RTCRtpReceiver.__init__.__code__
    missing += [
        f"RTCRtpReceiver{name}"
        for name in ("__decoder_queue", "__decoder_error", "__jitter_buffer")
        if f"_RTCRtpReceiver{name}" not in code.co_names
    ]
    if missing:
        raise AiortcChanged(
            f"aiortc {aiortc.__version__} lacks {', '.join(missing)}; install aiortc 1.16 or adapt server/rtc/codecs.py"
        )


def tune() -> None:
    """Puts all of the above in place for every connection made from now on. Again: nothing happens."""
    check()
    for module, name, ours in _REPLACED:
        setattr(module, name, ours)
