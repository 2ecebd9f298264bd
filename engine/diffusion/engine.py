"""LCVD live: frame → track → hint → window → denoise → decode → the portrait, moved like the driver and lit as asked.

`prepare` (host half): the driver's Face moves the portrait's (lcvd.motion), its hint is drawn under the light of that
very frame, and hints fill a rolling window. `render` (device half): new rows are denoised beside the anchor and the
pinned context, and only they are decoded (`engine.diffusion.renderer`). Without a face the last pose stays and the
light goes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from engine.diffusion.batching import BatchScheduler, run_alone
from engine.diffusion.benchmark import measure_cost_model
from engine.diffusion.latency import CostModel, RuntimeCalibration, nearest_preset, predicted
from engine.diffusion.renderer import OnWindow, WindowJob, WindowRenderer
from engine.diffusion.sampler import SamplerPlan
from engine.diffusion.staggered import CHUNK_FRAMES, MAX_LEVELS, StaggeredShape, StaggeredWindow
from engine.diffusion.window import DEFAULT_STRIDE, STRIDES, WINDOW, RollingWindow, WindowShape
from engine.errors import EngineUnavailable, PortraitError, StreamClosed
from engine.frames import Frame, Work
from engine.held_pose import HeldPose
from engine.light_transition import LightTransition
from engine.protocols import Avatar, Backend, Engine, EngineTraits, NextBatch, Prediction, Stream, StreamConfig
from engine.reference import Reference, make_reference, mixed_lighting
from lcvd.hints import render_hints
from lcvd.matting.portrait import make_matte
from lcvd.motion import FaceMotion
from lcvd.protocols import Matte, Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Lighting

SLOWEST_FPS = 10.0  # of a source whose windows are waited for
COMPUTE_S = 2.0  # for a window; an engine slower than this is behind
WARMUP_LIMIT_S = 300.0


def _selfie_matte() -> Matte:
    return make_matte(None)[0]


@dataclass(frozen=True, slots=True)
class DiffusionOptions:
    """The engine's own values; a participant's Avatar may name others."""

    size: int = 512  # px, a multiple of 8; the portrait's and the output's side
    stride: int = DEFAULT_STRIDE  # of windows; staggered takes chunks of `CHUNK_FRAMES`
    plan: SamplerPlan = field(default_factory=SamplerPlan)
    seed: int = 0
    batch: int = 1  # windows that may share a call
    mode: Literal["window", "staggered"] = "window"  # staggered needs a model trained for it

    def __post_init__(self) -> None:
        if self.size % 8 or not 64 <= self.size <= 1024:
            raise ValueError(f"size={self.size}: must be a multiple of 8 from 64 to 1024; 512 as published")
        _require_stride(self.stride)
        if self.mode not in ("window", "staggered"):
            raise ValueError(f"mode={self.mode!r}: use window or staggered")

    @property
    def shape(self) -> WindowShape | StaggeredShape:
        """The use of the rows of a call."""
        return StaggeredShape.of_steps(self.plan.steps) if self.mode == "staggered" else WindowShape(self.stride)


class DiffusionEngine(Engine):
    """Engine (protocol). `load` brings the networks (minutes, gigabytes): it is called by `warmup`."""

    name = "lcvd"

    def __init__(
        self,
        load: Callable[[], Backend],
        options: DiffusionOptions | None = None,
        make_tracker: Callable[[], Tracker] = MeshTracker,
        make_matte: Callable[[], Matte] = _selfie_matte,
        *,
        fit: Callable[[DiffusionOptions], DiffusionOptions] = lambda options: options,  # to the memory there is
        measure: Callable[[Backend, int], CostModel] = measure_cost_model,
        warmup_limit_s: float = WARMUP_LIMIT_S,  # how long `warmup` may take at worst
    ) -> None:
        self._warmup_limit_s = warmup_limit_s
        self._load, self._fit, self._measure = load, fit, measure
        self._cost_model: CostModel | None = None
        self._calibration = RuntimeCalibration()
        self._backend: Backend | None = None
        self._make_tracker = make_tracker
        self._make_matte = make_matte
        self.options = options or DiffusionOptions()

    @property
    def traits(self) -> EngineTraits:
        """The traits of an avatar engine whose results come once a window, not once a frame."""
        longest = max(self.options.stride, MAX_LEVELS * CHUNK_FRAMES)  # a participant may choose the other mode
        return EngineTraits(
            "Avatar (LCVD)",
            shows_avatar=True,
            output_size=(self.options.size, self.options.size),
            stall_s=longest / SLOWEST_FPS + COMPUTE_S,
            batch_limit=self.options.batch,
            warmup_limit_s=self._warmup_limit_s,
        )

    def open(self, config: StreamConfig) -> "DiffusionStream":
        """A participant's stream. Raises PortraitError without a portrait with a face, EngineUnavailable unwarmed."""
        if self._backend is None:
            raise EngineUnavailable("engine lcvd: its networks are not loaded", "call warmup first")
        if config.avatar is None:
            raise PortraitError("The avatar needs a portrait.", "upload one, or snap one from the camera")
        options = _chosen(self.options, config.avatar)
        tracker = self._make_tracker()
        try:
            reference = make_reference(config.avatar.portrait_rgb, options.size, tracker, self._make_matte())
        except BaseException:
            tracker.close()
            raise
        tracker.reset()
        stream = DiffusionStream(config, options, self._backend, reference, tracker)
        if self._cost_model is not None:
            expected_s = _window_s(self._cost_model, options)
            stream.on_window = lambda started_s, ended_s: self._calibration.add(started_s, ended_s, expected_s)
        return stream

    def warmup(self) -> None:
        """Load the networks, once, run or compile every stage at the shapes to come, and measure what they cost."""
        backend = self._backend
        if backend is None:
            self.options = self._fit(self.options)
            backend = self._load()
        backend.warmup(self.options.size, WINDOW, (1, 2), range(1, self.options.batch + 1))
        self._cost_model = self._measure(backend, self.options.size)
        self._backend = backend

    @property
    def backend(self) -> str:
        """Name of the backend that runs; empty before the warm-up."""
        return "" if self._backend is None else self._backend.name

    @property
    def reasons(self) -> list[str]:
        """One line for each faster backend that is not used, with the reason."""
        return list(getattr(self._backend, "reasons", ()))

    def predict(self, avatar: Avatar | None, source_fps: float, streams: int = 1) -> Prediction | None:
        """Predict delay and rate of `avatar`'s settings (None: the engine's own) as of now; None before the warm-up.

        ValueError names a setting that cannot be.
        """
        if self._cost_model is None:
            return None
        options = self.options if avatar is None else _chosen(self.options, avatar)
        shape, expected_s = options.shape, _window_s(self._cost_model, options)
        window_s, late_s = (expected_s * ratio for ratio in (self._calibration.ratio, self._calibration.late_ratio))
        if isinstance(shape, StaggeredShape):
            return predicted(source_fps, shape.chunk, window_s, streams, shape.levels, late_s)
        return predicted(source_fps, shape.hop, window_s, streams, late_window_s=late_s)

    @property
    def quality(self) -> str:
        """The quality preset nearest to the engine's own settings."""
        plan = self.options.plan
        return nearest_preset(plan.steps, 1.0 if plan.guidance == "none" else plan.omega, self.options.stride)

    def render_together(self, next_batch: NextBatch) -> Iterator[tuple[int, list[Frame] | Exception]]:
        """Render windows of several streams in shared calls; see BatchingEngine."""
        assert self._backend is not None

        def starts(free: int) -> list[Callable[[], WindowJob]]:
            return [partial(_own(stream).begin, work) for stream, work in next_batch(free)]

        return BatchScheduler(self._backend, starts, self.options.batch).run()

    def close(self) -> None:
        """Let go of the networks."""
        backend, self._backend = self._backend, None
        if (close := getattr(backend, "close", None)) is not None:  # a chain has a thread to end
            close()


