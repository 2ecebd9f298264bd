"""`relight data prepare` turns talking-head footage into sharded training data; this module runs it.

Each source is one job: read, cut into segments and clips, crop, hint, mask, score, and write one part with its record.
Parts become shards in the order of the plan (training.data.assembly). Finished work survives a crash; the result does
not depend on the number of workers, nor on how often the run was interrupted.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from training.data.assembly import FORMAT, INDEX, STATE, Assembly, part_path, record_path
from training.data.sample_files import encode
from training.data.shards import PartWriter, atomic_write, raise_disk_full, write_json
from training.errors import DataError, FootageError
from training.lock import folder_lock
from training.prepare.footage import PICTURES, Footage, Source, read_footage
from training.prepare.process_clip import Tools, make_tools, process_clip
from training.prepare.segments import SegmentCounts, raw_clips, span
from training.prepare.settings import PrepareSettings
from training.prepare.workers import Report, run_jobs

logger = logging.getLogger(__name__)
REPORT_EVERY = 16  # frames


class Job(NamedTuple):
    """Names one source of the plan."""

    number: int
    source: Source


@dataclass(slots=True)
class Progress:
    """Counts the progress of a run; `on_progress` gets it whenever it changes."""

    sources: int  # in the plan
    done: int  # finished sources, those of earlier runs included
    frames: int = 0  # of footage read in this run
    clips: int = 0  # written in this run
    rejected: int = 0  # sources without a clip, in this run


class Outcome(NamedTuple):
    """Holds the result of a finished run."""

    document: dict[str, Any]  # of index.json
    progress: Progress
    resumed: bool  # an earlier run had finished something of it


def prepare(
    sources: Sequence[Source],
    data: Path,
    settings: PrepareSettings,
    *,
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Prepares `sources` into the folder `data`, or continues there; `workers` processes, 0: in this one.

    Raises DataError where `data` holds something else, DiskFull, ModelUnavailable. Sources that cannot be used are
    listed in rejected.jsonl and are no error.
    """
    plan = plan_of(sources, settings)
    with raise_disk_full(data):
        data.mkdir(parents=True, exist_ok=True)
    with folder_lock(data):
        index = _finished(data, plan)
        if index is not None:
            progress = Progress(len(sources), len(sources))
            on_progress(progress)
            return Outcome(index, progress, resumed=True)
        resumed = _begin(data, plan)
        progress = Progress(len(sources), 0)
        assembly = Assembly(data, len(sources), settings.shard_bytes)
        jobs = [Job(n, source) for n, source in enumerate(sources) if not record_path(data, n).is_file()]
        progress.done = len(sources) - len(jobs)
        on_progress(progress)
        seen: dict[int, int] = {}

        def report(job: Job, frames: int) -> None:
            progress.frames += frames - seen.get(job.number, 0)
            seen[job.number] = frames
            on_progress(progress)

        def done(job: Job, record: dict[str, Any]) -> None:
            report(job, record["frames"])
            progress.done += 1
            progress.clips += len(record["samples"])
            progress.rejected += not record["samples"]
            assembly.advance()
            on_progress(progress)

        def died(job: Job, how: str) -> None:
            record = _record(job.source, 0, [_rejection(job.source, None, f"its worker process died twice ({how})")])
            write_json(record_path(data, job.number), record)
            done(job, record)

        run_jobs(jobs, SourcePreparer, (data, settings), workers, on_report=report, on_done=done, on_died=died)
        about = {"settings": settings.identity(), "plan_sha256": _sha256(plan), "versions": versions()}
        return Outcome(assembly.finish(about), progress, resumed)


def plan_of(sources: Sequence[Source], settings: PrepareSettings) -> dict[str, Any]:
    """Returns what identifies a run: the settings, and every source with its size."""
    rows = []
    for source in sources:
        row = asdict(source)
        row["path"] = source.path.name
        if source.path.is_dir():
            row["bytes"] = sum(1 for path in source.path.iterdir() if path.suffix.lower() in PICTURES)
        else:
            row["bytes"] = source.path.stat().st_size if source.path.exists() else -1
        rows.append(row)
    return {"format": FORMAT, "settings": settings.identity(), "sources": rows}


def versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the bytes of the data."""
    names = ("relight-live", "numpy", "opencv-python-headless", "av", "ai-edge-litert")
    out = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
    return out


class SourcePreparer:
    """A worker's handler: it writes a job's part and record to the disk and returns the record."""

    def __init__(self, data: Path, settings: PrepareSettings, tools: Tools | None = None) -> None:
        cv2.setNumThreads(1)  # a worker is one core's work
        self._data, self._settings = data, settings
        self._tools = make_tools(settings) if tools is None else tools

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        """Prepares one source. Raises DiskFull; a problem of the source itself is in the record."""
        number, source = job
        part = part_path(self._data, number)
        try:
            with atomic_write(part) as file:
                record = self._prepared(source, PartWriter(file), report)
        except DataError:
            raise
        except Exception as error:  # the worker's boundary: a bug that one video triggers must not end the run
            logger.exception("%s", source.path)
            with atomic_write(part) as file:
                PartWriter(file).end()
            reason = f"internal error: {type(error).__name__}: {error}"
            record = _record(source, 0, [_rejection(source, None, reason)])
        write_json(record_path(self._data, number), record)
        return record

    def _prepared(self, source: Source, part: PartWriter, report: Report) -> dict[str, Any]:
        settings, counts = self._settings, SegmentCounts()
        rejected: list[dict[str, Any]] = []
        clips = raw_clips(
            _reporting(read_footage(source), report),
            self._tools.tracker,
            counts,
            frames=settings.frames,
            rate=settings.rate,
            min_face_px=settings.min_face_px,
        )
        try:
            for raw in clips:
                group = f"{source.name}-{raw.segment:03d}"
                name = f"{group}-{raw.frames[0].number:06d}"
                clip = process_clip(raw, name, self._tools, settings)
                if isinstance(clip, str):
                    rejected.append(_rejection(source, name, clip))
                    continue
                clip.notes.update(source=source.name, file=source.path.name, layout=source.layout)
                part.add(name, group, encode(clip, settings.jpeg_quality))
                if len(part.entries) == settings.max_clips:
                    break
            if not part.entries and not rejected:
                rejected.append(_rejection(source, None, counts.reason(span(settings.frames, settings.rate))))
        except FootageError as error:
            rejected.append(_rejection(source, None, error.message, error.hint))
        part.end()
        return {
            **_record(source, counts.frames, rejected),
            "samples": [entry.as_json() for entry in part.entries],
        }


def _reporting(footage: Iterator[Footage], report: Report) -> Iterator[Footage]:
    for frame in footage:
        yield frame
        if frame.number % REPORT_EVERY == REPORT_EVERY - 1:
            report(frame.number + 1)


def _record(source: Source, frames: int, rejected: list[dict[str, Any]]) -> dict[str, Any]:
    return {"source": source.name, "frames": frames, "rejected": rejected, "samples": []}


def _rejection(source: Source, clip: str | None, reason: str, hint: str = "") -> dict[str, Any]:
    row = {"source": source.name, "file": source.path.name, "clip": clip, "reason": reason}
    return {**row, "hint": hint} if hint else row


def _finished(data: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the index of a finished run of this plan, or None. Raises DataError where it is of another plan."""
    path = data / INDEX
    if not path.is_file():
        return None
    try:
        index: dict[str, Any] = json.loads(path.read_text())
        same = index["plan_sha256"] == _sha256(plan)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise DataError(
            f"{data}: holds data of other videos or settings",
            "name another folder (training takes several), or delete this one",
        )
    shutil.rmtree(data / STATE, ignore_errors=True)  # a run was killed between writing the index and deleting its state
    return index


def _begin(data: Path, plan: dict[str, Any]) -> bool:
    """Makes the state folder, or checks that it belongs to this plan; returns True where an earlier run made it.

    Raises DataError.
    """
    path = data / STATE / "plan.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError:
            before = None
        if before != json.loads(json.dumps(plan)):
            raise DataError(
                f"{data}: an unfinished run of other videos or settings is here",
                f"give its command again to finish it, name another folder, or delete {data}",
            )
        for place in (data, data / STATE, data / STATE / "parts", data / STATE / "sealed"):
            for left in place.glob("*.tmp"):
                left.unlink(missing_ok=True)
        return True
    strangers = [entry.name for entry in data.iterdir() if entry.name != STATE]
    if strangers:
        raise DataError(f"{data}: is not empty ({strangers[0]} …)", "name a new or empty folder")
    with raise_disk_full(data):
        for name in ("parts", "sealed"):
            (data / STATE / name).mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return False


def _sha256(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
