"""A portrait becomes a puppet: a triangle mesh over the whole picture, rigged to follow the driver's head.

The mesh is built once: the face mesh inside, and around it a Delaunay net with depth that shares the face's outline, so
that nothing tears. In each frame its vertices move (the face by the face mesh, hair and ears rigidly on a skull, the
shoulders by a part of the head's movement), and rasterising it with the portrait's positions as uv gives the inverse
warp. Eyeballs are separate triangles, so that the lids slide over them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.avatar.motion import EYES, posed
from engine.avatar.warp import inverse_warp
from engine.relighting.surface import SKULL_CENTRE_CM, SKULL_RADII_CM
from lcvd.types import Face, FloatArray

SPACING_PX = 22.0  # of the net at 512
MARGIN_PX = 110.0  # the net reaches this far beyond the picture, so that a moved one still covers it
NECK_TOP_FW, NECK_END_FW = -0.02, 0.50  # below the chin: the body's share grows from 0 to 1 between the two
NECK_SLACK_FW = 0.10  # movement of the head before the shoulders follow
JAW_REACH_FW = 0.22  # distance beyond the outline over which the face's expression moves the net
EYE_CORNERS = ((33, 133), (263, 362))
PIVOT_CM = np.array([0.0, -9.5, -4.0], np.float32)  # the neck, about which the head turns


class Puppet:
    """The portrait's mesh and its rig. `reference` is the portrait's face in a picture of side `size` in px."""

    def __init__(self, reference: Face, size: int) -> None:
        self._reference, self._size = reference, size
        mesh = reference.mesh
        face = reference.vertices_px
        self._fw = reference.width_px
        oval = mesh.regions["face_oval"]
        net = _net(face[oval, :2], size)
        self._outer = net
        self._outer_cm = self._canonical_of_net(net)
        self._head = self.head_share(net)
        self._drag = self._jaw_share(net)
        self._calm = self._body_share(net)
        faces = len(face)
        eye = [np.flatnonzero(np.isin(mesh.triangles, np.array(_ring(i))).all(1)) for i in (0, 1)]
        skin = np.delete(mesh.triangles, np.concatenate(eye), axis=0)
        ring, ball = [], []
        at = faces + len(net)
        for i in (0, 1):  # eyeballs have vertices of their own on the lids
            members = np.array(_ring(i))
            index_of = np.full(faces, -1, np.int32)
            index_of[members] = at + np.arange(len(members))
            ring.append(members)
            ball.append(index_of[mesh.triangles[eye[i]]])
            at += len(members)
        self._rings = ring
        around = _around(face[oval, :2], net)
        index = np.concatenate([oval, faces + np.arange(len(net))]).astype(np.int32)
        self.triangles = np.ascontiguousarray(np.vstack([skin, *ball, index[around]]), np.int32)
        self._face_count = faces
        ring_at = [face[r] for r in ring]
        self._uv = np.vstack([face[:, :2], net, *[r[:, :2] for r in ring_at]]).astype(np.float32)

    def vertices(self, face: Face) -> FloatArray:
        """Return the mesh's vertices [N,3] px as moved by `face`, the portrait's moved face."""
        reference = self._reference
        rigid = posed(self._outer_cm, face)
        oval = reference.mesh.regions["face_oval"]
        rest = posed((reference.identity + reference.expression)[oval], face)
        rigid += self._drag @ (face.vertices_px[oval] - rest)
        step = (posed(PIVOT_CM[None], face) - posed(PIVOT_CM[None], reference))[0]
        length = float(np.hypot(step[0], step[1]))
        slack = NECK_SLACK_FW * self._fw
        # The shoulders follow smoothly from zero on and by length - slack far out, since the neck bends first.
        follow = length / (length + slack) if length > 0 else 0.0
        body = np.empty_like(rigid)
        body[:, :2] = self._outer + self._calm * (step[:2] * follow)
        body[:, 2] = rigid[:, 2] - 0.5 * self._fw
        share = self._head[:, None]
        outer = body + share * (rigid - body)
        outer[:, 2] -= 0.02 * self._fw
        return np.vstack([face.vertices_px, outer, *[face.vertices_px[r] for r in self._rings]]).astype(np.float32)

    def inverse_warp(self, face: Face) -> FloatArray:
        """Return the uv map [S,S,2] px of the portrait moved to `face` (engine.avatar.warp)."""
        # Above the picture its first row is repeated. A mirror image, which suits shoulders, would show the head again.
        return inverse_warp(self.vertices(face), self.triangles, self.uv(face), self._size, top=0.5)

    def uv(self, face: Face) -> FloatArray:
        """Return the vertices' positions in the portrait [N,2] px. Only the eyeballs' depend on `face`."""
        uv = self._uv.copy()
        at = self._face_count + len(self._outer)
        for i, ring in enumerate(self._rings):
            uv[at : at + len(ring)] = self._ball(face, i, ring)
            at += len(ring)
        return uv

    def head_share(self, points: FloatArray) -> FloatArray:
        """Return [N], the share of the head's movement of `points` [N,2] px of the portrait; the rest is the body's."""
        chin = self._reference.vertices_px[152, 1]
        below = (points[:, 1] - chin) / self._fw
        u = np.clip((below - NECK_TOP_FW) / (NECK_END_FW - NECK_TOP_FW), 0, 1)
        return (1 - u * u * (3 - 2 * u)).astype(np.float32)

    def _ball(self, face: Face, eye: int, ring: NDArray[np.intp]) -> FloatArray:
        """Return the uv of the lids' rim on the eyeball, which moves with the eye's corners and not with its lids."""
        rest, now = self._reference.vertices_px, face.vertices_px
        a, b = EYE_CORNERS[eye]
        u, v = (rest[b] - rest[a])[:2], (now[b] - now[a])[:2]
        centre, moved = (rest[a] + rest[b])[:2] / 2, (now[a] + now[b])[:2] / 2
        # Complex division gives the similarity that takes the moved corners to the resting ones.
        w = complex(u[0], u[1]) / complex(v[0], v[1])
        turn = np.array([[w.real, -w.imag], [w.imag, w.real]], np.float32)
        back = (now[ring, :2] - moved) @ turn.T + centre
        upper, lower, _ = EYES[eye]
        gap = np.linalg.norm((rest[list(upper)] - rest[list(lower)])[2:5, :2], axis=1).mean()
        gap_now = np.linalg.norm((now[list(upper)] - now[list(lower)])[2:5, :2], axis=1).mean() * abs(w)
        # Beyond the portrait's own opening there is only lid to show, so there the ball is stretched instead.
        wide = min(max((gap_now / max(gap, 1e-3) - 0.8) / 0.2, 0.0), 1.0)
        return back + np.float32(wide) * (rest[ring, :2] - back)

    def _canonical_of_net(self, net: FloatArray) -> FloatArray:
        """Return the net in canonical cm [N,3]: on the skull, or beside it at the depth of its middle."""
        reference = self._reference
        up = (net - reference.translation_px[:2]) * np.array([1, -1], np.float32) / reference.scale_px_per_cm
        rotation = reference.rotation
        radii = SKULL_RADII_CM
        origin = (up @ rotation[:2] - SKULL_CENTRE_CM) / radii
        ray = rotation[2] / radii
        a = float(ray @ ray)
        b = origin @ ray
        inside = np.maximum(b * b - a * ((origin**2).sum(1) - 1), 0)
        depth = (-b + np.sqrt(inside)) / a
        # The net meets the mesh's outline in depth, because a gap would show most there.
        oval = reference.vertices_px[reference.mesh.regions["face_oval"]]
        gap = np.linalg.norm(net[:, None] - oval[None, :, :2], axis=2) / self._fw
        weight = 1 / (gap + 0.02) ** 2
        weight /= weight.sum(1, keepdims=True)
        rim = weight @ (oval[:, 2] - reference.translation_px[2]) / reference.scale_px_per_cm
        # Ears and hair are no nearer than the outline beside them; on the skull's bulge they would be stretched.
        skull = np.minimum(depth, rim)
        near = np.exp(-gap.min(1) / 0.25)
        depth = skull + near * (rim - skull)
        return (np.column_stack([up, depth]) @ rotation).astype(np.float32)

    def _body_share(self, net: FloatArray) -> FloatArray:
        """Return [N,2], each point's share of the shoulders' shift in x and y; 0 in y at the picture's lower edge."""
        chin = self._reference.vertices_px[152, 1] + NECK_END_FW * self._fw
        left = np.clip((self._size - net[:, 1]) / max(self._size - chin, 0.25 * self._fw), 0, 1)
        return np.column_stack([0.5 + 0.5 * left, left]).astype(np.float32)

    def _jaw_share(self, net: FloatArray) -> FloatArray:
        """Return [N,36], each point's share of the expression at each vertex of the outline."""
        oval = self._reference.vertices_px[self._reference.mesh.regions["face_oval"], :2]
        gap = np.linalg.norm(net[:, None] - oval[None], axis=2) / self._fw
        weight = 1 / (gap + 0.01) ** 3
        weight /= weight.sum(1, keepdims=True)
        return (weight * np.exp(-((gap.min(1) / JAW_REACH_FW) ** 2))[:, None]).astype(np.float32)


