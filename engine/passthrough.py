"""The passthrough engine returns every frame unchanged: the fallback of the live core, the baseline of the bench."""

from engine.errors import StreamClosed
from engine.frames import Frame, Work
from engine.protocols import Engine, EngineTraits, StreamConfig
from lcvd.types import Lighting


class PassthroughEngine(Engine):
    """Implements the Engine protocol and changes nothing."""

    name = "passthrough"
    traits = EngineTraits("Untouched picture", tracks_faces=False)

    def open(self, config: StreamConfig) -> "PassthroughStream":
        """Open a participant's stream."""
        return PassthroughStream(config)

    def warmup(self) -> None:
        """Do nothing: there is nothing to compile."""

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class PassthroughStream:
    """One participant's stream, unchanged."""

    def __init__(self, config: StreamConfig) -> None:
        self._lighting = config.lighting
        self._closed = False

    def prepare(self, frame: Frame) -> Work | None:
        """Wrap the frame. Raises StreamClosed."""
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        return Work((frame,), (None,), (self._lighting,))

    def render(self, work: Work) -> list[Frame]:
        """Return the input frames themselves."""
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
