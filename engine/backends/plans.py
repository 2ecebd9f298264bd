"""Plans on disk: a network made ready for one runtime at one static shape, kept until anything it depends on changes.

A plan is a folder: the runtime's files and `plan.json` (key, sha256 of each file, verification). Its name is a digest
of the whole key, so a plan for other weights, another TensorRT or another GPU is never opened by mistake, and several
may stand side by side. It is written beside and renamed when whole: killed at any moment, no half plan is left.
Needs no torch, so that plans can be listed anywhere.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import EngineUnavailable

RECIPE = 1  # raise it when the way networks are cut out or exported changes
RECORD = "plan.json"
EXPORT = "export"  # runtime of an ONNX file kept so that an interrupted build goes on from it
_DRAFT = ".draft-"


class PlanMissing(EngineUnavailable):
    """There is no plan for this network and shape."""


class PlanMismatch(EngineUnavailable):
    """There is a plan, but for other weights, another version or another device, or its files are damaged."""


class PlanRefused(EngineUnavailable):
    """A fresh plan differs too much from the eager network."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All a plan depends on. The first five say what it is for, the others whether it fits."""

    module: str  # unet, decoder, decoder-tiny, shading
    inputs: tuple[tuple[str, tuple[int, ...]], ...]  # name and static shape of each
    precision: str  # fp32, fp16, bf16, fp8
    dtype: str  # of the tensors, and of what fp8 leaves alone
    runtime: str
    weights: str  # digest of LcvdModel.identity
    runtime_version: str
    arch: str  # GPU: sm_90 and its name; CPU: its instruction set
    torch: str
    diffusers: str
    recipe: int = RECIPE

    @property
    def stem(self) -> str:
        """A readable name of its purpose; the same for every plan that could stand in its place."""
        shape = "x".join(map(str, self.inputs[0][1]))
        precision = self.precision if self.precision == self.dtype else f"{self.precision}-{self.dtype}"
        return f"{self.module}-{shape}-{precision}-{self.runtime}"

    @property
    def name(self) -> str:
        """Folder name: the same key always gives the same one."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def differences(self, here: "PlanKey") -> list[str]:
        """Each field in which the plan's key is not `here`, in words."""
        return [
            f"{field.name} is {getattr(self, field.name)!r}, here it is {getattr(here, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(here, field.name)
        ]


