"""Decoders that give RGB on their own thread and hold no frame back, in place of aiortc's (1.16)."""

import time
from typing import Any, NamedTuple

import av
from aiortc.codecs.base import Decoder
from aiortc.codecs.h264 import H264Decoder
from aiortc.codecs.vpx import Vp8Decoder
from aiortc.jitterbuffer import JitterFrame

from engine.cpu_time import CPU
from server.rtc.frames import rgb_picture
from server.rtc.jitter import PromptFrame


def frames_of(encoded_frame: JitterFrame) -> list[JitterFrame]:
    """Returns all that `encoded_frame` carries; a foreign one is alone."""
    return encoded_frame.each() if isinstance(encoded_frame, PromptFrame) else [encoded_frame]


class LiveAudioDecoder(Decoder):
    """Decodes all that a PromptFrame carries with aiortc's own decoder of the sound."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        return [sound for one in frames_of(encoded_frame) for sound in self._decoder.decode(one)]


class Decoded(NamedTuple):
    """What a decoded picture carries in `opaque`, for `server.rtc.video_input`."""

    completed_s: float | None  # monotonic time of its last packet
    took_s: float  # decoder and colour conversion
    codec: str


class _RgbPictures:
    """Decodes all that a PromptFrame carries, and turns it into RGB while still on the decoder's thread."""

    codec_name = ""

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        decode = super().decode  # type: ignore[misc]
        started_s = time.perf_counter()
        with CPU.part("decode"):
            decoded = [picture for one in frames_of(encoded_frame) for picture in decode(one)]
        with CPU.part("convert"):
            pictures = [rgb_picture(picture) for picture in decoded]
        took_s = (time.perf_counter() - started_s) / max(1, len(pictures))
        for picture in pictures:
            picture.opaque = Decoded(getattr(encoded_frame, "completed_s", None), took_s, self.codec_name)
        return pictures


class LiveVp8Decoder(_RgbPictures, Vp8Decoder):
    """Runs libvpx on one thread: a frame at VGA takes 1–2 ms."""

    codec_name = "vp8"


class LiveH264Decoder(_RgbPictures, H264Decoder):
    """Runs FFmpeg's h264 without frame threading, which would hold frames back."""

    codec_name = "h264"

    def __init__(self) -> None:
        super().__init__()
        self.codec.thread_count = 1
        self.codec.flags |= av.codec.context.Flags.low_delay
