"""Decoders that give RGB on their own thread and hold no frame back, in place of aiortc's (1.16)."""

import asyncio
import logging
import queue
import threading
import time
from typing import Any, NamedTuple

import aiortc.rtcrtpreceiver
import av
from aiortc.codecs.base import Decoder
from aiortc.codecs.h264 import H264Decoder
from aiortc.codecs.vpx import Vp8Decoder
from aiortc.jitterbuffer import JitterFrame

from engine.cpu_time import CPU
from server.rtc.jitter import PromptFrame
from server.rtc.pictures.frames import MAX_PIXELS, VIDEO_CLOCK_HZ, resized, rgb_picture
from server.rtc.pictures.picture_cap import PictureCap, Thinner

logger = logging.getLogger(__name__)


def decoder_worker(
    loop: asyncio.AbstractEventLoop,
    input_q: queue.Queue[Any],
    output_q: asyncio.Queue[Any],
    decode_error: threading.Event,
) -> None:
    """Decodes what comes until None comes, as aiortc's worker does, whose pictures reach the loop by a task each."""
    codec_name: str | None = None
    decoder: Any = None
    while (given := input_q.get()) is not None:
        codec, encoded_frame = given
        if codec.name != codec_name:
            decoder = aiortc.rtcrtpreceiver.get_decoder(codec)
            codec_name = codec.name
        try:
            frames = decoder.decode(encoded_frame)
        except av.FFmpegError as error:
            # The decoder stays: another one could decode nothing before the next key frame.
            logger.warning("a %s frame cannot be decoded: %s", codec.name, error)
            decode_error.set()
            continue
        for frame in frames:
            loop.call_soon_threadsafe(output_q.put_nowait, frame)
    loop.call_soon_threadsafe(output_q.put_nowait, None)


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
    source: tuple[int, int]  # width and height as they came


class _RgbPictures:
    """Decodes all that a PromptFrame carries, and turns it into RGB while still on the decoder's thread."""

    codec_name = ""

    def __init__(self) -> None:
        super().__init__()
        self._thinner = Thinner()

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        decode = super().decode  # type: ignore[misc]
        started_s = time.perf_counter()
        cap: PictureCap | None = getattr(encoded_frame, "cap", None)
        with CPU.part("decode"):
            decoded = [picture for one in frames_of(encoded_frame) for picture in decode(one)]
        came = [picture for picture in decoded if self._admits(picture, cap)]
        with CPU.part("convert"):
            pictures = [rgb_picture(_capped(picture, cap)) for picture in came]
        took_s = (time.perf_counter() - started_s) / max(1, len(pictures))
        completed_s = getattr(encoded_frame, "completed_s", None)
        for picture, source in zip(pictures, came, strict=True):
            picture.opaque = Decoded(completed_s, took_s, self.codec_name, (source.width, source.height))
        return pictures

    def _admits(self, picture: av.VideoFrame, cap: PictureCap | None) -> bool:
        return cap is None or self._thinner.admits((picture.pts or 0) / VIDEO_CLOCK_HZ, cap.fps)


def _capped(picture: av.VideoFrame, cap: PictureCap | None) -> av.VideoFrame:
    """Returns the picture at the size at which it is handled; one of impossible size stays as it is."""
    if cap is None or picture.width * picture.height > MAX_PIXELS:
        return picture
    return resized(picture, *cap.fitted(picture.width, picture.height))


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
