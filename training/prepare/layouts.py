"""This module finds the footage below the given paths, in a fixed order: plain videos, CelebV-HQ, VFHQ and HDTF.

CelebV-HQ  celebvhq_info.json (clips: ytb_id, duration, bbox in [0,1]); KEY.mp4 cut already, or YTB_ID.mp4 whole
VFHQ       Clip+VIDEO+P0+C0+F10-90/ full of png, or that name as .mp4, or VIDEO.mp4 whole beside that name as .txt
HDTF       XX_annotion_time.txt (sic), XX_crop_wh.txt, XX_resolution.txt; NAME_0.mp4 cut already, or NAME.mp4 whole
Videos may lie anywhere below the folder. A clip of a list whose video is missing is counted and is no error.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.errors import DataError
from training.prepare.footage import FOLDER_FPS, PICTURES, Box, Source

LAYOUTS = ("auto", "videos", "celebv-hq", "vfhq", "hdtf")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".flv", ".ts")
CELEBV_INFO = "celebvhq_info.json"
CELEBV_MARGIN = 0.02  # by which the authors' script widens each box
HDTF_TIMES = "_annotion_time.txt"
MAX_NAME = 60  # of a source: keys of samples stay within tar's 100 bytes


@dataclass(slots=True)
class ScanResult:
    """Lists the footage that the paths hold."""

    sources: list[Source] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # names of listed clips without footage


def find_sources(paths: Sequence[Path], layout: str = "auto") -> ScanResult:
    """Returns every source below `paths`, in the order of `paths` and then of names, each under a unique name.

    Raises DataError where a path does not exist, holds no footage, or does not have the layout asked for.
    """
    found = ScanResult()
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: does not exist", "check the path")
        before = len(found.sources)
        if path.is_file():
            if path.suffix.lower() not in VIDEOS:
                raise DataError(f"{path}: unknown kind of file", f"videos end in {', '.join(VIDEOS)}")
            found.sources.append(Source(path.stem, path))
        else:
            _read_folder(path, layout, found)
        if len(found.sources) == before:
            absent = f"; {len(found.missing)} clips of its list have no video" if found.missing else ""
            raise DataError(f"{path}: no footage found{absent}", "docs/data.md shows the layouts that are read")
    found.sources = _uniquely_named(found.sources)
    return found


def detect(folder: Path) -> str:
    """Returns the layout of `folder`, which a data set's lists give away; without one it is a folder of videos."""
    if (folder / CELEBV_INFO).is_file():
        return "celebv-hq"
    if _lists(folder, HDTF_TIMES):
        return "hdtf"
    if folder.name.startswith("Clip+") or next(folder.rglob("Clip+*"), None) is not None:
        return "vfhq"
    return "videos"


def _read_folder(folder: Path, layout: str, found: ScanResult) -> None:
    kind = detect(folder) if layout == "auto" else layout
    if kind == "videos":
        videos = [Source(path.stem, path) for path in _videos(folder)]
        if not videos and any(path.suffix.lower() in PICTURES for path in folder.iterdir()):
            videos = [Source(folder.resolve().name, folder)]
        found.sources += videos
    elif kind == "celebv-hq":
        _celebv(folder, found)
    elif kind == "vfhq":
        _vfhq(folder, found)
    elif kind == "hdtf":
        _hdtf(folder, found)
    else:
        raise DataError(f"layout {layout!r} is unknown", f"one of {', '.join(LAYOUTS)}")


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS and path.is_file())


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in reversed(_videos(folder))}


