"""An engine that returns each frame unchanged after a given time: for benches of what follows the picture's delay."""

from collections import deque

from engine.errors import StreamClosed
from engine.frames import Frame, Work
from engine.protocols import STALL_S, Engine, EngineTraits, StreamConfig
from lcvd.types import Lighting

MARGIN_S = 0.010  # a whole number of frame times shall not be one more each time a frame comes a little early
MAX_HELD = 512  # frames: a source faster than any camera gets less delay, not more memory


class DelayedEngine(Engine):
    """Holds every frame for `delay_s`: until the first frame that arrives so much later, but for `MARGIN_S`."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.name = engine_name(delay_s)

    @property
    def traits(self) -> EngineTraits:
        """Behind is who gives nothing for longer than the delay."""
        return EngineTraits(f"Untouched, {self.delay_s:g} s later", stall_s=self.delay_s + STALL_S, tracks_faces=False)

    def open(self, config: StreamConfig) -> "DelayedStream":
        """Open a participant's stream."""
        return DelayedStream(self.delay_s, config)

    def warmup(self) -> None:
        """Do nothing: there is nothing to compile."""

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class DelayedStream:
    """One participant's stream, later."""

    def __init__(self, delay_s: float, config: StreamConfig) -> None:
        self._delay_s = delay_s
        self._lighting = config.lighting
        self._held: deque[Frame] = deque(maxlen=MAX_HELD)
        self._closed = False

    def prepare(self, frame: Frame) -> Work | None:
        """Hold the frame; give those that are old enough. Raises StreamClosed."""
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        self._held.append(frame)
        due: list[Frame] = []
        while self._held and frame.arrived_s - self._held[0].arrived_s >= self._delay_s - MARGIN_S:
            due.append(self._held.popleft())
        return Work(tuple(due), (None,) * len(due), (self._lighting,) * len(due)) if due else None

    def render(self, work: Work) -> list[Frame]:
        """Return the frames themselves."""
        return list(work.frames)

    def push(self, frame: Frame) -> list[Frame]:
        """Run both halves, one after the other."""
        work = self.prepare(frame)
        return self.render(work) if work is not None else []

    def set_lighting(self, lighting: Lighting) -> None:
        """Report `lighting` with the next frames."""
        self._lighting = lighting

    def close(self) -> None:
        """Close the stream; it takes no more frames."""
        self._closed = True
        self._held.clear()


def engine_name(delay_s: float) -> str:
    """The name under which an engine with this delay is chosen."""
    return f"delay-{delay_s:g}"
