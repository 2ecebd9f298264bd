"""The CPU engine relights a frame: track → matte → source light → alpha │ surface → shadow → shading → relit frame.

`prepare` (host half) analyses the frame and fixes its light; `render` (device half) computes the pixels. Each half runs
in its own thread and shares nothing but Work, so the two pipeline on two cores. When a face appears or is lost the
effect fades in or out over 200 ms of the stream's own time. Without a face, and at strength 0, the input frame itself
goes out. Ratio images: engine.relighting.shading; light beyond the face: engine.relighting.surface.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np

from engine.bench.sample_clip import sample_frames
from engine.errors import FrameError, StreamClosed
from engine.frames import Frame, Work, require_rgb
from engine.light_transition import LightTransition
from engine.precompile import PIXELS, begin, compiles, wait_for
from engine.protocols import Engine, EngineTraits, StreamConfig
from engine.ratio.company import Company, LitFace, mixed
from engine.ratio.mask_correction import MaskCorrection, compile_correction
from engine.ratio.person_mask import PersonMask
from engine.ratio.slow_matte import SlowMatte
from engine.relighting.alpha import alpha_at, alpha_coefficients, coarse_size, evaluate, mean_within
from engine.relighting.apply import apply_gain
from engine.relighting.background import background_gain
from engine.relighting.denoise import NoiseLevel, smoothing
from engine.relighting.grid import WorkingGrid, grid_around
from engine.relighting.pixels import MAX_WIDTH_PX
from engine.relighting.room_colour import RoomColour
from engine.relighting.shading import SourceShade, Surface, shade, source_shade
from engine.relighting.shadow import cast_shadows
from engine.relighting.source_light import SourceLight
from engine.relighting.surface import person_surface
from engine.surface.head import HeadSurface
from engine.surface.network import SurfaceNetwork
from engine.synthetic_face import WARMUP_LIGHT, SyntheticFace
from lcvd.face.geometry import face_mesh
from lcvd.lighting.lighting import pack
from lcvd.matting.selfie import SelfieMatte
from lcvd.protocols import GroupTracker, Matte, Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Face, FloatArray, Lighting

FADE_S = 0.2
MIN_SIDE_PX = 16
MIN_AMOUNT = 1 / 512  # less effect than this changes no byte


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The result of `prepare` for one frame, which `render` reads."""

    people: tuple[LitFace, ...]  # the followed face first; while the effect fades out after a loss, the last one seen
    small: FloatArray  # [h,w,3] the picture at alpha's coarse size
    coefficients: FloatArray  # [h,w,7] alpha as a function of colour (engine.relighting.alpha)
    alpha: FloatArray  # [h,w] person, coarse
    amount: float  # how much of the effect, fade and strength together, (0,1]
    noise: float  # of the face's darker pixels, code values


class OnGrid(NamedTuple):
    """A person on the working grid."""

    grid: WorkingGrid
    mask: FloatArray  # [rows,cols] the person's alpha
    depth: FloatArray  # [rows,cols] as PersonSurface has it
    lit: Surface
    source: SourceShade


class RatioEngine(Engine):
    """Implements the Engine protocol. `make_tracker`, `make_matte` and `make_surface` are called once per stream.

    Without `make_surface` normals and source light are the mesh's and the skin samples' alone. `make_parts` is called
    once, on a thread of its own: its matte mends the other one's mistakes, where streams are opened with `slow_work`.
    """

    name = "ratio"
    traits = EngineTraits("Ratio image (CPU)")

    def __init__(
        self,
        make_tracker: Callable[[], Tracker] = lambda: MeshTracker(others=True),
        make_matte: Callable[[], Matte] = SelfieMatte,
        make_surface: Callable[[], SurfaceNetwork] | None = None,
        make_parts: Callable[[], Matte] | None = None,
    ) -> None:
        self._make_tracker = make_tracker
        self._make_matte = make_matte
        self._make_surface = make_surface
        self._parts = SlowMatte(make_parts) if make_parts is not None else None

    def open(self, config: StreamConfig) -> "RatioStream":
        """Open a participant's stream. Raises ModelUnavailable where the networks cannot be found."""
        network = self._make_surface() if self._make_surface is not None else None
        correction = None
        if self._parts is not None and config.slow_work != "skip":
            correction = MaskCorrection(self._parts, wait=config.slow_work == "wait")
        return RatioStream(config, self._make_tracker(), self._make_matte(), network, correction)

    def warmup(self) -> None:
        """Compile the kernels and run the networks once, so that the first frame is not slow."""
        _warm_up(self)

    def close(self) -> None:
        """End the thread that streams share."""
        if self._parts is not None:
            self._parts.close()


