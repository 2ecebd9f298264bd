"""bust_of closes a face to a bust: the face mesh, joined along its outline to skull, ears, neck, trunk and hair.

The skull starts at the face's own outline vertices, so no gap can open between them; eyes and mouth are copies of the
face's own vertices, so they move with it. Hair swells the skull and may hang down as a `hood`. Canonical cm, float32.
Face vertices come first and are exactly those of `Face`: hints and picture share every one of them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import face_mesh
from lcvd.types import FloatArray
from training.heads import atlas
from training.heads.expression import LIDS, LOWER_INNER, UPPER_INNER
from training.heads.skull import RINGS, SKULL_CENTRE, outline, ring_share, skull_frame, skull_rings

EYE_LOOPS = ((249, 263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390),
             (7, 33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163))  # fmt: skip
EYE_REACH_CM = 2.2  # half the side of what the eye patch shows
MOUTH_REACH_CM = (3.2, 3.0)  # half its width, its height
TRUNK_DEG, TRUNK_COLS = 120.0, 17
NECK_ROWS = 5
NECK_ABOVE_CHIN_CM = 5.0  # where the neck begins, hidden inside the head
# Rings of the trunk below the neck: y, half width, half depth (cm); its axis lies at z = -5.
TRUNK_RINGS = ((-15.0, 8.0, 6.2), (-16.2, 11.5, 7.2), (-17.6, 15.0, 8.2), (-19.6, 17.8, 9.0), (-22.5, 19.6, 10.0),
               (-30.0, 20.6, 11.0), (-48.0, 21.0, 11.5))  # fmt: skip
HOOD_ROWS, HOOD_COLS = 9, 19


@dataclass(frozen=True, slots=True, eq=False)
class Build:
    """Describes the body and hair that are added to a face."""

    width: float = 1.0  # of shoulders
    neck: float = 1.0
    ears: float = 1.0
    volume_cm: FloatArray | float = 0.0  # hair over the skull: [RINGS,36], one number for all of it
    hood_cm: float = 0.0  # how far long hair hangs below the skull's centre; 0 = none
    hood_deg: float = 100.0  # how far round to the front it comes, from the back
    hood_thick_cm: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Bust:
    """Holds the geometry of one person at rest, and the weights that move it."""

    rest: FloatArray  # [B,3]; the first V are the face
    uv: FloatArray  # [B,2] atlas coordinates
    occlusion: FloatArray  # [B] share of the light that reaches the vertex
    triangles: NDArray[np.int32]  # [M,3] counter-clockwise from outside
    two_sided: NDArray[np.uint8]  # [M]
    weld: NDArray[np.int32]  # [B] the vertex whose normal this one takes: copies at one place shade alike
    normal_triangles: NDArray[np.int32]  # [M,3] `triangles` of welded vertices: on the face those of the hint
    follow: FloatArray  # [B] how much of the expression of vertex `source` a vertex takes
    source: NDArray[np.int32]  # [B] face vertex
    trunk: FloatArray  # [B] 0 = moves with the head, 1 = with the trunk
    eyes: tuple[slice, slice]
    mouth: slice
    face_triangles: NDArray[np.int32]
    skull_triangles: NDArray[np.int32]


def bust_of(identity: FloatArray, build: Build) -> Bust:
    """Builds the head of a face `identity` [V,3]."""
    mesh = face_mesh()
    parts = _Parts()
    face = parts.add(identity, atlas.face_uv(mesh.neutral), source=np.arange(len(identity)), follow=1.0)
    face_triangles = np.ascontiguousarray(mesh.triangles[mesh.skin_triangles])
    parts.sew(face_triangles)
    skull_triangles = _skull(parts, identity, build)
    eyes = (_opening(parts, EYE_LOOPS[0]), _opening(parts, EYE_LOOPS[1]))
    mouth = _opening(parts, tuple(int(i) for i in mesh.regions["inner_lips"]))
    for side in (1, -1):
        _ear(parts, identity, side, build.ears)
    _trunk(parts, identity, build)
    if build.hood_cm > 0:
        _hood(parts, identity, build)
    bust = parts.bust(eyes, mouth, face_triangles, skull_triangles)
    assert face == slice(0, len(identity))
    # Upper lids shade the eyeball, lips the teeth.
    for (upper, _), loop, eye in zip(LIDS, EYE_LOOPS, eyes, strict=True):
        bust.occlusion[eye] = [0.5 if i in upper else 0.9 for i in loop]
    inner = mesh.regions["inner_lips"]
    bust.occlusion[mouth] = [0.45 if i in UPPER_INNER else 0.75 if i in LOWER_INNER else 0.5 for i in inner]
    return bust


@cache
def average_bust() -> Bust:
    """Returns the bald bust of the canonical face, on which paint is laid out."""
    return bust_of(face_mesh().neutral, Build())


class _Parts:
    """Collects vertices and triangles."""

    def __init__(self) -> None:
        self.columns: list[list[np.ndarray]] = [[] for _ in range(7)]
        self.triangles: list[np.ndarray] = []
        self.two_sided: list[np.ndarray] = []
        self.count = 0

    def add(
        self,
        points: np.ndarray,
        uv: np.ndarray,
        source: np.ndarray | int = 0,
        follow: np.ndarray | float = 0.0,
        occlusion: np.ndarray | float = 1.0,
        trunk: np.ndarray | float = 0.0,
        weld: np.ndarray | None = None,
    ) -> slice:
        n = len(points)
        weld = np.arange(self.count, self.count + n) if weld is None else weld
        for column, value in zip(self.columns, (points, uv, occlusion, follow, source, trunk, weld), strict=True):
            column.append(np.broadcast_to(value, (n, *np.shape(value)[1:])))
        self.count += n
        return slice(self.count - n, self.count)

    def sew(self, triangles: np.ndarray, two_sided: bool = False) -> None:
        self.triangles.append(triangles)
        self.two_sided.append(np.full(len(triangles), two_sided, np.uint8))

    def bust(self, eyes: tuple[slice, slice], mouth: slice, face: np.ndarray, skull: np.ndarray) -> Bust:
        points, uv, occlusion, follow, source, trunk, weld = (np.concatenate(column) for column in self.columns)
        triangles = np.concatenate(self.triangles).astype(np.int32)
        weld = weld.astype(np.int32)
        return Bust(
            rest=points.astype(np.float32),
            uv=uv.astype(np.float32),
            occlusion=occlusion.astype(np.float32),
            triangles=triangles,
            two_sided=np.concatenate(self.two_sided),
            weld=weld,
            normal_triangles=weld[triangles],
            follow=follow.astype(np.float32),
            source=source.astype(np.int32),
            trunk=trunk.astype(np.float32),
            eyes=eyes,
            mouth=mouth,
            face_triangles=face,
            skull_triangles=skull,
        )


def _grid(index: np.ndarray, wrap: bool = False) -> np.ndarray:
    """Returns two triangles for each cell of vertex indices [rows, cols].

    Rows run down and columns to the right as seen from outside.
    """
    if wrap:
        index = np.column_stack((index, index[:, 0]))
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.column_stack((a, c, b)), np.column_stack((b, c, d))])


def _skull(parts: _Parts, identity: FloatArray, build: Build) -> np.ndarray:
    rings, direction = skull_rings(identity)
    volume = np.broadcast_to(np.asarray(build.volume_cm, np.float32), rings.shape[:2])
    rings = rings + volume[..., None] * direction
    share = ring_share()
    angle = 2 * np.pi * np.arange(36) / 36
    reach = 0.5 * 0.98 * (1 - share)[:, None]
    uv = atlas.SKULL.uv(0.5 + reach * np.sin(angle), 0.5 - reach * np.cos(angle))
    ring_slice = parts.add(
        rings.reshape(-1, 3),
        uv.reshape(-1, 2),
        source=np.tile(outline(), RINGS),
        follow=np.repeat(np.clip(1 - share / 0.4, 0, 1) ** 2, 36),
        occlusion=_under_chin(rings).ravel(),
    )
    centre, radii = skull_frame(identity)
    behind = centre + np.array([0, 0.05 * radii[2], -radii[2] - volume[-1].mean()])
    pole = parts.add(behind[None], atlas.SKULL.uv([0.5], [0.5]))
    # The rim is the face's own vertices, but the disc needs its own texels there: a copy at the same place.
    rim_uv = atlas.SKULL.uv(0.5 + 0.49 * np.sin(angle), 0.5 - 0.49 * np.cos(angle))
    rim = parts.add(identity[outline()], rim_uv, source=outline(), follow=1.0, weld=outline())
    index = np.concatenate(
        [[np.arange(rim.start, rim.stop)], np.arange(ring_slice.start, ring_slice.stop).reshape(RINGS, 36)]
    )
    # Columns run from the top over +x: seen from outside with the rim above, that is right to left.
    triangles = _grid(index[:, ::-1], wrap=True)
    last = index[-1]
    cap = np.column_stack((last, np.full(36, pole.start), np.roll(last, -1)))
    triangles = np.concatenate([triangles, _facing(parts, cap)])
    triangles = _facing(parts, triangles)
    parts.sew(triangles)
    return triangles.astype(np.int32)


def _facing(parts: _Parts, triangles: np.ndarray) -> np.ndarray:
    """Turns all triangles of a closed patch so that they face away from the skull's centre."""
    points = np.concatenate(parts.columns[0]).astype(np.float64)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - SKULL_CENTRE).sum()
    return triangles if outward > 0 else triangles[:, ::-1]


