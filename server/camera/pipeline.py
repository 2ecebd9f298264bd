"""Camera → LiveStream → sink, on the thread that calls `run`. Nothing is queued here: the newest picture wins.

The camera is read by `feed`, the engine has threads of its own; this thread takes each picture when it is due and
writes it. While there is no camera a card is shown, in an avatar's place its portrait and never the camera.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from engine.fit import letterbox
from engine.live.controls import Controls
from engine.live.stream import LiveStream
from engine.stats import percentiles_ms
from server.camera.card import draw_card
from server.camera.feed import Feed, State
from server.camera.rate import ConstantRate
from server.camera.readers import Readers, count_readers
from server.camera.sinks import ReaderGone, Sink
from server.camera.sources import DEFAULT_FPS, DEFAULT_SIZE, Rgb, Size, Source
from server.rtc.pictures.frames import even

CARDS: dict[State, str] = {
    "off": "The camera opens when somebody looks",
    "opening": "Opening the camera",
    "away": "The camera is away",
}
IDLE_S = 0.2  # between two cards that nobody looks at: whoever comes sees one at once
STILL_S = 1.0  # between two cards in a file, whose end is else unknown
UNLIT_S = 3.0  # a file or a pipe begins with the first relit picture, if there is one by then
RING = 512  # delays kept
SMOOTHING = 0.1  # of the time a write takes: its mean follows within ten writes


def even_size(size: Size) -> Size:
    """Returns `size` with even sides, as 4:2:0 needs them."""
    return size[0] & ~1, size[1] & ~1


@dataclass(frozen=True, slots=True)
class Limits:
    """The shape and the end of the output. None: the source's own, or no end."""

    size: Size | None = None
    camera_size: Size = DEFAULT_SIZE  # of the pictures to come, for a sink that is opened before the camera
    fps: Fraction | None = None
    frames: int | None = None
    seconds: float | None = None

    @property
    def shape_before_camera(self) -> tuple[int, int, Fraction]:
        """Width, height and rate of a sink that is opened before the camera."""
        width, height = even_size(self.size or self.camera_size)
        return width, height, self.fps or DEFAULT_FPS


@dataclass(slots=True)
class Written:
    """Counts what was written."""

    frames: int = 0
    repeated: int = 0  # of them: the picture before, again
    dropped: int = 0  # pictures that came too close to the one before
    seconds: float = 0.0  # of the output's own time
    took_s: float = 0.0  # from the first to the last, by the clock on the wall
    delays_s: deque[float] = field(default_factory=lambda: deque(maxlen=RING))  # capture → written