class RatioStream:
    """One participant's stream. `prepare` and `render` may run in a thread each, `set_lighting` in any."""

    def __init__(
        self,
        config: StreamConfig,
        tracker: Tracker,
        matte: Matte,
        network: SurfaceNetwork | None = None,
        correction: MaskCorrection | None = None,
    ) -> None:
        self._stats = config.stats
        self.network = network
        self.heads: list[HeadSurface] = []  # of each person; used by `render` alone, replaced by `training.surface`
        self._tracker = tracker
        self._group = tracker if isinstance(tracker, GroupTracker) else None  # asked once: a protocol's check is slow
        self._mask = PersonMask(matte)
        self._correction = correction
        self._source = SourceLight(face_mesh())
        self._room = RoomColour(face_mesh())
        self._noise = NoiseLevel()
        self._transition = LightTransition(config.lighting)
        self._fade = 0.0
        self._before: tuple[float, tuple[int, ...]] | None = None  # last frame's time and shape
        self._last: tuple[Face, FloatArray] | None = None
        self._company = Company()
        self._grids: list[WorkingGrid | None] = []  # of each person; used by `render` alone
        self._closed = False

    def prepare(self, frame: Frame) -> Work:
        """Analyse the frame and fix its light. Raises StreamClosed, FrameError."""
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        _require_size(frame)
        lighting = self._transition.at(frame.t_s)
        elapsed_s = self._elapsed_s(frame)
        with self._stats.stage("track"):
            face = self._tracker.track(frame.rgb, frame.t_s)
        others = self._group.others if self._group is not None else {}
        step = elapsed_s / FADE_S
        self._fade = min(self._fade + step, 1.0) if face is not None else max(self._fade - step, 0.0)
        amount = self._fade * lighting.strength
        if face is not None:
            if face.held and self._last is not None:
                mask = self._last[1]
            else:
                with self._stats.stage("matte"):
                    mask = self._mask.segment(frame.rgb, face, others.values())
            self._last = face, mask
            with self._stats.stage("source"):
                self._source.update(frame.rgb, face)
                self._room.update(frame.rgb, face)
                if not face.held:
                    self._noise.update(frame.rgb, face)
        elif self._fade == 0:
            self._forget()
        company = self._company.update(frame.rgb, others, step)
        scene = None
        if self._last is not None and amount > MIN_AMOUNT:
            shown, mask = self._last
            # Only `render` needs alpha, but computed here it makes the two halves about equally slow.
            with self._stats.stage("alpha"):
                small = _shrunk(frame.rgb)
                mask = _resized(mask, small)
                if self._correction is not None:
                    faces = (shown, *others.values())
                    mask = self._correction.apply(mask, small, frame.rgb, faces, frame.t_s)
                coefficients = alpha_coefficients(small, mask)
                alpha = alpha_at(coefficients, small)
            people = (LitFace(shown, self._source.coefficients, self._room.rgb, 1.0), *company)
            scene = Scene(people, small, coefficients, alpha, amount, self._noise.sigma)
        return Work((frame,), (face,), (lighting,), scene)

    def render(self, work: Work) -> list[Frame]:
        """Return the relit frame, or the input frame itself where nothing changes."""
        (frame,), (lighting,) = work.frames, work.lightings
        if work.payload is None:
            return [frame]
        return [replace(frame, rgb=self._relit(frame.rgb, work.payload, lighting))]

    def push(self, frame: Frame) -> list[Frame]:
        """Run both halves, one after the other."""
        return self.render(self.prepare(frame))

    def set_lighting(self, lighting: Lighting) -> None:
        """Start a transition to `lighting` with the next prepared frame."""
        self._transition.set(lighting)

    def close(self) -> None:
        """Close the stream; it takes no more frames."""
        self._closed = True
        self._tracker.close()
        if self._correction is not None:
            self._correction.close()

    def _relit(self, rgb: np.ndarray, scene: Scene, lighting: Lighting) -> np.ndarray:
        count = len(scene.people)
        self._expect(count)
        pictures = [self._relit_for(index, rgb, scene, lighting) for index in range(count)]
        if count == 1:
            return pictures[0]
        with self._stats.stage("mix"):
            return mixed(pictures, scene.people)

    def _expect(self, count: int) -> None:
        """Keep so many people's grids and heads."""
        self._grids = (self._grids + [None] * count)[:count]
        if self.network is not None:
            self.heads = (self.heads + [HeadSurface(self.network) for _ in range(count)])[:count]

    def _relit_for(self, index: int, rgb: np.ndarray, scene: Scene, lighting: Lighting) -> np.ndarray:
        """Return the picture as if the person of `index` were the only one in it."""
        person, light = scene.people[index], pack(lighting)
        with self._stats.stage("surface"):
            on = self._surface_of(index, rgb, scene)
        with self._stats.stage("shadow"):
            shadows = cast_shadows(on.depth, light, on.grid.cell_px / person.face.width_px)
        with self._stats.stage("shade"):
            fields = shade(on.lit, on.source, light, shadows, scene.amount, scene.noise, person.room)
            background = background_gain(lighting, scene.amount)
            smooth = smoothing(scene.small, on.mask, fields[1], on.grid, scene.noise)
        with self._stats.stage("relight"):
            return apply_gain(rgb, fields, on.grid, scene.coefficients, background, smooth, scene.noise)

    def _surface_of(self, index: int, rgb: np.ndarray, scene: Scene) -> OnGrid:
        """Return what the light falls on for the person of `index`, and the light that is there already."""
        person = scene.people[index]
        self._grids[index] = grid = grid_around(person.face, rgb.shape[:2], self._grids[index])
        mask = grid.sample(scene.alpha)
        luma = grid.sample(mean_within(scene.small, scene.alpha))
        surface = person_surface(person.face, mask, grid)
        if self.heads:
            normal, source = self.heads[index].refine(rgb, person.face, surface, mask, person.source, grid)
        else:
            normal, source = surface.normal, source_shade(surface.normal, person.source)
        return OnGrid(grid, mask, surface.depth, Surface(normal, surface.rim, surface.skin, luma), source)

    def _elapsed_s(self, frame: Frame) -> float:
        """Return the time since the last frame; FADE_S after a start or a change of size, so that neither fades in."""
        before, self._before = self._before, (frame.t_s, frame.rgb.shape)
        if before is None or before[1] != frame.rgb.shape:
            self._forget()
            self._tracker.reset()
            return FADE_S
        return max(frame.t_s - before[0], 0.0)

    def _forget(self) -> None:
        self._last = None
        self._mask.reset()
        if self._correction is not None:
            self._correction.reset()
        self._source.reset()
        self._room.reset()
        self._noise.reset()
        self._company.reset()


