"""Face topology, read from the `mediapipe` wheel: edges and outlines become oriented triangles and regions.

Part of the building of canonical_face.npz (`build_canonical_face.py`); nothing at run time needs it.
"""

import ast
import itertools
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.face.geometry import vertex_normals

CONNECTIONS = "mediapipe/python/solutions/face_mesh_connections.py"
OUTLINES = {
    "face_oval": "FACEMESH_FACE_OVAL",
    "left_eye": "FACEMESH_LEFT_EYE",
    "right_eye": "FACEMESH_RIGHT_EYE",
    "left_brow": "FACEMESH_LEFT_EYEBROW",
    "right_brow": "FACEMESH_RIGHT_EYEBROW",
    "lips": "FACEMESH_LIPS",
    "nose": "FACEMESH_NOSE",
}
Edge = tuple[int, int]


def read_topology(wheel: Path) -> tuple[set[Edge], dict[str, set[Edge]]]:
    """Undirected edges of the tesselation, and of each outline: the lists of pairs in the wheel's module."""
    with zipfile.ZipFile(wheel) as archive:
        module = ast.parse(archive.read(CONNECTIONS))
    found: dict[str, set[Edge]] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call):
            try:
                pairs = ast.literal_eval(node.value.args[0])
            except ValueError:
                continue  # a union of other sets
            found[node.targets[0].id] = {(min(p), max(p)) for p in pairs}
    return found["FACEMESH_TESSELATION"], {name: found[key] for name, key in OUTLINES.items()}


def facets(edges: set[Edge]) -> list[tuple[int, ...]]:
    """Return the 3-cycles of the edge graph, less those every edge of which already has two facets."""
    near = defaultdict(set)
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    cycles = {tuple(sorted((a, b, c))) for a, b in edges for c in near[a] & near[b]}
    uses = Counter(e for t in cycles for e in itertools.combinations(t, 2))
    return sorted(t for t in cycles if not all(uses[e] == 3 for e in itertools.combinations(t, 2)))


def boundary(triangles: list[tuple[int, ...]]) -> set[Edge]:
    """Return the edges with one triangle: the outer rim, the eyes, the mouth."""
    uses = Counter(e for t in triangles for e in itertools.combinations(sorted(t), 2))
    return {e for e, n in uses.items() if n == 1}


def loops(edges: set[Edge]) -> list[list[int]]:
    """Closed walks of an edge set in which every vertex has two edges."""
    near = defaultdict(list)
    for a, b in sorted(edges):
        near[a].append(b)
        near[b].append(a)
    left, out = set(near), []
    while left:
        walk = [min(left)]
        left.discard(walk[0])
        while step := [v for v in near[walk[-1]] if v in left]:
            walk.append(step[0])
            left.discard(step[0])
        out.append(walk)
    return out


def ordered(edges: set[Edge]) -> NDArray[np.int32]:
    """The vertices of an outline: walked in order where it is a loop, sorted otherwise."""
    degree = Counter(v for e in edges for v in e)
    if set(degree.values()) == {2} and len(found := loops(edges)) == 1:
        return np.array(found[0], np.int32)
    return np.array(sorted(degree), np.int32)


def strip(loop: list[int], shape: NDArray) -> list[tuple[int, int, int]]:
    """Triangles over a slit-like hole: a zigzag between its upper and lower border, from corner to corner."""
    start = int(np.argmin(shape[loop, 0]))
    loop = loop[start:] + loop[:start]
    end = int(np.argmax(shape[loop, 0]))
    one, two = loop[: end + 1], [loop[0], *loop[: end - 1 : -1]]
    i, j, out = 0, 0, []
    while i < len(one) - 1 or j < len(two) - 1:
        # Advance on the side that is behind in x, so that the rungs stay upright.
        if j == len(two) - 1 or (i < len(one) - 1 and shape[one[i + 1], 0] <= shape[two[j + 1], 0]):
            out.append((one[i], one[i + 1], two[j]))
            i += 1
        else:
            out.append((one[i], two[j + 1], two[j]))
            j += 1
    return [t for t in out if len(set(t)) == 3]


def outward(triangles: NDArray[np.int32], shape: NDArray) -> NDArray[np.int32]:
    """Give the whole surface one winding, spread from neighbour to neighbour, counter-clockwise from the front."""
    owners = defaultdict(list)
    for m, t in enumerate(triangles):
        for e in itertools.combinations(sorted(t.tolist()), 2):
            owners[e].append(m)
    out = triangles.copy()
    done, todo = {0}, [0]
    while todo:
        m = todo.pop()
        for k in range(3):
            a, b = int(out[m, k]), int(out[m, (k + 1) % 3])
            for n in owners[min(a, b), max(a, b)]:
                if n in done:
                    continue
                row = out[n].tolist()
                if row[(row.index(a) + 1) % 3] == b:  # a neighbour must walk the shared edge the other way
                    out[n] = out[n, ::-1]
                done.add(n)
                todo.append(n)
    normals = vertex_normals(shape.astype(np.float32), out)
    return out if normals[:, 2].mean() > 0 else np.ascontiguousarray(out[:, ::-1])
