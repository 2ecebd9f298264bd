"""The seams of the live core. Weights and device belong to the Engine, the participant to the Stream."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from engine.frames import Frame, Work
from engine.stats import Stats
from lcvd.types import Lighting


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a stream is opened with. `stats` collects stage times; its clock is injected."""

    lighting: Lighting
    stats: Stats = field(default_factory=Stats)


class Stream(Protocol):
    """One participant. `prepare` is the host half, `render` the device half; both keep frame order."""

    def prepare(self, frame: Frame) -> Work | None:
        """Track, estimate, collect. None while a window is still filling."""

    def render(self, work: Work) -> list[Frame]:
        """Relit frames, same index and t_s as the frames of `work`."""

    def push(self, frame: Frame) -> list[Frame]:
        """prepare + render: offline, tests and bench."""

    def set_lighting(self, lighting: Lighting) -> None:
        """Glide to `lighting`, starting with the next prepared frame. Any thread."""

    def close(self) -> None: ...


class Engine(Protocol):
    """Shared by every participant; holds no participant."""

    name: str

    def open(self, config: StreamConfig) -> Stream: ...

    def warmup(self) -> None: ...

    def close(self) -> None: ...


EngineFactory = Callable[[], Engine]
