"""The CPU avatar: track → motion → puppet → inverse warp │ remap → mouth → surface → shadow → shading → compose.

It is the preview of LCVD's avatar and its fallback: one portrait, moved by the driver's face and lit as requested.
`prepare` (host half) computes the uv map from the moved portrait to the still one. `render` (device half) remaps the
portrait and lights it by the ratio of the wanted light on the moved surface to the portrait's own light on the resting
one, before the portrait's own background. Without a face the last pose is held and the light still changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.layers import PortraitLayers, portrait_layers
from engine.avatar.motion import AvatarMotion
from engine.avatar.mouth import Mouth
from engine.avatar.puppet import Puppet
from engine.avatar.warp import remap
from engine.errors import PortraitError, StreamClosed
from engine.frames import Frame, Work, require_rgb
from engine.held_pose import HeldPose
from engine.light_transition import LightTransition
from engine.protocols import Avatar, Engine, EngineTraits, StreamConfig
from engine.reference import Reference, make_reference, mixed_lighting
from engine.relighting.background import background_gain
from engine.relighting.compose import compose
from engine.relighting.grid import GRID, WorkingGrid
from engine.relighting.shading import Surface, shade, source_shade
from engine.relighting.shadow import cast_shadows
from engine.relighting.surface import person_surface
from engine.synthetic_face import WARMUP_LIGHT, SyntheticFace
from lcvd.errors import LightError
from lcvd.lighting.colour import LUMA
from lcvd.lighting.lighting import pack
from lcvd.lighting.sh import Y00
from lcvd.matting.portrait import CalibratedMatte
from lcvd.matting.selfie import SelfieMatte
from lcvd.protocols import Matte, Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Background, Face, FloatArray, Lighting

SIZE = 512
RATIO_KNEE, RATIO_CAP = 1.5, 2.4  # of squared code values; the portrait's dark side is raised no further
UNIT_SOURCE = np.zeros(9, np.float32)
UNIT_SOURCE[0] = 1 / Y00  # a source light of 1 everywhere, so that the gain is the target light itself


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The result of `prepare` for one frame, which `render` reads."""

    face: Face  # the portrait's, moved
    uv_map: FloatArray  # [S,S,2] px of the portrait
    driver: Face | None  # None while none is seen; the mouth is then the portrait's
    match: FloatArray  # [3] the driver's skin → the portrait's
    mouth: float  # opacity of the driver's mouth


class AvatarEngine(Engine):
    """Implements the Engine protocol. `make_tracker` and `make_matte` are called once per stream."""

    name = "avatar"
    traits = EngineTraits("Avatar (CPU preview)", shows_avatar=True, output_size=(SIZE, SIZE))

    def __init__(
        self,
        make_tracker: Callable[[], Tracker] = MeshTracker,
        make_matte: Callable[[], Matte] = lambda: CalibratedMatte(SelfieMatte()),
    ) -> None:
        self._make_tracker = make_tracker
        self._make_matte = make_matte

    def open(self, config: StreamConfig) -> "AvatarStream":
        """Open a participant's stream. Raises PortraitError without a portrait that shows a face, ModelUnavailable."""
        if config.avatar is None:
            raise PortraitError("The avatar needs a portrait.", "upload one, or snap one from the camera")
        tracker, matte = self._make_tracker(), self._make_matte()
        try:
            reference = make_reference(config.avatar.portrait_rgb, SIZE, tracker, matte)
            mask = matte(reference.rgb)
        except LightError as error:
            tracker.close()
            raise PortraitError(
                f"The portrait's light cannot be read: {error}", "choose a larger, brighter face"
            ) from None
        except BaseException:
            tracker.close()
            raise
        tracker.reset()
        return AvatarStream(config, reference, portrait_layers(reference.rgb, mask), tracker)

    def warmup(self) -> None:
        """Compile the kernels and run the networks once, so that the first frame is not slow."""
        _warm_up(self)

    def run_networks(self, rgb: NDArray[np.uint8]) -> None:
        """Run the networks once on a picture [H,W,3]. Raises ModelUnavailable."""
        tracker = self._make_tracker()
        tracker.track(rgb, 0.0)
        tracker.close()
        self._make_matte()(rgb)

    def close(self) -> None:
        """Do nothing: streams share nothing."""


class AvatarStream:
    """One participant's stream. `prepare` and `render` may run in a thread each, `set_lighting` in any."""

    def __init__(self, config: StreamConfig, reference: Reference, layers: PortraitLayers, tracker: Tracker) -> None:
        self.reference = reference
        self._stats = config.stats
        self._tracker = tracker
        self._puppet = Puppet(reference.face, SIZE)
        self._mouth = Mouth(reference.face, reference.rgb)
        self._pose = HeldPose(reference.face, AvatarMotion(reference.face))
        self._transition = LightTransition(config.lighting)
        self._own = own_light(reference.lighting)
        self._painter = AvatarPainter(reference.face, layers, self._own, self._mouth, config)
        self._shape: tuple[int, ...] | None = None
        self._closed = False

    def prepare(self, frame: Frame) -> Work:
        """Compute the moved portrait's uv map and fix its light. Raises StreamClosed, FrameError."""
        if self._closed:
            raise StreamClosed("the stream is closed", "open another one")
        require_rgb(frame)
        rgb = frame.rgb
        lighting = self._transition.at(frame.t_s)
        if self._shape not in (None, rgb.shape):
            self._tracker.reset()  # the camera was turned or changed, but the portrait stays
        self._shape = rgb.shape
        with self._stats.stage("track"):
            seen = self._tracker.track(rgb, frame.t_s)
        with self._stats.stage("move"):
            face = self._pose.at(seen, frame.t_s)
            driver = None if seen is None or seen.held else seen
            mouth = self._mouth.amount(face) if driver is not None else 0.0
            match = self._mouth.match(rgb, driver) if driver is not None else np.ones(3, np.float32)
        with self._stats.stage("look-up"):
            uv_map = self._puppet.inverse_warp(face)
        light = mixed_lighting(self._own, lighting, lighting.strength)
        return Work((frame,), (seen,), (light,), Pose(face, uv_map, driver, match, mouth))

    def render(self, work: Work) -> list[Frame]:
        """Return the avatar [512,512,3]."""
        (frame,), (lighting,) = work.frames, work.lightings
        return [replace(frame, rgb=self._painter.paint(frame.rgb, work.payload, lighting))]

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


