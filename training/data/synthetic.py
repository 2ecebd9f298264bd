"""SyntheticClips yields rendered heads as TrainingClips, in an order that (seed, position) alone decides.

Each head is filmed under two lights, so a share of the clips can show the reference under one light and the frames
under another, with ground truth for both. Seeds for training and for held-out checks lie in disjoint ranges. This
module does not need torch.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import ClipStream
from training.data.sample import TrainingClip
from training.errors import DataError
from training.heads import HeadClip, head_clip
from training.heads.scanned.facekit import FaceKit, load_facekit
from training.heads.scanned.head import scanned_head_clip

logger = logging.getLogger(__name__)

HELD_OUT = 2**31  # seeds below are for training, from here on for checks
_CHANNELS = 13  # rgb, relit, hints, target hints, mask


@dataclass(frozen=True, slots=True)
class HeadSource:
    """Renders heads of consecutive seeds, once where a cache folder is given. Safe for several threads and processes.

    The heads are drawn ones, or with `facekit` scanned ones. Raises DataError where training and held-out seeds would
    overlap.
    """

    heads: int
    first: int = 0
    frames: int = 16
    size: int = 128
    cache: Path | None = None
    cache_bytes: int = 4 * 2**30
    facekit: Path | None = None  # file of ICT-FaceKit

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise DataError(f"heads is {self.heads}", "give at least 1")
        if self.first < HELD_OUT < self.first + self.heads:
            raise DataError(
                f"heads {self.first} … {self.first + self.heads - 1} reach into the held-out ones",
                f"training uses seeds below {HELD_OUT}",
            )

    def pictures(self, index: int) -> NDArray[np.uint8]:
        """Returns [F,S,S,13] of head `index`: rgb, relit, hints, target hints, mask.

        The array may be a read-only memory map of the cache. Raises DataError where the kit cannot be read.
        """
        seed = self.first + index
        if self.cache is None:
            return self._film(seed)
        path = self.cache / f"{'scanned-' if self.facekit else ''}{seed}-{self.frames}x{self.size}.npy"
        try:
            stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
            if stored.shape != (self.frames, self.size, self.size, _CHANNELS) or stored.dtype != np.uint8:
                raise ValueError(f"{stored.dtype} {stored.shape}")
            return stored
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s: rendered again (%s)", path, error)
        made = self._film(seed)
        # Decided by the head's number, so that every start and every process caches the same heads.
        if index < self.cache_bytes // made.nbytes:
            self._store(path, made)
        return made

    def _film(self, seed: int) -> NDArray[np.uint8]:
        if self.facekit is None:
            return _stacked(head_clip(seed, self.frames, self.size))
        return _stacked(scanned_head_clip(_kit(self.facekit), seed, self.frames, self.size))

    def _store(self, path: Path, made: NDArray[np.uint8]) -> None:
        part = path.with_name(f"{path.stem}.{os.getpid()}-{id(made)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.save(file, made)
            part.replace(path)
        except OSError as error:  # the cache is optional: the picture is returned all the same
            part.unlink(missing_ok=True)
            logger.warning("%s: not kept (%s)", path, error.strerror or error)


def renderer(heads: HeadSource) -> Callable[[range, Callable[[int], None]], None]:
    """Returns a job handler for `training.prepare.workers` that puts the job's heads into the cache.

    It is defined here so that a worker does not have to load torch.
    """

    def render(job: range, report: Callable[[int], None]) -> None:
        for index in job:
            heads.pictures(index)

    return render


class SyntheticHeads:
    """Provides clips of rendered heads by number, as ClipDataset does of footage. Raises DataError."""

    def __init__(
        self,
        source: HeadSource,
        frames: int,  # of a clip, reference included; at most the source's
        relit_pairs: float = 0.5,  # share whose reference stands under the other light
    ) -> None:
        if not 2 <= frames <= source.frames:
            raise DataError(f"frames is {frames}", f"heads are filmed for {source.frames} frames: give 2…that")
        self.source, self.frames, self.relit_pairs = source, frames, relit_pairs
        self.places = range(source.first, source.first + source.heads)
        about = f"{source.heads} {source.first} {source.frames} {source.size} {frames} {relit_pairs}"
        self.fingerprint = f"{'scanned ' if source.facekit else ''}heads {about}"

    @property
    def size(self) -> int:
        """Returns the side of the pictures, px."""
        return self.source.size

    def __len__(self) -> int:
        return self.source.heads

    def load(self, index: int, rng: np.random.Generator) -> TrainingClip:
        """Returns a clip of head `index`; `rng` draws the reference, the start, and which light falls on which part."""
        side = int(rng.integers(2))
        pair = bool(rng.random() < self.relit_pairs)
        reference = int(rng.integers(self.source.frames))
        start = int(rng.integers(self.source.frames - self.frames + 1))
        return self.clip(index, side, pair, reference, start)

    def clip(self, index: int, side: int, pair: bool, reference: int, start: int = 0) -> TrainingClip:
        """Returns frames `start` + 1 … of head `index` under light `side`.

        The reference stands under the other light (`pair`) or the same one.
        """
        pictures = self.source.pictures(index)
        anchor, rows = pictures[reference][None], pictures[start + 1 : start + self.frames]
        other = 1 - side if pair else side
        frames, hints = (
            np.concatenate([anchor[..., 3 * a : 3 * a + 3], rows[..., 3 * b : 3 * b + 3]])
            for a, b in ((other, side), (2 + other, 2 + side))
        )
        masks = np.concatenate([anchor[..., 12], rows[..., 12]])
        name = f"head{self.places[index]}-{start}-{reference}{'ab'[other]}{'ab'[side]}"
        return TrainingClip(frames, hints, masks, frames[0], name)


class SyntheticClips(ClipStream):
    """A ClipStream over rendered heads; `threads` render ahead."""

    def __init__(
        self,
        source: HeadSource,
        *,
        frames: int,
        seed: int,
        relit_pairs: float = 0.5,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        threads: int = 0,
    ) -> None:
        heads = SyntheticHeads(source, frames, relit_pairs)
        super().__init__(heads, seed=seed, rank=rank, world=world, shuffle=shuffle, threads=threads)


@lru_cache(1)
def _kit(path: Path) -> FaceKit:
    return load_facekit(path)


def _stacked(clip: HeadClip) -> NDArray[np.uint8]:
    mask = np.rint(clip.masks * 255).astype(np.uint8)[..., None]
    stacked = np.concatenate([clip.rgb, clip.relit, clip.hints, clip.target_hints, mask], axis=3)
    assert stacked.shape[3] == _CHANNELS
    return stacked
