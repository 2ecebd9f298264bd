"""A portrait drawn by the tests, and a driver with known motion, need no network, clip or photograph."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.engine import SIZE, AvatarEngine, AvatarStream
from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from lcvd.face.neutral import centred_face
from lcvd.types import Face, FloatArray, Lighting
from tests.engine.synthetic_person import person_mask

BACKGROUND, SKIN, LIPS, EYE, IRIS = (150, 160, 150), (190, 150, 130), (170, 90, 90), (235, 235, 235), (60, 40, 30)
DRIVER = (240, 320)  # (height, width) of the driver's frames
Y_DOWN = np.array([1, -1, 1], np.float32)


def drawn_portrait() -> np.ndarray:
    """Return uint8 [512,512,3]: `centred_face` with eyes, lips and a background, a little brighter on the left."""
    rgb = np.empty((SIZE, SIZE, 3), np.float32)
    rgb[:] = BACKGROUND
    rgb[person_mask((SIZE, SIZE))] = SKIN
    rgb *= np.linspace(1.1, 0.9, SIZE, dtype=np.float32)[None, :, None]
    rgb = np.clip(rgb, 0, 255).astype(np.uint8)
    face = centred_face((SIZE, SIZE))
    for region, colour in (("left_eye", EYE), ("right_eye", EYE), ("lips", LIPS)):
        at = face.vertices_px[face.mesh.regions[region], :2]
        # Eyes and lips end a pixel inside the mesh's rim, as at lashes, because the rim itself belongs to the lids.
        at = at + (at.mean(0) - at) * np.minimum(1.5 / np.linalg.norm(at - at.mean(0), axis=1, keepdims=True), 1)
        cv2.fillConvexPoly(rgb, cv2.convexHull(np.rint(at).astype(np.int32)), colour)
    for region in ("left_eye", "right_eye"):
        x, y = face.vertices_px[face.mesh.regions[region], :2].mean(0)
        cv2.circle(rgb, (int(x), int(y)), 6, IRIS, -1)
    return rgb


def turned(face: Face, yaw_deg: float = 0.0, expression: FloatArray | None = None) -> Face:
    """Return `face` with its head turned about the upright axis, toward the picture's right for a positive yaw."""
    angle = np.radians(yaw_deg)
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32) @ face.rotation
    shape = face.identity + (face.expression if expression is None else expression)
    vertices = face.scale_px_per_cm * shape @ rotation.T * Y_DOWN + face.translation_px
    return replace(
        face,
        rotation=rotation.astype(np.float32),
        vertices_px=vertices.astype(np.float32),
        expression=(shape - face.identity).astype(np.float32),
    )


class ScriptedDriver:
    """A tracker that finds the centred face in the portrait, and `play` of it in the driver's frames."""

    def __init__(self, play: Callable[[Face], Face | None] = lambda face: face) -> None:
        self._play = play

    def track(self, rgb: np.ndarray, t_s: float) -> Face | None:
        face = centred_face(rgb.shape[:2], t_s)
        return face if rgb.shape[0] == SIZE else self._play(face)

    def reset(self) -> None: ...

    def close(self) -> None: ...


def matte(rgb: np.ndarray) -> np.ndarray:
    """Return the true mask, coarse."""
    size = (rgb.shape[1] // 4, rgb.shape[0] // 4)
    return cv2.resize(person_mask(rgb.shape[:2]).astype(np.float32), size, interpolation=cv2.INTER_AREA)


def avatar_engine(play: Callable[[Face], Face | None] = lambda face: face) -> AvatarEngine:
    return AvatarEngine(lambda: ScriptedDriver(play), lambda: matte)


def avatar_stream(lighting: Lighting, play: Callable[[Face], Face | None] = lambda face: face) -> AvatarStream:
    return avatar_engine(play).open(StreamConfig(lighting, avatar=Avatar(drawn_portrait())))


def driver_frame(index: int, fps: float = 30.0) -> Frame:
    return Frame(index, index / fps, np.full((*DRIVER, 3), 120, np.uint8))


def flipped_share(before: FloatArray, after: FloatArray, triangles: NDArray[np.int32]) -> float:
    """Return the share of the area of `triangles` that faces away in `after` [N,≥2] but not in `before` [N,≥2]."""
    was, now = _areas(before, triangles), _areas(after, triangles)
    return float(np.abs(was[was * now < 0]).sum() / max(np.abs(was).sum(), 1e-9))


def _areas(vertices: FloatArray, triangles: NDArray[np.int32]) -> FloatArray:
    a, b, c = (vertices[triangles[:, k], :2] for k in range(3))
    u, v = b - a, c - a
    return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).astype(np.float32)
