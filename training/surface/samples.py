"""Samples holds stored samples in memory, takes in new files while they are rendered, and gives batches of them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.errors import DataError
from training.heads.scanned.parts import Part

FIELDS = ("rgb", "mesh", "mask", "normal", "light", "part", "cover")
# Hair is made of ribbons whose own normals no light of order 2 tells apart and no network can see: what is to be
# learned is their mean over about a centimetre.
HAIR_BLUR_PX = 2.0
ALL_OF_IT = slice(None), slice(None)


class Samples:
    """Holds the samples of some files."""

    def __init__(self, paths: list[Path]) -> None:
        if not paths:
            raise DataError("no samples (*.npz) there", "make them with `relight surface train`")
        self._paths: set[Path] = set()
        # File by file: one array of all of them would have to be copied, twice as large, whenever one is taken in.
        self._files: list[dict[str, Tensor]] = []
        self._ends = torch.zeros(0, dtype=torch.long)
        self.take(paths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, paths: list[Path]) -> None:
        """Adds the samples of those files that it has not got yet."""
        for path in (path for path in paths if path not in self._paths):
            with np.load(path, allow_pickle=False) as stored:
                columns = {name: stored[name] for name in FIELDS}
            columns["smooth"] = smoothed(columns["normal"], columns["part"], columns["cover"])
            self._files.append({name: torch.from_numpy(values) for name, values in columns.items()})
            self._paths.add(path)
        self._ends = torch.tensor([len(file["rgb"]) for file in self._files]).cumsum(0)

    def batch(self, index: Tensor, window: tuple[slice, slice] = ALL_OF_IT) -> dict[str, Tensor]:
        """Returns float32 tensors [B,C,H,W] of the samples of `index`; `smooth` is `normal` with smooth hair.

        `window` says which rows and columns.
        """
        files = torch.searchsorted(self._ends, index, right=True)
        places = list(zip(files.tolist(), (index - self._ends[files]).tolist(), strict=True))  # negative: from the end
        names = (*FIELDS, "smooth")
        taken = {name: torch.stack([self._files[f][name][k][window] for f, k in places]) for name in names}
        return {
            "rgb": taken["rgb"].permute(0, 3, 1, 2).float() / 127.5 - 1,
            "mesh": taken["mesh"].permute(0, 3, 1, 2).float() / 127,
            "mask": taken["mask"][:, None].float() / 127.5 - 1,
            "normal": taken["normal"].permute(0, 3, 1, 2).float() / 127,
            "smooth": taken["smooth"].permute(0, 3, 1, 2).float() / 127,
            "light": taken["light"].permute(0, 3, 1, 2).float(),
            "part": taken["part"][:, None],
            "cover": taken["cover"][:, None].float() / 255,
        }


def smoothed(normal: NDArray[np.int8], part: NDArray[np.uint8], cover: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Returns normals [N,S,S,3] · 127 whose hair is blurred within itself; `part` and `cover` are [N,S,S]."""
    out = normal.copy()
    for n in range(len(normal)):
        hair = (part[n] == Part.HAIR) & (cover[n] > 127)
        if not hair.any():
            continue
        blurred = cv2.GaussianBlur(normal[n] * hair[..., None].astype(np.float32), (0, 0), HAIR_BLUR_PX)
        length = np.maximum(np.linalg.norm(blurred, axis=2, keepdims=True), 1e-3)
        out[n][hair] = np.round(127 * blurred / length)[hair].astype(np.int8)
    return out