class AvatarPainter:
    """The device half of one stream: it lights the portrait in a given pose."""

    def __init__(
        self, reference: Face, layers: PortraitLayers, own: Lighting, mouth: Mouth, config: StreamConfig
    ) -> None:
        self._layers, self._mouth, self._stats = layers, mouth, config.stats
        self._grid = WorkingGrid(0, 0, SIZE, SIZE, GRID, GRID, (SIZE, SIZE))
        size = (GRID, GRID)
        squares = (layers.person[..., :3].astype(np.float32) / 255) ** 2 @ LUMA.astype(np.float32)
        weight = cv2.resize(layers.alpha, size, interpolation=cv2.INTER_AREA)
        bright = cv2.resize(squares * layers.alpha, size, interpolation=cv2.INTER_AREA)
        side = (9, 9)
        self._luma = (cv2.blur(bright, side) / np.maximum(cv2.blur(weight, side), 1e-2)).astype(np.float32)
        self._own = np.ascontiguousarray(
            self._fields(reference, np.asarray(weight, np.float32), self._luma, own)[:3].transpose(1, 2, 0)
        )

    def paint(self, rgb: NDArray[np.uint8], pose: Pose, lighting: Lighting) -> NDArray[np.uint8]:
        """Return the picture of `pose` under `lighting`; `rgb` [H,W,3] is the driver's frame."""
        with self._stats.stage("remap"):
            person = remap(self._layers.person, pose.uv_map, cv2.BORDER_REFLECT_101)
        if pose.driver is not None and pose.mouth > 0:
            with self._stats.stage("mouth"):
                self._mouth.paint(person, pose.face, rgb, pose.driver, pose.match, pose.mouth)
        step = SIZE // GRID
        coarse = pose.uv_map[step // 2 :: step, step // 2 :: step] / np.float32(step)
        own, luma = remap(self._own, coarse), remap(self._luma, coarse)
        alpha = cv2.resize(np.ascontiguousarray(person[..., 3]), (GRID, GRID), interpolation=cv2.INTER_AREA)
        fields = self._fields(pose.face, np.asarray(alpha, np.float32) / np.float32(255), luma, lighting)
        fields[:3] = limited_ratio(fields[:3], own.transpose(2, 0, 1))
        with self._stats.stage("compose"):
            return compose(person, self._layers.background, fields, background_gain(lighting, 1.0))

    def _fields(self, face: Face, alpha: FloatArray, luma: FloatArray, lighting: Lighting) -> FloatArray:
        light = pack(lighting)
        with self._stats.stage("surface"):
            surface = person_surface(face, alpha, self._grid)
        with self._stats.stage("shadow"):
            shadows = cast_shadows(surface.depth, light, self._grid.cell_px / face.width_px)
        with self._stats.stage("shade"):
            lit = Surface(surface.normal, surface.rim, surface.skin, luma)
            return shade(lit, source_shade(surface.normal, UNIT_SOURCE), light, shadows, 1.0)


def own_light(lighting: Lighting) -> Lighting:
    """Return the portrait's light as it is divided out and put back.

    It has no shadows: dividing by an estimated one would brighten skin that no shadow covers.
    """
    lights = tuple(replace(light, shadow=0.0) for light in lighting.directionals)
    return replace(lighting, directionals=lights, specular=0.0, strength=1.0, background=Background("keep", 1.0))


def limited_ratio(target: FloatArray, own: FloatArray) -> FloatArray:
    """Return gains `target` [3,H,W] over the own light's gains `own` [3,H,W], soft-limited in luminance: [3,H,W]."""
    ratio = target / np.maximum(own, np.float32(0.05))
    bright = np.tensordot(LUMA.astype(np.float32), ratio, 1)
    room = np.float32(RATIO_CAP - RATIO_KNEE)
    over = np.maximum(bright - np.float32(RATIO_KNEE), 0)
    limited = np.minimum(bright, np.float32(RATIO_KNEE)) + room * (1 - np.exp(-over / room))
    return (ratio * (limited / np.maximum(bright, np.float32(1e-4)))).astype(np.float32)


def _warm_up(engine: AvatarEngine) -> None:
    """Compile the kernels, or load them from the cache on disk, and run the networks once."""
    rgb = np.random.default_rng(0).integers(60, 200, (SIZE, SIZE, 3), np.uint8)
    engine.run_networks(rgb)
    synthetic = AvatarEngine(SyntheticFace, lambda: lambda _: np.ones((9, 16), np.float32))
    stream = synthetic.open(StreamConfig(WARMUP_LIGHT, avatar=Avatar(rgb)))
    for index in range(3):
        stream.push(Frame(index, index / 10, rgb))
    stream.close()
