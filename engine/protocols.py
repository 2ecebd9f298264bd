"""The interfaces of the live core. Weights and device belong to the Engine, the participant to the Stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from engine.stats import Stats
from lcvd.types import Lighting


@dataclass(frozen=True, slots=True, eq=False)
class Avatar:
    """Holds what an engine that animates a portrait needs of one participant; None leaves the engine's own value."""

    portrait_rgb: NDArray[np.uint8]  # [H,W,3]
    steps: int | None = None
    omega: float | None = None  # guidance weight; 1 is none
    stride: int | None = None  # fresh frames a window
    mode: Literal["window", "staggered"] | None = None  # staggered needs a model trained for it


SlowWork = Literal["skip", "wait", "beside"]


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Holds what a stream is opened with. `stats` collects stage times; its clock is injected.

    `slow_work` says what becomes of work that is no frame's own and takes longer than one, as a second look at the
    person's mask: it is left out, waited for (offline: the same result each time), or done beside the frames (live).
    """

    lighting: Lighting
    stats: Stats = field(default_factory=Stats)
    avatar: Avatar | None = None  # read by engines that animate a portrait
    slow_work: SlowWork = "skip"


class Stream(Protocol):
    """One participant. `prepare` is the host half, `render` the device half; both keep frame order."""

    def prepare(self, frame: Frame) -> Work | None:
        """Track, estimate, collect. None while a window is still filling."""

    def render(self, work: Work) -> list[Frame]:
        """Relit frames, same index and t_s as the frames of `work`."""

    def push(self, frame: Frame) -> list[Frame]:
        """prepare + render: offline, tests and bench."""

    def set_lighting(self, lighting: Lighting) -> None:
        """Starts a transition to `lighting`, starting with the next prepared frame. Any thread."""

    def close(self) -> None: ...


STALL_S = 0.25  # an engine that gives a result for every frame is behind after this long


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """Describes what an engine's callers must know of it; the defaults fit an engine that relights single frames."""

    title: str = ""  # for menus; empty: its name
    shows_avatar: bool = False  # it opens no stream without a portrait, and the camera is never shown in its place
    output_size: tuple[int, int] | None = None  # (height, width) of its pictures; None: the frame's own
    stall_s: float = STALL_S  # no result for this long while frames arrive means that it is behind
    batch_limit: int = 1  # windows of several participants that may share a call; 1 shares none
    tracks_faces: bool = True  # False: a participant is not told that no face is seen
    warmup_limit_s: float = 300.0  # a cold numba cache takes 13 s; a slow network fetches the models in minutes


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicts what a setting costs, before a participant chooses it."""

    delay_s: float  # from a frame's arrival to its avatar, encoders and network not counted
    fps: float  # of the output
    keeps_up: bool  # the device finishes a window before the next is full


class Engine(Protocol):
    """Serves every participant and holds none. An engine inherits the defaults from this protocol.

    An engine with `output_size` keeps its streams through a change of the frame's size.
    """

    name: str

    @property
    def traits(self) -> EngineTraits:
        """The engine's traits; they may change with the warm-up, and with nothing else."""
        return EngineTraits()

    @property
    def quality(self) -> str:
        """The quality preset nearest to the engine's own settings; "" where it has none."""
        return ""

    @property
    def backend(self) -> str:
        """The name of the backend its networks run on; "" where it has none, or before the warm-up."""
        return ""

    def open(self, config: StreamConfig) -> Stream: ...

    def warmup(self) -> None: ...

    def predict(self, avatar: Avatar | None, source_fps: float, streams: int = 1) -> Prediction | None:
        """Predicts the cost of `avatar`'s settings (None: the engine's own); None where it does not depend on them.

        Raises ValueError for a setting that cannot be.
        """
        return None

    def close(self) -> None: ...


NextBatch = Callable[[int], Sequence[tuple[Stream, Work]]]  # at most so many that wait, oldest first; never blocks


class BatchingEngine(Engine, Protocol):
    """An engine whose `batch_limit` is above 1: it renders windows of several participants in shared calls."""

    def render_together(self, next_batch: NextBatch) -> Iterator[tuple[int, list[Frame] | Exception]]:
        """Yield (place in the order taken, its frames or what ended it), each as soon as it is done. Device thread.

        Calls `next_batch` at every step, so that nobody waits for a longer window to end. One that fails does not take
        the others with it. Ends when nothing is under way and nothing waits.
        """


@dataclass(frozen=True, slots=True, eq=False)
class DenoiseRequest:
    """One prediction that a window waits for. Requests of several windows may share a call of the network."""

    x: Any  # [F,4,h,w] noisy latents, EDM's space
    sigma: float | NDArray[np.float64]  # of all rows; [F] where every row has its own (staggered)
    reference: Any  # the value of `Backend.encode`
    features: Any  # [F,C,h,w] of the hints
    branches: int  # 2: v1 and v2; 1: v2 alone


class DenoiseResult(NamedTuple):
    """The network's velocities for one request, float32 [F,4,h,w] each."""

    v1: Any  # of the reference alone; None with one branch
    v2: Any  # of reference, hints and CLIP


class Backend(Protocol):
    """Runs a diffusion engine's networks; tensors stay on its device. One thread, no participant.

    F frames of a window, n any number, S the side in pixels, h = w = S/8.
    """

    @property
    def name(self) -> str:
        """The name of its kind, as make_backend knows it; a chain has the name of the backend that runs."""

    def encode(self, rgb: NDArray[np.uint8], mask: NDArray[np.generic], noise: Any) -> Any:
        """Compute once what stays the same of a portrait [S,S,3], mask [S,S] in [0,1], noise [1,3,S,S]."""

    def features(self, hints: NDArray[np.uint8]) -> Any:
        """Compute the shading features [n,C,h,w] of hints [n,S,S,3]."""

    def denoise(self, requests: Sequence[DenoiseRequest]) -> list[DenoiseResult]:
        """Predict for each request, in their order; all have the same number of branches and frames."""

    def decode(self, latents: Any) -> NDArray[np.uint8]:
        """Turn clean latents [n,4,h,w] into pictures [n,S,S,3]."""

    def warmup(self, size: int, frames: int, branches: Sequence[int], batches: Sequence[int]) -> None:
        """Compile and allocate for windows of `frames`, each number of branches, `batches` requests at once."""


EngineFactory = Callable[[], Engine]