def _under_chin(points: np.ndarray) -> np.ndarray:
    """Returns the share of the light that is left below the jaw, [...]."""
    y, z = points[..., 1], points[..., 2]
    return 1 - 0.45 * np.clip((-4.5 - y) / 3, 0, 1) * np.clip((4.5 - z) / 5, 0, 1)


def _opening(parts: _Parts, loop: tuple[int, ...]) -> slice:
    """Copies the vertices round an eye or the mouth and adds the face's own triangles that close it."""
    at = np.array(loop)
    part = parts.add(parts.columns[0][0][at], np.zeros((len(at), 2)), source=at, follow=1.0, weld=at)
    parts.sew(_closing(loop) + part.start)
    return part


@cache
def _closing(loop: tuple[int, ...]) -> np.ndarray:
    """Returns the face's triangles inside a loop, as positions in it."""
    mesh = face_mesh()
    place = np.full(len(mesh.neutral), -1)
    place[list(loop)] = np.arange(len(loop))
    inside = place[mesh.triangles[~mesh.skin_triangles]]
    return inside[(inside >= 0).all(1)]


def _ear(parts: _Parts, identity: FloatArray, side: int, size: float) -> None:
    rows, cols = 7, 12
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows), 2 * np.pi * np.arange(cols) / cols, indexing="ij")
    # A thick disc: flat outside, standing off the head at its back edge.
    x, y, z = np.cos(polar), np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)
    local = np.stack([0.75 * x, 2.9 * y * (1 + 0.12 * y), 1.75 * z * (1 + 0.25 * y)], -1) * size
    flare, lean = np.radians(28), np.radians(10)
    out = local[..., 0] * np.cos(flare) - local[..., 2] * np.sin(flare)
    back = local[..., 0] * np.sin(flare) + local[..., 2] * np.cos(flare)
    up = local[..., 1] * np.cos(lean) + back * np.sin(lean)
    temple = identity[454 if side > 0 else 234]
    points = np.stack([out + abs(temple[0]) + 0.65, up + 0.9 + 0.4 * temple[1], back + temple[2] - 1.1], -1)
    points[..., 0] *= side
    uv = atlas.EAR.uv(0.5 + 0.47 * z, 0.5 - 0.47 * y)
    part = parts.add(points.reshape(-1, 3), uv.reshape(-1, 2), occlusion=0.9)
    index = np.arange(part.start, part.stop).reshape(rows, cols)
    triangles = _grid(index, wrap=True)
    parts.sew(triangles if side > 0 else triangles[:, ::-1])


