"""ClipDataset and ClipStream read prepared folders as TrainingClips in an order that (seed, position) alone decides.

Index 0 of a clip is the reference: a random frame of the same segment, of any of its samples (LCVD trains so: "index 0
replaced by a random frame of the clip"). A sample that cannot be read is reported by name and replaced by the next in
order, so that all processes stay in step. This module does not need torch; the shards are ordinary WebDataset tars.
"""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from training.data.assembly import FORMAT, INDEX
from training.data.sample import TrainingClip
from training.data.sample_files import frame_of, hint_of, mask_of
from training.data.shards import Entry, entry_from_json, read_sample
from training.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Names a sample and the tar shard that holds it."""

    tar: Path
    entry: Entry

    def __str__(self) -> str:
        return f"{self.tar}, sample {self.entry.name}"


class ClipSource(Protocol):
    """Provides a finite number of clips: prepared folders here, rendered heads in `training.data.synthetic`."""

    @property
    def fingerprint(self) -> str: ...  # changes when the data does

    @property
    def places(self) -> Sequence[object]: ...  # str() of each names the sample and its file

    def __len__(self) -> int: ...

    def load(self, index: int, rng: np.random.Generator) -> TrainingClip: ...


class ClipDataset:
    """Reads every sample of one or several prepared folders. It is safe for several threads.

    Raises DataError where a folder has no index (its preparation is not finished) or folders differ in shape.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.places: list[Place] = []
        self._groups: dict[str, list[int]] = {}
        digest = hashlib.sha256()
        shapes: dict[tuple[int, int], Path] = {}
        for number, folder in enumerate(folders):
            index = read_index(folder)
            shapes[int(index["settings"]["frames"]), int(index["settings"]["size"])] = folder
            for shard in index["shards"]:
                digest.update(str(shard["sha256"]).encode())
                for row in shard["samples"]:
                    entry = entry_from_json(row)
                    # Two folders may both hold a video called 1.mp4, so the folder's number is part of the group.
                    self._groups.setdefault(f"{number}/{entry.group}", []).append(len(self.places))
                    self.places.append(Place(folder / shard["file"], entry))
        if not self.places:
            raise DataError(f"no sample in {', '.join(map(str, folders)) or 'no folder'}", "relight data prepare")
        if len(shapes) > 1:
            found = "; ".join(f"{folder}: {frames} frames of {size} px" for (frames, size), folder in shapes.items())
            raise DataError(f"the folders differ: {found}", "prepare them with the same --frames and --size")
        ((self.frames, self.size),) = shapes
        self.fingerprint = digest.hexdigest()
        self._folders = ", ".join(map(str, folders))
        # Samples of a group follow each other, so the groups in order give each sample its own group.
        self._group_of = [group for group in self._groups.values() for _ in group]
        assert [i for group in self._groups.values() for i in group] == list(range(len(self.places)))

    def expect(self, frames: int, size: int) -> None:
        """Raises ConfigError where the samples have another shape than the configuration says."""
        if (self.frames, self.size) != (frames, size):
            raise ConfigError(
                f"data.frames {frames} and data.size {size}: {self._folders} "
                f"hold {self.frames} frames of {self.size} px",
                f"set data.frames = {self.frames} and data.size = {self.size}, or prepare the data again",
            )

    def __len__(self) -> int:
        return len(self.places)

    def load(self, index: int, rng: np.random.Generator) -> TrainingClip:
        """Returns sample `index` with a reference drawn by `rng`. Raises DataError naming the shard and the sample."""
        group = self._group_of[index]
        drawn = int(rng.integers(len(group) * self.frames))
        other, at = group[drawn // self.frames], drawn % self.frames
        files = self._files(index)
        origin = files if other == index else self._files(other)
        try:
            frames = np.stack([frame_of(origin, at), *(frame_of(files, i) for i in range(1, self.frames))])
            hints = np.stack([hint_of(origin, at), *(hint_of(files, i) for i in range(1, self.frames))])
            masks = np.stack([mask_of(origin, at), *(mask_of(files, i) for i in range(1, self.frames))])
            return TrainingClip(frames, hints, masks, frames[0], self.places[index].entry.name)
        except (DataError, ValueError) as error:
            raise DataError(f"{self.places[index]}: {error}", "prepare it again") from None

    def _files(self, index: int) -> dict[str, bytes]:
        place = self.places[index]
        try:
            return read_sample(place.tar, place.entry)
        except DataError as error:
            raise DataError(f"{place}: {error.message}", "relight data verify lists what is damaged") from None


class ClipStream:
    """Iterates without end over the clips of process `rank` of `world`, in a new permutation each epoch.

    The slots of the order are dealt to the processes in turn, so 2 processes together see what 1 would see by itself.
    `threads` read that many clips ahead; the position counts clips handed out, so a restart loses nothing that was read
    ahead. `problems` lists what could not be read.
    """

    def __init__(
        self, dataset: ClipSource, *, seed: int, rank: int = 0, world: int = 1, shuffle: bool = True, threads: int = 0
    ) -> None:
        if not 0 <= rank < world:
            raise DataError(f"rank {rank} of world {world}", "ranks count from 0 to world − 1")
        self.dataset, self.seed, self.rank, self.world, self.shuffle = dataset, seed, rank, world, shuffle
        self.problems: dict[str, str] = {}  # sample → reason
        self._position = 0  # clips this process handed out
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._pool = ThreadPoolExecutor(threads, "relight-clips") if threads else None
        self._threads = threads
        self._ahead: deque[Future[TrainingClip]] = deque()

    def __iter__(self) -> Iterator[TrainingClip]:
        return self

    def __next__(self) -> TrainingClip:
        """Returns the next clip. Raises DataError only when no sample at all can be read."""
        if self._pool is None:
            clip = self._at(self._position)
        else:
            while len(self._ahead) < self._threads:
                self._ahead.append(self._pool.submit(self._at, self._position + len(self._ahead)))
            clip = self._ahead.popleft().result()
        self._position += 1
        return clip

    @property
    def epoch(self) -> float:
        """Returns how often the whole data was handed out, over all processes."""
        return self._position * self.world / len(self.dataset)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position as JSON; it is equal in every process when all have handed out equally many."""
        return {
            "seed": self.seed,
            "slots": self._position * self.world,
            "shuffle": self.shuffle,
            "fingerprint": self.dataset.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where `state` was taken, also with another number of processes. Raises DataError."""
        if state["fingerprint"] != self.dataset.fingerprint:
            raise DataError("the training data is not the one this run began with", "give the same data folders")
        for name, mine in (("seed", self.seed), ("shuffle", self.shuffle)):
            if state[name] != mine:
                raise DataError(f"{name} is {mine}, the run began with {state[name]}", f"set {name} to that")
        if state["slots"] % self.world:
            raise DataError(
                f"{state['slots']} clips were used, which {self.world} processes cannot have done evenly",
                "go on with the number of processes the run began with",
            )
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._position = state["slots"] // self.world

    def close(self) -> None:
        """Ends the reading threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, position: int) -> TrainingClip:
        slot = position * self.world + self.rank
        epoch, first = divmod(slot, len(self.dataset))
        order = self._order(epoch)
        for step in range(len(order)):
            index = int(order[(first + step) % len(order)])
            try:
                return self.dataset.load(index, np.random.default_rng([self.seed, slot, index]))
            except DataError as error:
                name = str(self.dataset.places[index])
                if name not in self.problems:
                    self.problems[name] = error.message
                    logger.warning("skipped: %s", error.message)
        raise DataError("no sample of the training data can be read", "; ".join(list(self.problems.values())[:3]))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
            # Reading ahead crosses from one epoch into the next, so both orders are kept.
            self._orders = {key: value for key, value in self._orders.items() if key >= epoch - 1} | {epoch: order}
        return order


def read_index(folder: Path) -> dict[str, Any]:
    """Returns index.json of a prepared folder. Raises DataError."""
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{folder}: has no {INDEX}", "finish it with relight data prepare") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})", "prepare the data again") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(f"{path}: is not an index of this version ({FORMAT})", "prepare the data again")
    return index


def verify(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yields (shard, what is wrong with it or None) for every shard, by its SHA-256.

    Raises DataError where the folder has no index.
    """
    for shard in read_index(folder)["shards"]:
        path = folder / shard["file"]
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield shard["file"], f"cannot be read ({error.strerror})"
            continue
        if digest == shard["sha256"]:
            yield shard["file"], None
            continue
        bad = []
        for row in shard["samples"]:
            try:
                read_sample(path, entry_from_json(row))
            except DataError:
                bad.append(row["name"])
        yield shard["file"], f"holds other bytes than were written; damaged samples: {', '.join(bad) or 'none'}"