class DiffusionStream:
    """One participant. `prepare` in one thread, `render` in another, `set_lighting` in any."""

    def __init__(
        self,
        config: StreamConfig,
        options: DiffusionOptions,
        backend: Backend,
        reference: Reference,
        tracker: Tracker,
    ) -> None:
        self.reference = reference
        self.on_window: OnWindow = _not_measured
        self._stats = config.stats
        self._size = options.size
        self._tracker = tracker
        self._pose = HeldPose(reference.face, FaceMotion(reference.face, "relative"))
        self._transition = LightTransition(config.lighting)
        shape = options.shape
        self._window: RollingWindow | StaggeredWindow = (
            StaggeredWindow(shape) if isinstance(shape, StaggeredShape) else RollingWindow(shape)
        )
        self._shape: tuple[int, ...] | None = None
        self._backend = backend
        self._renderer = WindowRenderer(backend, reference, options.plan, shape, options.seed, config.stats)
        self._closed = False

    def prepare(self, frame: Frame) -> Work | None:
        """Move the portrait, draw its hint; the window, once it is full. Raises StreamClosed."""
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        lighting = self._transition.at(frame.t_s)
        if self._shape not in (None, frame.rgb.shape):
            self._tracker.reset()  # the camera was turned or changed; portrait, pose and windows are not of its pixels
        self._shape = frame.rgb.shape
        with self._stats.stage("track"):
            seen = self._tracker.track(frame.rgb, frame.t_s)
        with self._stats.stage("hint"):
            face = self._pose.at(seen, frame.t_s)
            # Strength 0 ("original") is the light the portrait was taken in, as offline.
            light = mixed_lighting(self.reference.lighting, lighting, lighting.strength)
            hint = render_hints(face, light, (self._size, self._size)).rgb
        return self._window.add(frame, seen, lighting, hint)

    def render(self, work: Work) -> list[Frame]:
        """Return the avatar, one picture [S,S,3] for each frame of `work`."""
        return run_alone(self._backend, partial(self.begin, work))

    def begin(self, work: Work) -> WindowJob:
        """Start rendering `work`, leaving each call of the denoiser to the caller."""
        # The first window also encodes the portrait: its time tells nothing of the others'.
        return self._renderer.begin(work, self.on_window if work.payload.number else _not_measured)

    def push(self, frame: Frame) -> list[Frame]:
        """Both halves, one after the other."""
        work = self.prepare(frame)
        return [] if work is None else self.render(work)

    def set_lighting(self, lighting: Lighting) -> None:
        """Start a transition to `lighting`, starting with the next prepared frame."""
        self._transition.set(lighting)

    def close(self) -> None:
        """No more frames."""
        self._closed = True
        self._tracker.close()


def _own(stream: Stream) -> DiffusionStream:
    assert isinstance(stream, DiffusionStream), "the host gives an engine its own streams"
    return stream


def _not_measured(began_s: float, ended_s: float) -> None:
    pass


def _window_s(cost_model: CostModel, options: DiffusionOptions) -> float:
    """Device time of one window, or of one call of the staggered mode."""
    shape, branches = options.shape, options.plan.branches
    if isinstance(shape, StaggeredShape):
        return cost_model.window_s(1, branches, shape.chunk)
    return cost_model.window_s(options.plan.steps, branches, shape.hop)


def _chosen(options: DiffusionOptions, avatar: Avatar) -> DiffusionOptions:
    """Return the engine's options with those the participant asked for. ValueError names field and legal values."""
    return replace(
        options,
        plan=options.plan.asked(avatar.steps, avatar.omega),
        stride=options.stride if avatar.stride is None else avatar.stride,
        mode=avatar.mode or options.mode,
    )


def _require_stride(stride: int) -> None:
    if stride not in STRIDES:
        raise ValueError(f"stride={stride}: use one of {', '.join(map(str, STRIDES))}")