def trunk_rings(identity: FloatArray, build: Build) -> np.ndarray:
    """Returns [NECK_ROWS + 7, 4]: y, half width, half depth, z of the axis (cm), from inside the head down."""
    chin = float(identity[152, 1])
    top, bottom = chin + NECK_ABOVE_CHIN_CM, chin - 3.8
    neck = [
        (y, 4.9 * build.neck * (1 + 0.12 * t * t), 4.7 * build.neck, -4.3 - 0.7 * t)
        for t, y in zip(np.linspace(0, 1, NECK_ROWS), np.linspace(top, bottom, NECK_ROWS), strict=True)
    ]
    drop = bottom + 14.0
    trunk = [(y + drop, w * build.width, d, -5.0) for y, w, d in TRUNK_RINGS]
    return np.array(neck + trunk)


def _trunk(parts: _Parts, identity: FloatArray, build: Build) -> None:
    rings = trunk_rings(identity, build)
    angle = np.radians(np.linspace(-TRUNK_DEG, TRUNK_DEG, TRUNK_COLS))
    y, width, depth, axis = (rings[:, k : k + 1] for k in range(4))
    points = np.stack(
        [width * np.sin(angle), np.broadcast_to(y, (len(rings), TRUNK_COLS)), axis + depth * np.cos(angle)], -1
    )
    # Shoulders slope down towards the sides.
    slope = np.clip((width - 7) / 8, 0, 1)
    points[..., 1] -= slope * 1.6 * np.square(np.sin(angle))
    v = np.linspace(0, 1, len(rings))
    u = np.linspace(0, 1, TRUNK_COLS)
    uv = atlas.TRUNK.uv(*np.meshgrid(u, v))
    with_trunk = np.clip(np.arange(len(rings)) / (NECK_ROWS - 1), 0, 1)
    part = parts.add(points.reshape(-1, 3), uv.reshape(-1, 2), trunk=np.repeat(with_trunk, TRUNK_COLS))
    parts.sew(_grid(np.arange(part.start, part.stop).reshape(len(rings), TRUNK_COLS)))


