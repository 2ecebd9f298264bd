"""Parts collects the pieces of a person's mesh: skin, hair, cloth, eyes, mouth and glasses, and their paint."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray


class Part(IntEnum):
    """Names what a vertex belongs to."""

    SKIN = 0
    HAIR = 1
    CLOTH = 2
    EYE = 3
    MOUTH = 4
    GLASSES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Holds one person at rest. V vertices, M triangles."""

    rest: FloatArray  # [V,3] canonical cm
    triangles: NDArray[np.int32]  # [M,3]
    albedo: FloatArray  # [V,3] linear
    gloss: FloatArray  # [V] strength of the specular term
    part: NDArray[np.uint8]  # [V] of Part
    source: NDArray[np.int32]  # [V] vertex of the kit whose expression it follows, −1 for none
    body: FloatArray  # [V] 0 moves with the head … 1 with the trunk


class Parts:
    """Collects vertices and triangles."""

    def __init__(self) -> None:
        self._columns: list[list[np.ndarray]] = [[] for _ in range(6)]
        self._triangles: list[np.ndarray] = []
        self.count = 0

    def add(
        self,
        points: FloatArray,
        triangles: np.ndarray,
        albedo: np.ndarray,
        part: np.ndarray | Part,
        *,
        gloss: np.ndarray | float = 0.0,
        source: np.ndarray | int = -1,
        body: np.ndarray | float = 0.0,
    ) -> None:
        """Adds `points` [N,3] and `triangles` [K,3] of their own indices; the rest is [N] or one value for all."""
        n = len(points)
        values = (points, np.asarray(albedo), np.asarray(gloss), np.asarray(part), np.asarray(source), np.asarray(body))
        for column, value in zip(self._columns, values, strict=True):
            tail = (3,) if column is self._columns[0] or column is self._columns[1] else ()
            column.append(np.broadcast_to(value, (n, *tail)))
        self._triangles.append(np.asarray(triangles, np.int32) + self.count)
        self.count += n

    def mesh(self) -> Mesh:
        """Returns what was collected."""
        rest, albedo, gloss, part, source, body = (np.concatenate(column) for column in self._columns)
        return Mesh(
            rest.astype(np.float32),
            np.concatenate(self._triangles).astype(np.int32),
            albedo.astype(np.float32),
            gloss.astype(np.float32),
            part.astype(np.uint8),
            source.astype(np.int32),
            body.astype(np.float32),
        )


def grid_triangles(rows: int, cols: int, wrap: bool = False) -> NDArray[np.int32]:
    """Returns two triangles for each cell of `rows` × `cols` vertices, numbered row by row."""
    index = np.arange(rows * cols).reshape(rows, cols)
    if wrap:
        index = np.column_stack((index, index[:, 0]))
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.column_stack((a, c, b)), np.column_stack((b, c, d))]).astype(np.int32)


def tube(path: FloatArray, radius: float, sides: int = 6) -> tuple[FloatArray, NDArray[np.int32]]:
    """Returns vertices and triangles of a tube of `radius` cm along `path` [N,3]."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    across = np.cross(along, np.array([0.13, 0.99, 0.07]))
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    third = np.cross(along, across)
    turn = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(turn)[:, None, None] * across + np.sin(turn)[:, None, None] * third
    points = (path + radius * ring).transpose(1, 0, 2).reshape(-1, 3)
    return points.astype(np.float32), grid_triangles(len(path), sides, wrap=True)
