"""A synthetic head with FLAME's file layout and a few hundred vertices: nothing of the licensed model is in it.

A latitude-longitude ellipsoid (0.09 × 0.12 × 0.10 m), smooth random blend shapes, joints regressed from a few
vertices, a jaw that moves the lower front. Written as FLAME 2020 is: chumpy arrays, a scipy.sparse regressor and numpy
arrays in one pickle; the landmark embedding as a .npy that holds a pickled dict.
"""

import pickle
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

ROWS, COLUMNS = 18, 28
RADII = np.array([0.09, 0.12, 0.10])
PARENTS = (-1, 0, 1, 1, 1)


def raw_model(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of generic_model.pkl, float64."""
    rng = np.random.default_rng(seed)
    lat = np.linspace(np.pi, 0, ROWS + 2)[1:-1]  # from the chin up
    lon = np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    ring = np.stack(
        [
            np.outer(np.sin(lat), np.sin(lon)),
            np.repeat(np.cos(lat)[:, None], COLUMNS, 1),
            np.outer(np.sin(lat), np.cos(lon)),
        ],
        -1,
    )
    unit = np.concatenate([ring.reshape(-1, 3), [[0, -1, 0], [0, 1, 0]]])
    count = len(unit)
    triangles = []
    for i in range(ROWS - 1):
        for j in range(COLUMNS):
            a, b = i * COLUMNS + j, i * COLUMNS + (j + 1) % COLUMNS
            c, d = a + COLUMNS, b + COLUMNS
            triangles += [[a, b, d], [a, d, c]]
    for j in range(COLUMNS):
        k, top = (j + 1) % COLUMNS, (ROWS - 1) * COLUMNS
        triangles += [[count - 2, k, j], [count - 1, top + j, top + k]]
    # Blend shapes: low-order polynomials of the place, so that they are smooth.
    x, y, z = unit.T
    terms = np.stack([x, y, z, x * y, y * z, x * z, x * x, y * y, z * z, np.ones(count)], 1)
    shapes = np.einsum("vt,tcs->vcs", terms, rng.normal(0, 2e-4, (10, 3, 400)))
    regressor = np.zeros((5, count))
    for j, (centre, radius) in enumerate(
        [
            ([0, -1, -0.2], 0.6),
            ([0, -0.8, -0.2], 0.6),
            ([0, -0.2, 0.1], 0.9),
            ([0.4, 0.3, 0.8], 0.5),
            ([-0.4, 0.3, 0.8], 0.5),
        ]
    ):
        near = np.exp(-((unit - centre) ** 2).sum(1) / radius**2 * 4)
        near[near < 0.1 * near.max()] = 0
        regressor[j] = near / near.sum()
    weights = np.zeros((count, 5))
    weights[:, 2] = np.clip(-2 * y, 0, 1) * np.clip(2 * z, 0, 1)  # jaw: low and in front
    weights[:, 0] = (1 - weights[:, 2]) * np.clip(-y, 0, 1)
    weights[:, 1] = 1 - weights.sum(1)
    return {
        "v_template": unit * RADII,
        "f": np.array(triangles, np.uint32),
        "shapedirs": shapes,
        "posedirs": rng.normal(0, 1e-3, (count, 3, 36)),
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(5)], np.uint32),
        "weights": weights,
    }


def raw_embedding(triangles: np.ndarray, template: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of landmark_embedding.npy, on triangles of the front."""
    rng = np.random.default_rng(seed)
    front = np.flatnonzero(template[triangles].mean(1)[:, 2] > 0.04)

    def weights(*shape: int) -> np.ndarray:
        return rng.dirichlet(np.ones(3), shape)

    return {
        "static_lmk_faces_idx": rng.choice(front, 51),
        "static_lmk_bary_coords": weights(51),
        "dynamic_lmk_faces_idx": rng.choice(front, (79, 17)),
        "dynamic_lmk_bary_coords": weights(79, 17),
        "full_lmk_faces_idx": rng.choice(front, (1, 68)),
        "full_lmk_bary_coords": weights(1, 68),
    }


def raw_masks(template: np.ndarray) -> dict[str, np.ndarray]:
    """The lists of FLAME_masks.pkl: a face with two eye holes, in front."""
    x, y, z = (template / RADII).T
    eyes = ((np.abs(x) - 0.4) ** 2 + (y - 0.3) ** 2 < 0.18**2) & (z > 0)
    face = (z > 0.1) & ~eyes
    return {
        "face": np.flatnonzero(face),
        "lips": np.flatnonzero(face & (np.abs(y + 0.4) < 0.15) & (np.abs(x) < 0.35)),
        "nose": np.flatnonzero(face & (np.abs(y) < 0.2) & (np.abs(x) < 0.2)),
        "left_eyeball": np.flatnonzero(eyes & (x > 0)),
    }


@contextmanager
def foreign_modules():
    """Stand-in `chumpy.ch` and `scipy.sparse.csc` modules, so that pickles can name their classes without them."""
    names = {"chumpy": [], "chumpy.ch": ["Ch"], "chumpy.reordering": ["Select"], "scipy.sparse.csc": ["csc_matrix"]}
    before = {name: sys.modules.get(name) for name in names}
    try:
        for name, classes in names.items():
            module = ModuleType(name)
            for cls in classes:
                made = type(cls, (), {"__module__": name, "__qualname__": cls})
                setattr(module, cls, made)
            sys.modules[name] = module
        yield sys.modules
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def with_state(cls: type, **state: object) -> object:
    """An instance of `cls` that pickles as `state`."""
    out = cls()
    out.__dict__.update(state)
    return out


def csc_state(dense: np.ndarray) -> dict[str, object]:
    """scipy's attributes of a csc_matrix."""
    columns, rows = np.nonzero(dense.T)
    pointer = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=dense.shape[1]))])
    return {
        "_shape": dense.shape,
        "data": dense[rows, columns],
        "indices": rows.astype(np.int32),
        "indptr": pointer.astype(np.int32),
        "maxprint": 50,
    }


def write_folder(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Write the FLAME files (not deca_model.tar) into `folder`; returns the raw model."""
    raw = raw_model(seed)
    with foreign_modules() as modules:
        ch, csc = modules["chumpy.ch"].Ch, modules["scipy.sparse.csc"].csc_matrix
        saved = {
            **raw,
            "shapedirs": with_state(ch, x=raw["shapedirs"], dterms=["x"]),
            "v_template": with_state(ch, x=raw["v_template"]),
            "J_regressor": with_state(csc, **csc_state(raw["J_regressor"])),
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        }
        (folder / "generic_model.pkl").write_bytes(pickle.dumps(saved, 2))
    triangles = raw["f"].astype(np.int64)
    np.save(folder / "landmark_embedding.npy", raw_embedding(triangles, raw["v_template"]), allow_pickle=True)
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(raw_masks(raw["v_template"]), 2))
    return raw