def _hood(parts: _Parts, identity: FloatArray, build: Build) -> None:
    centre, radii = skull_frame(identity)
    radii = radii + build.hood_thick_cm
    angle = np.radians(np.linspace(-build.hood_deg, build.hood_deg, HOOD_COLS))
    down = np.linspace(7.0, -build.hood_cm, HOOD_ROWS)[:, None]  # from the skull's centre
    waist = np.sqrt(np.clip(1 - np.square(np.maximum(down, 0) / radii[1]), 0.05, 1))
    flare = 1 + 0.10 * np.clip(-down / 15, 0, 1)
    points = np.stack(
        [
            -radii[0] * waist * flare * np.sin(angle),
            np.broadcast_to(centre[1] + down, (HOOD_ROWS, HOOD_COLS)),
            centre[2] - radii[2] * waist * np.cos(angle) * np.where(down < -4, 0.9, 1.0),
        ],
        -1,
    )
    # The front edge leans on the temples instead of standing off.
    edge = np.clip((np.abs(angle) - 1.2) / 0.8, 0, 1)
    points[..., 0] *= 1 - 0.04 * edge
    u, v = np.meshgrid(np.linspace(0, 1, HOOD_COLS), np.linspace(0, 1, HOOD_ROWS))
    with_trunk = np.clip((-down - 6) / 16, 0, 0.8)
    part = parts.add(
        points.reshape(-1, 3),
        atlas.HOOD.uv(u, v).reshape(-1, 2),
        trunk=np.repeat(with_trunk.ravel(), HOOD_COLS),
    )
    parts.sew(_grid(np.arange(part.start, part.stop).reshape(HOOD_ROWS, HOOD_COLS)), two_sided=True)
