"""A folder of the user's own FLAME and DECA files → Flame. Nothing is fetched: their licences are personal.

Read are generic_model.pkl (FLAME 2020), landmark_embedding.npy and FLAME_masks.pkl, and, where they lie there,
head_template.obj and FLAME_masks_face-id.pkl (the LCVD authors' list of face triangles). Pickles go through
`lcvd.tracking.flame_pickle`; every array's shape is checked and what does not fit is named.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lcvd.errors import ModelUnavailable
from lcvd.tracking.flame import JOINTS, MAX_CONTOUR_DEG, Flame, LandmarkEmbedding
from lcvd.tracking.flame_pickle import load_object_npy, load_pickle
from lcvd.types import MeshTopology

N_SHAPE, N_EXPRESSION = 100, 50  # DECA uses this many of FLAME's 300 + 100
EXPRESSION_AT = 300  # FLAME keeps both in one basis, expressions after 300 shapes
DECA_MODEL = "deca_model.tar"
FLAME_MODEL, EMBEDDING, MASKS = "generic_model.pkl", "landmark_embedding.npy", "FLAME_masks.pkl"
FACE_TRIANGLES, TEMPLATE_OBJ = "FLAME_masks_face-id.pkl", "head_template.obj"
SOURCES = {
    DECA_MODEL: "DECA's README, github.com/yfeng95/DECA (non-commercial research licence)",
    FLAME_MODEL: "FLAME 2020 after registration at flame.is.tue.mpg.de (non-commercial research licence)",
    EMBEDDING: "the data folder of github.com/yfeng95/DECA",
    MASKS: "FLAME vertex masks at flame.is.tue.mpg.de",
}
# Names of the 68-point scheme; left and right are the person's own, as everywhere in lcvd.
_LANDMARKS = {
    **{"right_brow": range(17, 22), "left_brow": range(22, 27), "right_eye": range(36, 42), "left_eye": range(42, 48)},
    "inner_lips": range(60, 68),
}


def require_files(folder: Path, names: Iterable[str] = tuple(SOURCES)) -> None:
    """Raise ModelUnavailable naming every file that `folder` lacks and where each comes from."""
    if not folder.is_dir():
        raise ModelUnavailable(f"DECA folder {folder} is not a directory", f"put {', '.join(names)} into one")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        wanted = "; ".join(f"{name}: {SOURCES[name]}" for name in missing)
        raise ModelUnavailable(f"{folder} lacks {', '.join(missing)}", f"get {wanted} (docs/deca.md)")


def load_flame(folder: Path, dtype: DTypeLike = np.float32) -> Flame:
    """Load the model in `folder`, arrays in `dtype`. Raises ModelUnavailable."""
    require_files(folder, (FLAME_MODEL, EMBEDDING, MASKS))
    raw = load_pickle(folder / FLAME_MODEL)
    template = _array(raw, "v_template", (None, 3), FLAME_MODEL, dtype)
    count = len(template)
    basis = _array(raw, "shapedirs", (count, 3, None), FLAME_MODEL, dtype)
    if basis.shape[2] < EXPRESSION_AT + N_EXPRESSION:
        raise _wrong(FLAME_MODEL, f"shapedirs has {basis.shape[2]} components, FLAME 2020 has 400")
    pose = _array(raw, "posedirs", (count, 3, 9 * (JOINTS - 1)), FLAME_MODEL, dtype)
    triangles = _array(raw, "f", (None, 3), FLAME_MODEL, np.int64)
    _require_indices(triangles, count, FLAME_MODEL, "f")
    tree = _array(raw, "kintree_table", (2, JOINTS), FLAME_MODEL, np.int64)
    parents = (-1, *(int(p) for p in tree[0, 1:]))
    if any(not 0 <= parent < j for j, parent in enumerate(parents) if j):
        raise _wrong(FLAME_MODEL, f"kintree_table gives the parents {parents}")
    if (folder / TEMPLATE_OBJ).is_file():
        triangles = _obj_triangles(folder / TEMPLATE_OBJ, count)
    embedding = _embedding(folder / EMBEDDING, len(triangles), dtype)
    mesh = _mesh(folder, template, triangles.astype(np.int32), embedding)
    return Flame(
        template=template,
        shape_basis=np.ascontiguousarray(basis[:, :, :N_SHAPE]),
        expression_basis=np.ascontiguousarray(basis[:, :, EXPRESSION_AT : EXPRESSION_AT + N_EXPRESSION]),
        pose_basis=pose,
        joint_regressor=_array(raw, "J_regressor", (JOINTS, count), FLAME_MODEL, dtype),
        parents=parents,
        weights=_array(raw, "weights", (count, JOINTS), FLAME_MODEL, dtype),
        mesh=mesh,
        embedding=embedding,
    )


def _mesh(folder: Path, template: NDArray, triangles: NDArray[np.int32], embedding: LandmarkEmbedding) -> MeshTopology:
    masks = load_pickle(folder / MASKS)
    regions = {}
    for name, indices in masks.items():
        index = np.asarray(indices)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise _wrong(MASKS, f"{name!r} is no list of vertices")
        _require_indices(index, len(template), MASKS, name)
        regions[name] = index.astype(np.int32)
    if not len(regions.get("face", ())):
        raise _wrong(MASKS, "it has no region 'face'")
    if (folder / FACE_TRIANGLES).is_file():
        chosen = _array(load_pickle(folder / FACE_TRIANGLES), "face", (None,), FACE_TRIANGLES, np.int64)
        _require_indices(chosen, len(triangles), FACE_TRIANGLES, "face")
        skin: NDArray[np.bool_] = np.zeros(len(triangles), bool)
        skin[chosen] = True
    else:
        skin = np.asarray(np.isin(triangles, regions["face"]).all(1), bool)
    if not skin.any():
        raise _wrong(MASKS, "region 'face' holds no whole triangle")
    for name, points in _LANDMARKS.items():
        regions[name] = np.unique(triangles[embedding.full_triangles[list(points)]]).astype(np.int32)
    regions["face_oval"] = outer_loop(template, triangles[skin])
    for name in ("lips", "nose"):
        regions.setdefault(name, regions["face"])
    return MeshTopology(
        name=f"flame-{len(template)}",
        neutral=(100 * template).astype(np.float32),
        triangles=triangles,
        skin_triangles=skin,
        regions=regions,
        hint_style="deca",
    )


def outer_loop(vertices: NDArray, triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """Vertices of the longest border of a surface (edges with one triangle): the rim, not the eye holes; sorted."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    border = unique[count == 1]
    if not len(border):
        return np.unique(triangles).astype(np.int32)
    label = {int(v): int(v) for v in np.unique(border)}

    def root(v: int) -> int:
        while label[v] != v:
            label[v] = label[label[v]]
            v = label[v]
        return v

    for a, b in border:
        label[root(int(a))] = root(int(b))
    loops: dict[int, float] = {}
    for a, b in border:
        length = float(np.linalg.norm(vertices[a] - vertices[b]))
        loops[root(int(a))] = loops.get(root(int(a)), 0.0) + length
    longest = max(loops, key=lambda v: loops[v])
    return np.array(sorted(v for v in label if root(v) == longest), np.int32)