def _celebv(folder: Path, found: ScanResult) -> None:
    path = folder / CELEBV_INFO
    try:
        clips = json.loads(path.read_text())["clips"]
        rows = [
            (
                str(key),
                str(clip["ytb_id"]),
                [float(clip["duration"][k]) for k in ("start_sec", "end_sec")],
                [float(clip["bbox"][k]) for k in ("left", "top", "right", "bottom")],
            )
            for key, clip in sorted(clips.items())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not CelebV-HQ's list ({error!r})", "fetch it again, or use --layout videos") from None
    videos = _by_stem(folder)
    for key, video, (start_s, end_s), (left, top, right, bottom) in rows:
        if key in videos:
            found.sources.append(Source(key, videos[key], "celebv-hq"))
        elif video in videos:
            m = CELEBV_MARGIN
            box = Box(max(left - m, 0), max(top - m, 0), min(right + m, 1), min(bottom + m, 1), 1, 1)
            found.sources.append(Source(key, videos[video], "celebv-hq", start_s, end_s, box))
        else:
            found.missing.append(key)


def _vfhq(folder: Path, found: ScanResult) -> None:
    notes = {path.stem: path for path in folder.rglob("Clip+*.txt")}
    folders = {path.name: path for path in (folder, *folder.rglob("Clip+*")) if path.name.startswith("Clip+")}
    folders = {name: path for name, path in folders.items() if path.is_dir()}
    videos = _by_stem(folder)
    clips = {name for name in videos if name.startswith("Clip+")}
    for name in sorted({*notes, *folders, *clips}):
        note = _vfhq_note(notes[name]) if name in notes else {}
        fps = note.get("FPS", [FOLDER_FPS])[0]
        if name in folders:
            found.sources.append(Source(name, folders[name], "vfhq", fps=fps))
        elif name in clips:
            found.sources.append(Source(name, videos[name], "vfhq"))
        else:
            span = re.fullmatch(r"Clip\+(.+)\+P\d+\+C\d+\+F(\d+)-(\d+)", name)
            if span is None or span[1] not in videos or not {"FPS", "H", "W", "CROP"} <= note.keys():
                found.missing.append(name)
                continue
            left, top, right, bottom = note["CROP"][:4]
            box = Box(left, top, right, bottom, note["W"][0], note["H"][0])
            # One frame is left out at either end, because the list may count the cut in another way.
            start_s, end_s = (int(span[2]) + 1) / fps, (int(span[3]) - 1) / fps
            found.sources.append(Source(name, videos[span[1]], "vfhq", start_s, end_s, box))


def _vfhq_note(path: Path) -> dict[str, list[float]]:
    """Returns key → numbers of a VFHQ note; lines without numbers are left out."""
    lengths = {"FPS": 1, "H": 1, "W": 1, "CROP": 4}
    out: dict[str, list[float]] = {}
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        key = words[0].rstrip(":").upper() if words else ""
        if key in lengths:
            try:
                numbers = [float(word) for word in words[-lengths[key] :]]
            except ValueError:
                continue
            if len(numbers) == lengths[key] and (key == "CROP" or numbers[0] > 0):
                out.setdefault(key, numbers)
    return out


def _lists(folder: Path, ending: str) -> list[Path]:
    return sorted(path for place in (folder, folder / "HDTF_dataset") for path in place.glob(f"*{ending}"))


def _rows(folder: Path, ending: str) -> Iterator[tuple[str, list[str]]]:
    for path in _lists(folder, ending):
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if words:
                yield words[0].removesuffix(".mp4"), words[1:]


def _hdtf(folder: Path, found: ScanResult) -> None:
    videos = _by_stem(folder)
    heights = {name: float(words[0]) for name, words in _rows(folder, "_resolution.txt") if words and _number(words[0])}
    boxes = {name: words for name, words in _rows(folder, "_crop_wh.txt")}
    for name, spans in sorted(_rows(folder, HDTF_TIMES)):
        for index, span in enumerate(spans):
            clip = f"{name}_{index}"
            words = boxes.get(clip, [])
            box = None
            if len(words) == 4 and all(_number(word) for word in words):
                left, width, top, height = (float(word) for word in words)
                box = Box(left, top, left + width, top + height, 0, heights.get(name, 0), unless_square=True)
            if clip in videos:
                found.sources.append(Source(clip, videos[clip], "hdtf", box=box))
                continue
            times = re.fullmatch(r"([\d:.]+)-([\d:.]+)", span)
            if name not in videos or times is None:
                found.missing.append(clip)
                continue
            if box is not None:
                box = replace(box, unless_square=False)
            found.sources.append(Source(clip, videos[name], "hdtf", _seconds(times[1]), _seconds(times[2]), box))


def _seconds(clock: str) -> float:
    """Returns "01:35" or "1:02:03" in seconds; a part that is no number counts as 0."""
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + (float(part) if _number(part) else 0.0)
    return total


def _number(word: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", word) is not None


def _uniquely_named(sources: list[Source]) -> list[Source]:
    """Renames sources to letters, digits, `_`, `+` and `-` (a dot would end a WebDataset key).

    Names that occur twice get a hash.
    """
    plain = [re.sub(r"[^A-Za-z0-9_+-]+", "_", source.name)[:MAX_NAME] or "clip" for source in sources]
    folded = [name.lower() for name in plain]
    twins = {name for name in folded if folded.count(name) > 1} if len(set(folded)) < len(folded) else set()
    out, used = [], set()
    for source, name in zip(sources, plain, strict=True):
        if name.lower() in twins:
            place = f"{source.path.parent.name}/{source.path.name}#{source.name}#{source.start_s}"
            name = f"{name}-{hashlib.sha1(place.encode()).hexdigest()[:6]}"
        count = 2
        base = name
        while name.lower() in used:
            name, count = f"{base}-{count}", count + 1
        used.add(name.lower())
        out.append(replace(source, name=name))
    return out
