"""The CPU avatar: track → gaze → motion → puppet → inverse warp │ remap → mouth → surface → shadow → shading → compose.

It is the preview of LCVD's avatar and its fallback: one portrait, moved by the driver's face and lit as requested.
`prepare` (host half) computes the uv map from the moved portrait to the still one. `render` (device half) remaps the
portrait and lights it as the live engine lights a face: by the wanted light on the moved surface over the light that is
in the portrait (engine.avatar.surface), before the portrait's own background. Without a face the last pose is held and
the light still changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.eyes import AvatarEyes
from engine.avatar.folds import folds_of, soften_fields, soften_pixels
from engine.avatar.gaze import FindEye
from engine.avatar.layers import PortraitLayers, portrait_layers
from engine.avatar.motion import AvatarMotion
from engine.avatar.mouth import Mouth
from engine.avatar.puppet import Puppet
from engine.avatar.surface import PortraitSurface
from engine.avatar.warp import remap
from engine.bench.sample_clip import load_portrait
from engine.errors import PortraitError, StreamClosed
from engine.frames import Frame, Work, require_rgb
from engine.held_pose import HeldPose
from engine.light_transition import LightTransition
from engine.precompile import AVATAR, wait_for
from engine.protocols import Avatar, Engine, EngineTraits, StreamConfig
from engine.reference import Reference, make_reference, mixed_lighting
from engine.relighting.background import background_gain
from engine.relighting.compose import compose
from engine.relighting.grid import GRID
from engine.relighting.shading import shade
from engine.relighting.shadow import cast_shadows
from engine.surface.network import SurfaceNetwork
from engine.synthetic_face import WARMUP_LIGHT, SyntheticFace
from lcvd.errors import LightError
from lcvd.face.neutral import centred_face
from lcvd.lighting.lighting import pack
from lcvd.matting.portrait import CalibratedMatte
from lcvd.matting.selfie import SelfieMatte
from lcvd.protocols import Matte, Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Face, FloatArray, Lighting

SIZE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The result of `prepare` for one frame, which `render` reads."""

    face: Face  # the portrait's, moved
    uv_map: FloatArray  # [S,S,2] px of the portrait
    driver: Face | None  # None while none is seen; the mouth is then the portrait's
    match: FloatArray  # [3] the driver's skin → the portrait's
    mouth: float  # opacity of the driver's mouth
    strength: float  # [0,1] share of the wanted light


class AvatarEngine(Engine):
    """Implements the Engine protocol. `make_tracker`, `make_matte` and `make_surface` are called once per stream.

    Without `make_surface` the portrait's normals and light are the mesh's and the skin samples' alone. `make_find_eye`
    is called once per stream; where it gives None the portrait keeps its gaze.
    """

    name = "avatar"
    traits = EngineTraits("Avatar (CPU preview)", shows_avatar=True, output_size=(SIZE, SIZE))

    def __init__(
        self,
        make_tracker: Callable[[], Tracker] = MeshTracker,
        make_matte: Callable[[], Matte] = lambda: CalibratedMatte(SelfieMatte()),
        make_surface: Callable[[], SurfaceNetwork] | None = None,
        make_find_eye: Callable[[], FindEye | None] = lambda: None,
    ) -> None:
        self._make_tracker = make_tracker
        self._make_find_eye = make_find_eye
        self._make_matte = make_matte
        self.make_surface = make_surface

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
        network = self.make_surface() if self.make_surface is not None else None
        layers = portrait_layers(reference.rgb, mask)
        return AvatarStream(config, reference, layers, tracker, network, self._make_find_eye())

    def warmup(self) -> None:
        """Compile the kernels and run the networks once, so that the first frame is not slow."""
        _warm_up(self)

    def run_networks(self, rgb: NDArray[np.uint8]) -> None:
        """Run the networks once on a picture [H,W,3]. Raises ModelUnavailable."""
        tracker = self._make_tracker()
        tracker.track(rgb, 0.0)
        tracker.close()
        self._make_matte()(rgb)
        find_eye = self._make_find_eye()
        if find_eye is not None:
            find_eye(rgb, centred_face(rgb.shape[:2]).vertices_px, 0)

    def close(self) -> None:
        """Do nothing: streams share nothing."""


