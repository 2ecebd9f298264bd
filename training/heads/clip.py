"""head_clip renders one person in one room with one motion, under `lighting` and under `target`.

Person, room, motion and lights come from seven independent streams of the seed, so giving a light or asking for a still
clip leaves everything else unchanged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh, picture_normals
from lcvd.face.raster import MAX_SIDE_PX, rasterize
from lcvd.hints import render_hints
from lcvd.protocols import Raster, Rasterizer
from lcvd.types import Face, FloatArray, Lighting
from training.heads import atlas
from training.heads.background import random_background
from training.heads.bust import EYE_LOOPS, EYE_REACH_CM, MOUTH_REACH_CM, Build, Bust, bust_of, trunk_rings
from training.heads.camera import blurred, developed, random_camera
from training.heads.clothes import paint_trunk
from training.heads.expression import UPPER_INNER, expression_basis
from training.heads.eyes import paint_ear, paint_eye, paint_mouth
from training.heads.hair import hair_volume, paint_hair, paint_hood, random_hair
from training.heads.light import random_lighting
from training.heads.pose import FRAME_RATE, Motion, random_motion
from training.heads.render import SUPER, Posed, render
from training.heads.shape import random_identity
from training.heads.skin import paint_skin, random_skin


@dataclass(frozen=True, slots=True, eq=False)
class HeadClip:
    """Holds F frames of S×S pixels of one synthetic head, with ground truth."""

    rgb: NDArray[np.uint8]  # [F,S,S,3] under `lighting`
    relit: NDArray[np.uint8]  # [F,S,S,3] the same frames under `target`; only the noise of the camera is new
    hints: NDArray[np.uint8]  # [F,S,S,3] shading hints under `lighting`
    target_hints: NDArray[np.uint8]  # [F,S,S,3] hints under `target`
    masks: NDArray[np.float32]  # [F,S,S] portrait mask, 1 = person, soft edge
    faces: tuple[Face, ...]  # exact, from the renderer
    lighting: Lighting
    target: Lighting
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Holds the geometry and paint of one identity."""

    bust: Bust
    basis: FloatArray  # [E,V,3]
    atlas: FloatArray  # [H,W,3] linear albedo


def head_clip(
    seed: int,
    frames: int = 16,
    size: int = 128,
    *,
    lighting: Lighting | None = None,
    target: Lighting | None = None,
    still: bool = False,
) -> HeadClip:
    """Renders the clip of this seed; the bytes are the same at every call.

    A light that is not given is drawn from the seed.

    `still` holds pose, expression and gaze. The light's strength, shadow, specular and background are not used.
    Raises ShapeError where frames or size are impossible.
    """
    if frames < 1 or not 16 <= size <= MAX_SIDE_PX // SUPER:
        raise ShapeError(f"frames {frames}, size {size}", f"frames ≥ 1, size in 16…{MAX_SIDE_PX // SUPER} px")
    who, where, how, light, aim, lens, grain = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7))
    person = random_person(who)
    background = random_background(where, size)
    motion = random_motion(how, frames, still)
    lighting = random_lighting(light) if lighting is None else lighting
    target = random_lighting(aim) if target is None else target
    camera = random_camera(lens, size)

    pictures = np.empty((2, frames, size, size, 3), np.uint8)
    hints = np.empty((2, frames, size, size, 3), np.uint8)
    masks = np.empty((frames, size, size), np.float32)
    faces = []
    for f in range(frames):
        face, posed = pose(person, motion, f, size)
        faces.append(face)
        linear, coverage = render(posed, person.atlas, (lighting, target), background)
        masks[f] = np.clip(blurred(camera, coverage), 0, 1)
        once = _once(rasterize)
        for side, of in enumerate((lighting, target)):
            pictures[side, f] = developed(camera, linear[side], grain)
            hints[side, f] = render_hints(face, of, (size, size), once).rgb
    return HeadClip(pictures[0], pictures[1], hints[0], hints[1], masks, tuple(faces), lighting, target, seed)


def _once(rasterizer: Rasterizer) -> Rasterizer:
    """Wraps a rasteriser so that a second call for the same mesh returns the first result."""
    answer: list[Raster] = []

    def remembered(vertices: FloatArray, triangles: NDArray[np.int32], size: tuple[int, int]) -> Raster:
        if not answer:
            answer.append(rasterizer(vertices, triangles, size))
        return answer[0]

    return remembered


