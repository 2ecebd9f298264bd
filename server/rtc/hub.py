"""The one fan-out of a session: its relit picture and matched sound go to any number of viewers, encoded once a codec.

The picture is the one that leaves for the participant, whatever it shows: what the live stream would not show the
participant (an avatar's camera) no viewer gets. Everything on the event loop.
"""

import time
from collections.abc import Callable
from typing import Any

from aiortc.mediastreams import MediaStreamTrack

from server.rtc.encoded_track import EncodedTrack
from server.rtc.feed import Clock, SoundFeed, Timeline, VideoFeed
from server.rtc.pictures.codec_timer import CodecTimer, untimed
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ
from server.rtc.sender import MediaClock

SOUND_CLOCK_HZ = 48_000


class TappedTrack(MediaStreamTrack):
    """Gives what `source` gives, and shows it to `tap` too."""

    def __init__(self, source: MediaStreamTrack, tap: Callable[[Any], None]) -> None:
        super().__init__()
        self.kind = source.kind
        self._source = source
        self._tap = tap

    def stop(self) -> None:
        super().stop()
        self._source.stop()

    async def recv(self) -> Any:
        frame = await self._source.recv()
        self._tap(frame)
        return frame


class Hub:
    """The feeds of one session. Outlives the session's connections, so viewers stay while the participant reloads."""

    def __init__(self, clock: Clock = time.monotonic, on_coded: CodecTimer = untimed) -> None:
        self.has_sound: bool | None = None  # None: no connection was made yet
        self._media_clocks: tuple[MediaClock, MediaClock] | None = None  # of picture and sound, by `tie`
        self._clock = clock
        self._on_coded = on_coded
        self._videos: dict[str, VideoFeed] = {}
        self._sound = SoundFeed(clock)
        self._picture_time = Timeline(VIDEO_CLOCK_HZ, clock)
        self._sound_time = Timeline(SOUND_CLOCK_HZ, clock)

    @property
    def encoders(self) -> int:
        """The number of video encoders that run."""
        return sum(bool(feed.tracks) for feed in self._videos.values())

    def tie(self, picture: MediaClock, sound: MediaClock) -> None:
        """Takes the clocks by which the source times its picture and sound: viewers are told, and keep them in step."""
        self._media_clocks = picture, sound

    def picture_s(self, now_s: float) -> float | None:
        """Returns the outgoing time of a picture that leaves at `now_s` (monotonic); None where it is not known."""
        clock = self._media_clocks[0](now_s) if self._media_clocks else None
        return None if clock is None else clock + self._picture_time.shift_s

    def sound_s(self, now_s: float) -> float | None:
        """Returns the outgoing time of the sound that leaves at `now_s` (monotonic); None where it is not known."""
        clock = self._media_clocks[1](now_s) if self._media_clocks else None
        return None if clock is None else clock + self._sound_time.shift_s

    def show(self, picture: Any) -> None:
        """Takes a picture that leaves: an rgb24 av.VideoFrame timed in 90 kHz."""
        pts = self._picture_time.at(picture.pts)
        for feed in self._videos.values():
            if feed.tracks:
                feed.show(picture, pts)

    def hear(self, sound: Any) -> None:
        """Takes a sound that leaves: an av.AudioFrame (s16, 48 kHz)."""
        self._sound.hear(sound, self._sound_time.at(sound.pts))

    def running(self) -> list[str]:
        """Returns the video codecs (mime types, lower case) that are being encoded: a viewer who can takes one."""
        return [mime for mime, feed in self._videos.items() if feed.tracks]

    def join_video(self, mime: str) -> EncodedTrack:
        """Returns a track of the picture in codec `mime`; it begins with a key frame."""
        mime = mime.lower()
        if mime not in self._videos:
            self._videos[mime] = VideoFeed(mime, self._clock, self._on_coded)
        return self._videos[mime].join()

    def join_sound(self) -> EncodedTrack:
        """Returns a track of the sound as Opus."""
        return self._sound.join()

    def leave(self, track: EncodedTrack) -> None:
        """Ends a track; the last one of a codec ends its encoder."""
        for mime, feed in list(self._videos.items()):
            if track in feed.tracks:
                feed.leave(track)
                if not feed.tracks:
                    del self._videos[mime]  # its encoder with it
        if track in self._sound.tracks:
            self._sound.leave(track)

    async def close(self) -> None:
        """Ends every track."""
        for feed in [*self._videos.values(), self._sound]:
            await feed.close()
        self._videos.clear()
