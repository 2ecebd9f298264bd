"""Takes the participant's pictures from aiortc's track to the live stream.

aiortc's receive queue has no bound, so `VideoInput.run` always drains it; only the live core's mailbox drops. Pictures
arrive as RGB: the decoder's thread made them so, and the event loop converts nothing.
"""

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.live.output import FRAME_S
from engine.live.stream import LiveStream
from server.rtc.decoders import Decoded
from server.rtc.pictures.codec_timer import CodecTimer, untimed
from server.rtc.pictures.frames import rgb_array, rgb_picture
from server.rtc.sound.arrival_line import ArrivalLine
from server.settings import FrameLimits

DECODE_TIMES = 30  # pictures: a second of them


class VideoInput:
    """Drains the participant's video into the live stream. `on_bad_size(width, height)` hears of unusable pictures."""

    def __init__(
        self,
        track: MediaStreamTrack,
        live: LiveStream,
        limits: FrameLimits,
        on_bad_size: Callable[[int, int], None],
        on_coded: CodecTimer = untimed,
    ) -> None:
        self._track = track
        self._live = live
        self._limits = limits
        self._on_bad_size = on_bad_size
        self._on_coded = on_coded
        self.frames = 0
        # Of the largest picture so far, as it came: pages send smaller ones while there is a cap.
        self.source_pixels = 0
        self.last_s = float("-inf")  # monotonic time of the last picture, usable or not
        self.arrivals = ArrivalLine()  # of the times that the live stream gets
        self.shift_s = 0.0  # these times − PTS: a source that jumps back goes on, for us
        self._last_t_s = float("-inf")
        self._decode_s: deque[float] = deque(maxlen=DECODE_TIMES)

    @property
    def decode_s(self) -> float:
        """The time from a picture's last packet to the picture in RGB: the median of the last second; 0 unknown."""
        return statistics.median(self._decode_s) if self._decode_s else 0.0

    async def run(self) -> None:
        """Submits every picture until the track ends."""
        while True:
            try:
                picture: Any = await self._track.recv()
            except MediaStreamError:
                return
            self.last_s = time.monotonic()
            decoded = picture.opaque if isinstance(picture.opaque, Decoded) else None
            width, height = decoded.source if decoded is not None else (picture.width, picture.height)
            if not self._fits(width, height):
                self._on_bad_size(width, height)
                continue
            self.source_pixels = max(self.source_pixels, width * height)
            if picture.format.name != "rgb24":  # a decoder that is not ours
                picture = await asyncio.to_thread(rgb_picture, picture)
            self.frames += 1
            if decoded is not None:
                self._on_coded("decode", decoded.codec, decoded.took_s)
                if decoded.completed_s is not None:
                    self._decode_s.append(time.monotonic() - decoded.completed_s)
            t_s = self._time_of(picture)
            self.arrivals.update(time.monotonic(), t_s)
            self._live.submit(rgb_array(picture), t_s)

    def _time_of(self, picture: Any) -> float:
        """Returns the picture's presentation time, made to rise."""
        pts_s = float(picture.pts * picture.time_base) if picture.pts is not None else self.last_s
        if pts_s + self.shift_s <= self._last_t_s:
            self.shift_s = self._last_t_s + FRAME_S - pts_s
        self._last_t_s = pts_s + self.shift_s
        return self._last_t_s

    def _fits(self, width: int, height: int) -> bool:
        low, high, pixels = self._limits
        return low <= min(width, height) and max(width, height) <= high and width * height <= pixels