def _shrunk(rgb: np.ndarray) -> FloatArray:
    """Return the picture at alpha's coarse size, float32 in [0,1]."""
    size = coarse_size(rgb.shape[0], rgb.shape[1])
    # OpenCV has a fast path for halving: 640 → 320 → 160 takes a third of the time of 640 → 160.
    while rgb.shape[1] >= 2 * size[0] and rgb.shape[0] >= 2 * size[1] and not (rgb.shape[0] | rgb.shape[1]) & 1:
        rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if rgb.shape[1::-1] != size else rgb
    return small.astype(np.float32) * np.float32(1 / 255)


def _resized(mask: FloatArray, like: FloatArray) -> FloatArray:
    size = like.shape[1], like.shape[0]
    return cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _require_size(frame: Frame) -> None:
    """Raise FrameError unless the frame is RGB and each side has MIN_SIDE_PX…MAX_WIDTH_PX."""
    require_rgb(frame)
    rgb = frame.rgb
    if min(rgb.shape[:2]) < MIN_SIDE_PX or max(rgb.shape[:2]) > MAX_WIDTH_PX:
        raise FrameError(
            f"frame {frame.index}: {rgb.shape[1]}×{rgb.shape[0]} px",
            f"each side must be {MIN_SIDE_PX}…{MAX_WIDTH_PX} px",
        )


def _warm_up(engine: RatioEngine) -> None:
    """Compile the kernels, or load them from the cache on disk, and run the networks once."""
    rgb = np.random.default_rng(0).integers(60, 200, (240, 320, 3), np.uint8)
    small = _shrunk(rgb)
    nothing = np.zeros((*small.shape[:2], 7), np.float32)
    if compiles(evaluate, lambda: alpha_at(nothing, small)):  # the first start on this machine
        begin(PIXELS)
    stream = engine.open(StreamConfig(lighting=WARMUP_LIGHT))
    # The networks, and what spares them; while another process compiles what comes after the surface, all before that.
    works = [
        stream.prepare(Frame(index, index / 30, each))
        for index, each in enumerate(islice(sample_frames(rgb.shape[:2]), 3))
    ]
    compile_correction()
    if works[0].payload is not None:
        stream._expect(1)
        stream._surface_of(0, rgb, works[0].payload)
    wait_for(PIXELS)
    for work in works:
        stream.render(work)
    synthetic = RatioStream(
        StreamConfig(lighting=WARMUP_LIGHT), SyntheticFace(), lambda _: np.ones((9, 16), np.float32), stream.network
    )
    for index in range(3):
        synthetic.push(Frame(index, index / 10, rgb))
    for opened in (stream, synthetic):
        opened.close()