class Pipeline:
    """One camera on its way to one sink. `run` returns at the end; everything else may be called from any thread."""

    def __init__(
        self,
        controls: Controls,
        open_source: Callable[[], Source],
        sink: Sink,
        stop: threading.Event,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[str], int | None] = count_readers,
    ) -> None:
        self.written = Written()
        self.latest: Rgb | None = None  # the picture that was written last
        self._controls, self._sink, self._stop, self._limits = controls, sink, stop, limits
        self._clock, self._count = clock, count
        self._open_source = open_source
        self._source_fps: Fraction | None = None
        self._wake = threading.Event()
        self.live = LiveStream(controls, self._wake.set, clock)
        self.feed = Feed(self._opened, self.live.submit, stop, clock)
        self._on_demand = False  # the camera is open only while somebody reads
        self._size: Size | None = None  # once the sink is open
        self._rate, self._interval_s = ConstantRate(DEFAULT_FPS), float(1 / DEFAULT_FPS)
        self._start_s: float | None = None  # of the first picture written
        self._first_seen_s: float | None = None
        self._first_written_s: float | None = None
        self._mean_write_s = 0.0
        self._last_t_s = float("-inf")
        self._card: str | None = None  # the text that is shown
        self._carded_s = 0.0

    def _opened(self) -> Source:
        source = self._open_source()
        self._source_fps = source.fps
        return source

    def run(self) -> Written:
        """Writes until `stop` is set, a limit is reached or nobody reads. Raises what keeps camera or sink from it."""
        self.feed.start()
        try:
            if self._sink.live_before_camera:
                self._open_sink(*self._limits.shape_before_camera)
                device = self._sink.device or ""
                readers = Readers(lambda: self._count(device), self.feed.want, self._stop)
                self._on_demand = readers.counted
                readers.start()
            else:
                self.feed.want(True)
            while not self._stop.is_set() and not self._complete:
                self._turn()
        except ReaderGone:
            pass
        finally:
            self._stop.set()
            self.feed.join()
            self.live.close()
            self._sink.close()
        return self.written

    def status(self) -> dict[str, Any]:
        """Returns the numbers of this moment: the message `status` of docs/camera.md."""
        snapshot = self.live.snapshot()
        p50, p95, _ = percentiles_ms(list(self.written.delays_s))
        error = self.feed.error
        return {
            "type": "status",
            "camera": self.feed.state,
            "trouble": "" if error is None else error.message,
            "hint": "" if error is None else error.hint,
            "fps": snapshot.fps_out,
            "delay_ms": {"p50": p50, "p95": p95},
            "size": list(self._size or (0, 0)),
            "frames": self.written.frames,
            "engine": snapshot.engine,
            "face": snapshot.face,
        }

    # ---- one turn

    def _turn(self) -> None:
        """Writes what is due now, then waits for more."""
        self._wake.clear()  # before looking, so that what comes meanwhile wakes
        now_s = self._clock()
        output, wait_s = self.live.next_output(now_s)
        state = self.feed.state
        if state == "live":
            self._card = None
            if output is not None and self._begins(output.relit, now_s):
                self._put(output.rgb, output.t_s, camera=True)
        else:
            self._without_camera(state, now_s)
        if self._size is not None and self._sink.constant_rate and state != "off":
            self._fill()
        self._wake.wait(min(wait_s, IDLE_S if state == "off" else self._interval_s))

    def _begins(self, relit: bool, now_s: float) -> bool:
        """Returns True from the first picture on that is to be written."""
        if self._size is not None:
            return True
        if self._first_seen_s is None:
            self._first_seen_s = now_s
        return relit or now_s - self._first_seen_s > UNLIT_S

    def _without_camera(self, state: State, now_s: float) -> None:
        """Shows the card of `state`; where nothing was shown yet, a camera that cannot be opened is an error."""
        if self.feed.error is not None and not self.feed.opened and not self._on_demand:
            raise self.feed.error
        if self._size is None:
            return
        since_s = now_s - self._carded_s
        if self._card != CARDS[state] or (since_s >= STILL_S and not self._sink.constant_rate):
            # Not before it was written: in the place of the camera's last picture it may find no room yet.
            if self._put(self._placeholder(CARDS[state]), now_s, camera=False):
                self._card, self._carded_s = CARDS[state], now_s
        elif state == "off" and since_s >= IDLE_S and self.latest is not None:
            self._carded_s = now_s
            self._rate = ConstantRate(self._rate.fps)  # who comes later has no interest in this time
            self._sink.write(self.latest, 0.0)

    def _placeholder(self, text: str) -> Rgb:
        """Returns what is shown in the camera's place: of an avatar its portrait."""
        traits = self._controls.engine.device.traits
        if traits.shows_avatar and self._controls.placeholder is not None:
            return self._controls.placeholder.fitted(traits)
        assert self._size is not None
        return draw_card(*self._size, text)

    # ---- writing

    def _open_sink(self, width: int, height: int, fps: Fraction) -> None:
        self._rate, self._interval_s = ConstantRate(fps), float(1 / fps)
        self._size = width, height
        self._sink.open(width, height, fps)

    def _put(self, rgb: Rgb, t_s: float, camera: bool) -> bool:
        """Writes one picture of time `t_s` at its place, and the one before at the places that stayed empty.

        Returns False where its place is taken.
        """
        if self._size is None:
            size = even_size(self._limits.size or (rgb.shape[1], rgb.shape[0]))
            self._open_sink(*size, self._limits.fps or self._source_fps or DEFAULT_FPS)
        assert self._size is not None
        picture = letterbox(even(rgb), self._size[::-1])
        now_s = self._clock()
        empty: int | None = 0
        if self._sink.constant_rate:
            empty = self._rate.place(t_s, now_s, fill=not self._reader_is_slow)
        elif t_s <= self._last_t_s:
            empty = None
        if empty is None:
            self.written.dropped += camera
            return False
        self._last_t_s = t_s
        self._repeat(empty)
        if not self._complete:
            self._write(picture, t_s)
        if camera:
            self.written.delays_s.append(self._clock() - t_s)
        return True

    def _fill(self) -> None:
        """Repeats the last picture at the places that time has passed."""
        self._repeat(self._rate.overdue(self._clock()))

    def _repeat(self, times: int) -> None:
        for _ in range(times):
            if self.latest is not None and not self._complete:
                self.written.repeated += 1
                self._write(self.latest, self._last_t_s)

    def _write(self, picture: Rgb, t_s: float) -> None:
        before_s = self._clock()
        if self._start_s is None:
            self._start_s = t_s
        self._sink.write(picture, t_s - self._start_s)
        self.latest = picture
        self.written.frames += 1
        self._first_written_s = self._first_written_s or before_s
        self.written.took_s = before_s - self._first_written_s
        self.written.seconds = (
            self.written.frames * self._interval_s if self._sink.constant_rate else t_s - self._start_s
        )
        took_s = self._clock() - before_s
        self._mean_write_s += SMOOTHING * (took_s - self._mean_write_s)
        # A reader slower than the rate gets fewer pictures, none of them old. A single hiccup is made up for: who
        # records sound beside the pipe would else see the picture fall behind.
        if self._reader_is_slow:
            self._rate.shift(max(0.0, took_s - self._interval_s))

    @property
    def _reader_is_slow(self) -> bool:
        return self._mean_write_s > self._interval_s

    @property
    def _complete(self) -> bool:
        frames, seconds = self._limits.frames, self._limits.seconds
        return (frames is not None and self.written.frames >= frames) or (
            seconds is not None and self._start_s is not None and self.written.seconds >= seconds
        )