def random_person(rng: np.random.Generator) -> Person:
    """Draws and paints one identity."""
    identity = random_identity(rng)
    skin = random_skin(rng)
    hair = random_hair(rng, skin.tone)
    build = Build(
        width=float(rng.uniform(0.82, 1.08)),
        neck=float(rng.uniform(0.82, 1.12)),
        ears=float(rng.uniform(0.85, 1.12)),
        volume_cm=hair_volume(rng, hair),
        hood_cm=hair.hood_cm,
        hood_deg=hair.hood_deg,
        hood_thick_cm=0.8 + 0.8 * hair.length_cm,
    )
    paint = np.zeros((atlas.HEIGHT, atlas.WIDTH, 3), np.float32)
    brow = 0.7 * hair.natural + 0.05 * skin.tone
    head = paint_skin(rng, skin, brow, hair.brow)
    paint[atlas.HEAD.slices] = paint_hair(rng, hair, head)
    paint[atlas.EYE.slices] = paint_eye(rng)
    paint[atlas.MOUTH.slices] = paint_mouth(rng)
    paint[atlas.EAR.slices] = paint_ear(skin.tone)
    beard = hair.natural if hair.beard > 0.5 else None
    paint[atlas.TRUNK.slices] = paint_trunk(rng, skin.tone, trunk_rings(identity, build), beard)
    if hair.hood_cm > 0:
        paint[atlas.HOOD.slices] = paint_hood(rng, hair, (atlas.HOOD.height, atlas.HOOD.width))
    return Person(bust_of(identity, build), expression_basis(identity), paint)


def pose(person: Person, motion: Motion, f: int, size: int) -> tuple[Face, Posed]:
    """Returns the Face of frame `f`, exact as from a perfect tracker, and the bust as it is drawn."""
    bust = person.bust
    expression = np.einsum("e,evk->vk", motion.expression[f], person.basis).astype(np.float32)
    count = len(expression)
    canonical = bust.rest + bust.follow[:, None] * expression[bust.source]
    scale = np.float32(motion.scale[f] * size)
    head = _placed(canonical, motion.rotation[f], scale, motion.translation[f] * size)
    body = _placed(bust.rest, motion.torso_rotation[f], scale, motion.torso_translation[f] * size)
    share = bust.trunk[:, None]
    vertices = np.where(share > 0, head + share * (body - head), head).astype(np.float32)
    normals = picture_normals(vertices, bust.normal_triangles)[bust.weld]
    uv = bust.uv.copy()
    for eye, loop in zip(bust.eyes, EYE_LOOPS, strict=True):
        _turn_eye(uv, normals, canonical[eye], bust.rest[list(loop)], eye, motion.gaze[f], motion.rotation[f])
    _show_teeth(uv, normals, canonical, bust.mouth, motion.rotation[f])
    face = Face(
        t_s=f / FRAME_RATE,
        mesh=face_mesh(),
        vertices_px=vertices[:count],
        rotation=motion.rotation[f],
        translation_px=np.append(motion.translation[f] * size, 0).astype(np.float32),
        scale_px_per_cm=float(scale),
        identity=bust.rest[:count],
        expression=expression,
        score=1.0,
    )
    return face, Posed(vertices, normals, uv, bust.occlusion, bust.triangles, bust.two_sided)


def _placed(points: FloatArray, rotation: FloatArray, scale: np.float32, at: FloatArray) -> FloatArray:
    """Maps canonical cm to the picture: x right, y down, z to the viewer."""
    out = scale * (points @ rotation.T)
    out[:, 1] *= -1
    out[:, :2] += at
    return out


def _turn_eye(
    uv: FloatArray,
    normals: FloatArray,
    lids: FloatArray,
    rest: FloatArray,
    eye: slice,
    gaze: FloatArray,
    rotation: FloatArray,
) -> None:
    """Points an eye: the eyeball stays while the lids move over it.

    Texels and normals follow the position, not the vertex.
    """
    middle = rest.mean(0)
    offset = (lids - middle)[:, :2]
    at = (offset - gaze) / (2 * EYE_REACH_CM)
    uv[eye] = atlas.EYE.uv(0.5 + at[:, 0], 0.5 - at[:, 1])
    ball = np.column_stack((offset / 2.0, np.ones(len(offset))))
    normals[eye] = (ball / np.linalg.norm(ball, axis=1, keepdims=True)) @ rotation.T


def _show_teeth(uv: FloatArray, normals: FloatArray, canonical: FloatArray, mouth: slice, rotation: FloatArray) -> None:
    """Places the teeth, which hang from the upper lip; what lies deeper in the mouth is further down the patch."""
    points = canonical[mouth]
    upper = canonical[list(UPPER_INNER)]
    order = np.argsort(upper[:, 0])
    depth = np.interp(points[:, 0], upper[order, 0], upper[order, 1]) - points[:, 1]
    uv[mouth] = atlas.MOUTH.uv(0.5 + points[:, 0] / (2 * MOUTH_REACH_CM[0]), np.clip(depth / MOUTH_REACH_CM[1], 0, 1))
    normals[mouth] = rotation[:, 2]