def _embedding(path: Path, triangles: int, dtype: DTypeLike) -> LandmarkEmbedding:
    raw = load_object_npy(path)
    rows = 2 * MAX_CONTOUR_DEG + 1
    name = path.name
    out = LandmarkEmbedding(
        contour_triangles=_array(raw, "dynamic_lmk_faces_idx", (rows, 17), name, np.int64),
        contour_weights=_array(raw, "dynamic_lmk_bary_coords", (rows, 17, 3), name, dtype),
        inner_triangles=_array(raw, "static_lmk_faces_idx", (51,), name, np.int64),
        inner_weights=_array(raw, "static_lmk_bary_coords", (51, 3), name, dtype),
        full_triangles=_array(raw, "full_lmk_faces_idx", (68,), name, np.int64),
        full_weights=_array(raw, "full_lmk_bary_coords", (68, 3), name, dtype),
    )
    for key, index in (
        ("dynamic", out.contour_triangles),
        ("static", out.inner_triangles),
        ("full", out.full_triangles),
    ):
        _require_indices(index, triangles, name, f"{key}_lmk_faces_idx")
    return out


def _array(raw: dict[str, Any], key: str, shape: tuple[int | None, ...], file: str, dtype: DTypeLike) -> NDArray:
    """raw[key] in `dtype`; leading axes of length 1 beyond `shape` are dropped (DECA's full_lmk_* are [1,68,…])."""
    if key not in raw:
        raise _wrong(file, f"{key!r} is missing (it has {', '.join(sorted(map(str, raw)))[:200] or 'nothing'})")
    value = np.asarray(raw[key])
    if value.dtype.kind not in "biuf":
        raise _wrong(file, f"{key!r} holds {value.dtype}, not numbers")
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    if value.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, value.shape, strict=True)):
        wanted = "×".join("?" if n is None else str(n) for n in shape)
        raise _wrong(file, f"{key!r} has shape {'×'.join(map(str, value.shape)) or 'scalar'}, not {wanted}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise _wrong(file, f"{key!r} holds numbers that are not finite")
    # uint32 is FLAME's type for indices; its root's parent is 2³²−1 there, replaced by the caller.
    return np.ascontiguousarray(value.astype(dtype))


def _require_indices(index: NDArray, size: int, file: str, key: str) -> None:
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise _wrong(file, f"{key!r} points to {index.min()}…{index.max()} of {size}")


def _obj_triangles(path: Path, vertices: int) -> NDArray[np.int64]:
    """Triangles of a Wavefront file: `f a/… b/… c/…`, counted from 1."""
    try:
        faces = [line.split()[1:] for line in path.read_text("utf-8", "replace").splitlines() if line.startswith("f ")]
        out = np.array([[int(corner.split("/")[0]) - 1 for corner in face] for face in faces], np.int64)
    except (OSError, ValueError) as error:
        raise _wrong(path.name, f"it is no Wavefront mesh ({error})") from error
    if out.ndim != 2 or out.shape[1] != 3:
        raise _wrong(path.name, "its faces are no triangles")
    _require_indices(out, vertices, path.name, "f")
    return out


def _wrong(file: str, what: str) -> ModelUnavailable:
    source = SOURCES.get(file, "the LCVD authors' data folder")
    return ModelUnavailable(f"{file} does not fit: {what}", f"get it from {source} (docs/deca.md)")
