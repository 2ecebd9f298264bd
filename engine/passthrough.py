"""The null engine: every frame leaves as it came. Fallback of the live core, floor of the bench."""

from engine.errors import StreamClosed
from engine.frames import Frame, Work
from engine.protocols import Engine, EngineTraits, StreamConfig
from lcvd.types import Lighting


class PassthroughEngine(Engine):
    """An Engine that touches nothing."""

    name = "passthrough"
    traits = EngineTraits("Untouched picture", tracks_faces=False)

    def open(self, config: StreamConfig) -> "PassthroughStream":
        return PassthroughStream(config)

    def warmup(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to free."""


class PassthroughStream:
    """One participant, untouched."""

    def __init__(self, config: StreamConfig) -> None:
        self._lighting = config.lighting
        self._closed = False

    def prepare(self, frame: Frame) -> Work | None:
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        return Work((frame,), (None,), (self._lighting,))

    def render(self, work: Work) -> list[Frame]:
        return list(work.frames)

    def push(self, frame: Frame) -> list[Frame]:
        work = self.prepare(frame)
        return self.render(work) if work is not None else []

    def set_lighting(self, lighting: Lighting) -> None:
        self._lighting = lighting

    def close(self) -> None:
        self._closed = True
