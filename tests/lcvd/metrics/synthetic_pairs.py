"""Faces drawn under a known light, and frame pairs made of them, for the tests of the metrics."""

import numpy as np

from lcvd.face.geometry import face_mesh, picture_normals
from lcvd.face.raster import interpolate, rasterize
from lcvd.lighting.colour import srgb_from_linear
from lcvd.lighting.lighting import shading
from lcvd.lighting.presets import preset
from lcvd.metrics import FramePair, Request
from lcvd.types import Face, Lighting

SKIN = np.array([0.5, 0.32, 0.25])


def turned(yaw_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """Rotation about y (the nose goes to +x), then about z."""
    y, z = np.radians([yaw_deg, roll_deg])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y


def face_at(
    rotation: np.ndarray | None = None,
    size_px: int = 240,
    scale: float = 9.0,
    expression: np.ndarray | None = None,
    held: bool = False,
) -> Face:
    """The canonical face in the middle of a square picture."""
    mesh = face_mesh()
    rotation = np.eye(3) if rotation is None else rotation
    expression = np.zeros_like(mesh.neutral) if expression is None else expression
    centre = np.array([size_px / 2, size_px / 2, 0])
    vertices = scale * (mesh.neutral + expression) @ rotation.T * [1, -1, 1] + centre
    return Face(
        t_s=0.0,
        mesh=mesh,
        vertices_px=vertices.astype(np.float32),
        rotation=rotation.astype(np.float32),
        translation_px=centre.astype(np.float32),
        scale_px_per_cm=scale,
        identity=mesh.neutral,
        expression=expression.astype(np.float32),
        score=1.0,
        held=held,
    )


def drawn(face: Face, lighting: Lighting, size_px: int = 240, albedo: np.ndarray = SKIN) -> np.ndarray:
    """uint8 [S,S,3]: matte skin of one albedo under `lighting`, grey around it."""
    raster = rasterize(face.vertices_px, face.mesh.triangles, (size_px, size_px))
    normals = interpolate(raster, face.mesh.triangles, picture_normals(face.vertices_px, face.mesh.triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    linear = np.where((raster.triangle >= 0)[..., None], albedo * shading(lighting, normals), 0.2)
    return np.rint(255 * srgb_from_linear(linear)).astype(np.uint8)


def request(light: str = "rembrandt-left", **changes: object) -> Request:
    """A request for a preset and 40 frames."""
    return Request(**{"lighting": preset(light).lighting, "frames": 40, **changes})  # type: ignore[arg-type]


def pair(
    index: int,
    result: np.ndarray,
    driver: np.ndarray,
    result_face: Face | None = None,
    driver_face: Face | None = None,
    person: np.ndarray | None = None,
) -> FramePair:
    return FramePair(index, result, driver, result_face, driver_face, person)


def texture(size_px: int = 128, seed: int = 0) -> np.ndarray:
    """A smooth random picture uint8 [S,S,3] that optical flow can follow."""
    import cv2

    noise = np.random.default_rng(seed).normal(size=(size_px, size_px, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 40 * smooth / smooth.std(), 20, 235).astype(np.uint8)