class AvatarStream:
    """One participant's stream. `prepare` and `render` may run in a thread each, `set_lighting` in any."""

    def __init__(
        self,
        config: StreamConfig,
        reference: Reference,
        layers: PortraitLayers,
        tracker: Tracker,
        network: SurfaceNetwork | None = None,
        find_eye: FindEye | None = None,
    ) -> None:
        self.reference = reference
        self._stats = config.stats
        self._tracker = tracker
        self._puppet = Puppet(reference.face, SIZE)
        self._mouth = Mouth(reference.face, reference.rgb)
        self._motion = AvatarMotion(reference.face)
        self._pose = HeldPose(reference.face, self._motion)
        self._eyes = AvatarEyes(reference.rgb, reference.face, find_eye)
        self._transition = LightTransition(config.lighting)
        share = self._puppet.head_share(cells()).reshape(GRID, GRID)
        surface = PortraitSurface(reference.rgb, reference.face, layers.alpha, share, network)
        self.own = surface.light
        self._painter = AvatarPainter(layers, surface, self._mouth, config)
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
            self._eyes.reset()
        self._shape = rgb.shape
        with self._stats.stage("track"):
            seen = self._tracker.track(rgb, frame.t_s)
        with self._stats.stage("gaze"):
            self._motion.gaze = self._eyes.watch(rgb, seen)
        with self._stats.stage("move"):
            face = self._eyes.look(self._pose.at(seen, frame.t_s))
            driver = None if seen is None or seen.held else seen
            mouth = self._mouth.amount(face) if driver is not None else 0.0
            match = self._mouth.match(rgb, driver) if driver is not None and mouth > 0 else np.ones(3, np.float32)
        with self._stats.stage("look-up"):
            uv_map = self._puppet.inverse_warp(face)
            self._eyes.warp(uv_map, face)
        light = mixed_lighting(self.own, lighting, lighting.strength)
        return Work((frame,), (seen,), (light,), Pose(face, uv_map, driver, match, mouth, lighting.strength))

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

    def __init__(self, layers: PortraitLayers, surface: PortraitSurface, mouth: Mouth, config: StreamConfig) -> None:
        self._layers, self._surface, self._mouth, self._stats = layers, surface, mouth, config.stats
        self._scratch = np.empty((SIZE, SIZE, 2), np.float32)

    def paint(self, rgb: NDArray[np.uint8], pose: Pose, lighting: Lighting) -> NDArray[np.uint8]:
        """Return the picture of `pose` under `lighting`; `rgb` [H,W,3] is the driver's frame."""
        with self._stats.stage("remap"):
            person = remap(self._layers.person, pose.uv_map, cv2.BORDER_REFLECT_101, self._scratch)
            folds = folds_of(pose.uv_map, GRID)
            if folds is not None:
                soften_pixels(person, pose.uv_map, folds)
        if pose.driver is not None and pose.mouth > 0:
            with self._stats.stage("mouth"):
                self._mouth.paint(person, pose.face, rgb, pose.driver, pose.match, pose.mouth)
        with self._stats.stage("surface"):
            alpha = cv2.resize(np.ascontiguousarray(person[..., 3]), (GRID, GRID), interpolation=cv2.INTER_AREA)
            alpha = np.asarray(alpha, np.float32) / np.float32(255)
            moved = self._surface.moved(pose.uv_map, pose.face, alpha)
        light = pack(lighting)
        with self._stats.stage("shadow"):
            shadows = cast_shadows(moved.depth, light, self._surface.cell_fw(pose.face))
        with self._stats.stage("shade"):
            fields = shade(moved.surface, moved.source, light, shadows, 1.0)
            if pose.strength < 1:
                fields[:3] *= 1 + np.float32(1 - pose.strength) * (moved.own - 1)
            if folds is not None:
                soften_fields(fields, folds)
        with self._stats.stage("compose"):
            return compose(person, self._layers.background, fields, background_gain(lighting, 1.0))


def cells() -> FloatArray:
    """Return the centres of the working grid's cells [GRID²,2] in px of the portrait, row by row."""
    line = (np.arange(GRID, dtype=np.float32) + 0.5) * np.float32(SIZE / GRID)
    return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)


def _warm_up(engine: AvatarEngine) -> None:
    """Compile the kernels, or load them from the cache on disk, and run the networks once."""
    rgb = np.random.default_rng(0).integers(60, 200, (SIZE, SIZE, 3), np.uint8)
    engine.run_networks(rgb)
    wait_for(AVATAR)
    synthetic = AvatarEngine(SyntheticFace, lambda: lambda _: np.ones((9, 16), np.float32), engine.make_surface)
    portrait = load_portrait()  # a face with eyes that move: on a noise picture some kernels have nothing to do
    for each, picture in ((synthetic, rgb), (engine, portrait)):
        stream = each.open(StreamConfig(WARMUP_LIGHT, avatar=Avatar(picture)))
        for index in range(3):
            stream.push(Frame(index, index / 30, picture))
        stream.close()