@dataclass(frozen=True, slots=True)
class Verification:
    """A plan against the eager network on a fixed window; errors of the output as it leaves the network."""

    cosine: float  # smallest over the cases
    max_error: float  # largest |plan - eager|
    peak: float  # largest |eager|
    min_cosine: float  # what was asked for
    max_relative: float  # of max_error / peak

    @property
    def passed(self) -> bool:
        """False also where anything is not a number."""
        return self.cosine >= self.min_cosine and self.max_error <= self.max_relative * self.peak

    def __str__(self) -> str:
        return (
            f"cosine {self.cosine:.6f} (at least {self.min_cosine}), "
            f"max error {self.max_error:.3g} of {self.peak:.3g} (at most {self.max_relative:.0%})"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A finished plan, as its record says."""

    key: PlanKey
    folder: Path
    files: dict[str, str]  # name → sha256
    bytes: int
    built_at_s: float  # since the epoch
    build_s: float
    verification: Verification | None  # None: an export

    def check(self) -> None:
        """Raises PlanMismatch naming a file that is not the one that was built."""
        for name, expected in self.files.items():
            path = self.folder / name
            found = sha256_of_file(path) if path.is_file() else "missing"
            if found != expected:
                raise PlanMismatch(
                    f"plan {self.folder.name}: sha256 of {name} is {found[:12]}, its record says {expected[:12]}",
                    f"relight engine clear {self.folder.name}, then build again",
                )


class PlanStore:
    """The folder of all plans. Any number of processes may read; one at a time builds a plan."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(platformdirs.user_cache_dir("relight-live")) / "plans"

    def find(self, key: PlanKey) -> Plan:
        """The plan of exactly this key, its files checked. Raises PlanMissing or PlanMismatch (which field, how)."""
        folder = self.root / key.name
        if folder.is_dir():
            plan = read_plan(folder)
            if differences := plan.key.differences(key):
                raise PlanMismatch(f"plan {folder.name}: {'; '.join(differences)}", "relight engine clear, then build")
            plan.check()
            return plan
        near = sorted(
            (plan.key.differences(key) for plan in self.plans() if plan.key.stem == key.stem), key=lambda d: len(d)
        )
        if near:
            raise PlanMismatch(f"plan {key.stem} was built for something else: {'; '.join(near[0])}")
        raise PlanMissing(f"there is no plan {key.stem} in {self.root}")

    def plans(self) -> list[Plan]:
        """Every plan whose record can be read, oldest first; files are not checked."""
        found = []
        for folder in self.folders():
            try:
                found.append(read_plan(folder))
            except PlanMismatch:
                continue
        return sorted(found, key=lambda plan: plan.built_at_s)

    def folders(self) -> list[Path]:
        """Folders of plans, readable or not; drafts are none."""
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def remove(self, folder: Path) -> None:
        """Delete a plan: first its name, then its files, so that nobody finds half of it."""
        grave = self.root / f"{_DRAFT}{folder.name}-removed-{os.getpid()}"
        os.replace(folder, grave)
        shutil.rmtree(grave)

    @contextmanager
    def writing(self, key: PlanKey) -> Iterator["Draft"]:
        """A folder to build in, under the key's lock; `Draft.finish` makes it a plan, leaving without deletes it.

        Waits while another process builds the same plan. Drafts that a killed one left are deleted.
        """
        from filelock import FileLock  # torch brings it

        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{key.name}.lock"):
            for left in self.root.glob(f"{_DRAFT}{key.name}-*"):  # their process is dead: we hold its lock
                shutil.rmtree(left)
            folder = self.root / f"{_DRAFT}{key.name}-{os.getpid()}"
            folder.mkdir()
            try:
                yield Draft(key, folder, self.root / key.name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


class Draft:
    """A plan under construction."""

    def __init__(self, key: PlanKey, folder: Path, target: Path) -> None:
        self.key, self.folder, self._target = key, folder, target
        self._started_s = time.time()

    def finish(self, verification: Verification | None) -> Plan:
        """Write the record and put the folder in its place, replacing what stood there."""
        now_s = time.time()
        files = {path.name: path for path in sorted(self.folder.iterdir())}
        plan = Plan(
            self.key,
            self._target,
            {name: sha256_of_file(path) for name, path in files.items()},
            sum(path.stat().st_size for path in files.values()),
            now_s,
            now_s - self._started_s,
            verification,
        )
        write_record(plan, self.folder)
        if self._target.is_dir():
            shutil.rmtree(self._target)
        os.replace(self.folder, self._target)
        return plan


def write_record(plan: Plan, folder: Path) -> None:
    """`plan.json`, flushed to the disk before anyone may see it."""
    record = asdict(plan)
    del record["folder"]
    partial = folder / f".{RECORD}"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / RECORD)


def read_plan(folder: Path) -> Plan:
    """The plan of a folder by its record. Raises PlanMismatch where that cannot be read."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        key = record["key"]
        key["inputs"] = tuple((name, tuple(shape)) for name, shape in key["inputs"])
        seen = record["verification"]
        return Plan(
            PlanKey(**key),
            folder,
            dict(record["files"]),
            int(record["bytes"]),
            float(record["built_at_s"]),
            float(record["build_s"]),
            None if seen is None else Verification(**seen),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PlanMismatch(
            f"plan {folder.name}: its record is not readable ({error})",
            f"relight engine clear {folder.name}, then build again",
        ) from error


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