def _ring(eye: int) -> list[int]:
    upper, lower, _ = EYES[eye]
    return [*upper, *lower, *EYE_CORNERS[eye]]


def _net(oval: FloatArray, size: int) -> FloatArray:
    """Return points [N,2] around the face, spaced a little finer than its outline."""
    spacing = SPACING_PX * size / 512
    margin = MARGIN_PX * size / 512
    count = round((size + 2 * margin) / spacing) + 1
    line = np.linspace(-margin, size + margin, count)
    x, y = np.meshgrid(line, line)
    x[1::2] += spacing / 2  # staggered, for rounder triangles
    x = np.clip(x, -margin, size + margin)
    points = np.column_stack([x.ravel(), y.ravel()]).astype(np.float32)
    edge = float(np.linalg.norm(np.roll(oval, -1, 0) - oval, axis=1).max())
    outline = oval.astype(np.float32).reshape(-1, 1, 2)
    away = np.array([-cv2.pointPolygonTest(outline, (float(p[0]), float(p[1])), True) for p in points])
    return np.unique(points[away > 0.6 * edge], axis=0)


def _around(oval: FloatArray, net: FloatArray) -> NDArray[np.int32]:
    """Return the Delaunay triangles [M,3] of the outline's and the net's points, without those inside the face."""
    points = np.vstack([oval, net]).astype(np.float32)
    points -= points.min(0) - 8
    width, height = (int(side) + 8 for side in points.max(0))
    subdivision = cv2.Subdiv2D((0, 0, width, height))
    subdivision.insert([(float(x), float(y)) for x, y in points])
    # OpenCV returns corners as coordinates instead of indices, and adds three of its own beyond the rectangle.
    corners = np.asarray(subdivision.getTriangleList(), np.float32).reshape(-1, 2)
    order = np.argsort(_key(points))
    keys = _key(points)[order]
    found = np.minimum(np.searchsorted(keys, _key(corners)), len(keys) - 1)
    known = (keys[found] == _key(corners)).reshape(-1, 3).all(1)
    triangles = order[found].reshape(-1, 3)[known].astype(np.int32)
    outline = points[: len(oval)].reshape(-1, 1, 2)
    inside = [
        bool((t < len(oval)).all()) and cv2.pointPolygonTest(outline, _middle(points[t]), False) >= 0 for t in triangles
    ]
    return triangles[~np.array(inside)]


def _key(points: FloatArray) -> NDArray[np.int64]:
    """Return [N], one integer per point, to a sixteenth of a pixel."""
    x, y = np.rint(points.astype(np.float64) * 16).astype(np.int64).T
    return x * (1 << 24) + y


def _middle(points: FloatArray) -> tuple[float, float]:
    x, y = points.mean(0)
    return float(x), float(y)
