"""store_samples renders people in several processes and keeps their samples in files of SHARD people each.

A file is written whole or not at all, so an interrupted run goes on where it stopped.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.heads.scanned.facekit import FaceKit, load_facekit
from training.surface.sample import SurfaceSample, surface_samples

SHARD = 100  # people
_kits: dict[Path, FaceKit] = {}  # of this process


def store_samples(
    kit: Path, folder: Path, people: int, workers: int, on_shard: Callable[[int, int], None] = lambda done, of: None
) -> None:
    """Renders the people 0 … `people` − 1 into `folder`. Raises DataError."""
    load_facekit(kit)  # a wrong file is told before any process starts
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, people, SHARD)
    on_shard(0, len(starts))
    # A fresh interpreter for each: a fork would copy threads of networks and numba that are not its own.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = [pool.submit(_shard, kit, folder, start, min(start + SHARD, people)) for start in starts]
        for done, job in enumerate(jobs, 1):
            job.result()
            on_shard(done, len(starts))


def _shard(kit: Path, folder: Path, begin: int, end: int) -> None:
    path = folder / f"{begin:06d}.npz"
    if path.exists():
        return
    if kit not in _kits:
        _kits[kit] = load_facekit(kit)
    samples = list(surface_samples(_kits[kit], range(begin, end)))
    if not samples:
        raise DataError(
            f"no face was found in the pictures of people {begin}…{end - 1}", "look at them: is it the kit?"
        )
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        columns: Any = {name: np.stack([getattr(s, name) for s in samples]) for name in SurfaceSample._fields}
        np.savez(file, **columns)
    os.replace(part, path)
