"""Preparation turns videos into shards; killed, interrupted or on a full disk it ends in the same bytes."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.synthetic_footage import sway, walls, write_video
from training.data.assembly import STATE, record_path
from training.data.dataset import ClipDataset
from training.data.shards import read_sample
from training.errors import DataError, DiskFull
from training.prepare.footage import Source
from training.prepare.layouts import find_sources
from training.prepare.run import Job, SourcePreparer, prepare
from training.prepare.settings import PrepareSettings
from training.prepare.workers import Report

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = PrepareSettings(
    size=64, frames=2, rate=6, min_face_px=30, quality="basic", threshold=0.0, shard_bytes=2**16 + 2**15
)
PATIENCE_S = 90.0
CODE = """
import sys
from pathlib import Path
from training.prepare.layouts import find_sources
from training.prepare.run import prepare
from training.prepare.settings import PrepareSettings
if __name__ == "__main__":
    settings = PrepareSettings(size=64, frames=2, rate=6, min_face_px=30, quality="basic", threshold=0.0,
                               shard_bytes=2**16 + 2**15)
    prepare(find_sources([Path(sys.argv[1])]).sources, Path(sys.argv[2]), settings, workers=int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes three good videos, one without a face and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", sway(15, phase=0.0))
    write_video(folder / "b.mp4", sway(8, phase=1.0) + walls(3) + sway(9, phase=2.0))
    write_video(folder / "d.mp4", sway(8, phase=3.0))
    write_video(folder / "wall.mp4", walls(9))
    (folder / "c.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture(scope="module")
def sources(videos: Path) -> list[Source]:
    return find_sources([videos]).sources


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sources: list[Source]) -> Path:
    """Returns the data of an uninterrupted run in this process."""
    data = tmp_path_factory.mktemp("whole") / "data"
    prepare(sources, data, SETTINGS, workers=0)
    return data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_videos_become_samples_and_the_rest_is_listed_with_reasons(whole: Path) -> None:
    """Segments on both sides of a cut are separate; broken and faceless videos cost only a line each."""
    index = json.loads((whole / "index.json").read_text())
    names = [row["name"] for shard in index["shards"] for row in shard["samples"]]
    assert names == ["a-000-000000", "a-000-000007", "b-000-000000", "b-001-000011", "d-000-000000"]
    assert index["totals"]["clips"] == 5
    assert index["totals"]["sources_without_a_clip"] == 2
    assert len(index["shards"]) > 1
    rows = [json.loads(line) for line in (whole / "rejected.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["c.mp4", "wall.mp4"]
    assert "not a readable video" in rows[0]["reason"]
    assert rows[1]["reason"] == "no face in 9 of 9 frames"
    assert not (whole / STATE).exists()


def test_hints_lie_on_the_face_and_masks_on_the_person(whole: Path) -> None:
    """Every hint covers its tracked face, moves with it, and is inside the portrait mask."""
    dataset = ClipDataset([whole])
    for index, place in enumerate(dataset.places):
        files = read_sample(place.tar, place.entry)
        clip = dataset.load(index, np.random.default_rng(0))
        (whole.parent / "face.npz").write_bytes(files["face.npz"])
        tracked = np.load(whole.parent / "face.npz")["vertices_px"]
        drawn = clip.hints[1].any(2)
        ys, xs = np.nonzero(drawn)
        low, high = tracked[1, :, :2].min(0), tracked[1, :, :2].max(0)
        assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == pytest.approx([*low, *high], abs=2.5)
        assert (clip.masks[1][drawn] > 127).mean() > 0.95
        skin = clip.frames[1][drawn].astype(float).mean(0)
        assert skin[0] > skin[2] + 10  # skin is red: the hint lies on it
        notes = json.loads(files["json"])
        assert (notes["rate"], notes["tracker"], len(notes["times_s"])) == (6, "mediapipe-mesh", 2)


def test_hints_carry_the_light_of_the_clip(tmp_path: Path, sources: list[Source]) -> None:
    """A face lit from the left gets a hint brighter on the left, and its mirror picture the opposite."""
    ramp = np.linspace(1.0, 0.25, 256)[None, :, None]
    lit = [np.rint(rgb * ramp).astype(np.uint8) for rgb in sway(7)]
    write_video(tmp_path / "v" / "left.mp4", lit)
    write_video(tmp_path / "v" / "right.mp4", [rgb[:, ::-1] for rgb in lit])
    prepare(find_sources([tmp_path / "v"]).sources, tmp_path / "data", SETTINGS, workers=0)
    dataset = ClipDataset([tmp_path / "data"])
    means = []
    for index in (0, 1):
        hint = dataset.load(index, np.random.default_rng(0)).hints[1].astype(float).mean(2)
        middle = round(float(np.nonzero(hint)[1].mean()))
        halves = hint[:, :middle], hint[:, middle:]
        means.append([half[half > 0].mean() for half in halves])
    assert means[0][0] > 1.2 * means[0][1]
    assert means[1][1] > 1.2 * means[1][0]


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path, videos: Path, whole: Path) -> None:
    """A run of two workers is killed with kill −9; the same run in one process then gives the uninterrupted bytes."""
    data = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", CODE, videos, data, "2"], cwd=ROOT, start_new_session=True) as process:
        until(lambda: len(list((data / STATE).glob("parts/*.json"))) >= 2 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    assert (data / STATE / "plan.json").exists()
    (data / STATE / "parts" / "00000001.tar.999.tmp").write_bytes(b"half")
    done = {path.name: path.stat().st_mtime_ns for path in (data / STATE).glob("parts/*.json")}
    seen = []
    handled: list[int] = []

    class Counting(SourcePreparer):
        def __call__(self, job: Job, report: Report) -> dict[str, Any]:
            handled.append(job.number)
            return super().__call__(job, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.prepare.run.SourcePreparer", Counting)
        outcome = prepare(
            find_sources([videos]).sources, data, SETTINGS, workers=0, on_progress=lambda p: seen.append(p.done)
        )
    assert outcome.resumed
    assert len(handled) == 5 - len(done)
    assert not {f"{number:08d}.json" for number in handled} & done.keys()
    assert contents(data) == contents(whole)


def test_ctrl_c_ends_clean_and_can_be_continued(tmp_path: Path, videos: Path) -> None:
    """The exit status is 130, without a traceback, half-written samples or workers left running."""
    data = tmp_path / "data"
    # Enough left to do after the first part that the key comes before the end on a busy machine too.
    walls = [shutil.copy(videos / "wall.mp4", tmp_path / f"wall-{i}.mp4") for i in range(16)]
    files = [videos / "c.mp4", videos / "d.mp4", *walls]
    command = [
        sys.executable,
        "-m",
        "server.cli.main",
        "data",
        "prepare",
        *files,
        "-o",
        data,
        "-j",
        "1",
        "--threshold",
        "0",
    ]
    command += ["--size", "64", "--frames", "2", "--rate", "6", "--min-face", "30", "--quality", "basic"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit: ignored
    ) as process:
        until(lambda: bool(list((data / STATE).glob("parts/*.json"))) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(PATIENCE_S) == 130
    assert "Traceback" not in said
    assert "same command goes on" in " ".join(said.split())
    assert not (data / "index.json").exists()
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert finished.returncode == 0
    document = json.loads(finished.stdout.splitlines()[-1])
    assert (document["clips"], document["resumed"], document["sources_without_a_clip"]) == (1, True, 1 + len(walls))
    assert "no face in 9 of 9" in " ".join(finished.stderr.split())
    assert len(ClipDataset([data])) == 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)


def test_a_full_disk_is_told_and_the_run_can_go_on(
    tmp_path: Path, sources: list[Source], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC in the middle of a part or a shard raises DiskFull each time, and the end result has the same bytes."""
    from training.data import shards

    original, left = os.fsync, [2]

    def full(handle: int) -> None:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        original(handle)

    monkeypatch.setattr(shards.os, "fsync", full)
    data = tmp_path / "data"
    for more in (2, 4, 3, 3):
        left[0] = more
        with pytest.raises(DiskFull, match="is full"):
            prepare(sources, data, SETTINGS, workers=0)
        assert not list(data.rglob("*.tmp"))
        assert not (data / "index.json").exists()
    left[0] = 1000
    assert prepare(sources, data, SETTINGS, workers=0).resumed
    assert contents(data) == contents(whole)


def test_a_folder_of_other_data_is_never_touched(tmp_path: Path, sources: list[Source], whole: Path) -> None:
    """Other settings, other videos, foreign files and another running process raise DataError."""
    before = contents(whole)
    with pytest.raises(DataError, match="other videos or settings"):
        prepare(sources[:1], whole, SETTINGS, workers=0)
    assert prepare(sources, whole, SETTINGS, workers=0).progress.frames == 0
    assert contents(whole) == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(DataError, match="not empty"):
        prepare(sources, tmp_path / "photos", SETTINGS, workers=0)
    fcntl = pytest.importorskip("fcntl", reason="locks are POSIX")
    (tmp_path / "busy").mkdir()
    handle = os.open(tmp_path / "busy", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run"):
            prepare(sources, tmp_path / "busy", SETTINGS, workers=0)
    finally:
        os.close(handle)


def test_a_bug_in_one_video_is_a_line_not_the_end(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in a worker is listed with its type, and the other videos are prepared."""

    def stumble(raw: object, name: str, *_: object) -> str:
        if name.startswith("a-"):
            raise ZeroDivisionError("of all things")
        return "not today"

    monkeypatch.setattr("training.prepare.run.process_clip", stumble)
    outcome = prepare(sources, tmp_path / "data", SETTINGS, workers=0)
    rows = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert outcome.document["totals"]["clips"] == 0
    assert rows[0]["reason"] == "internal error: ZeroDivisionError: of all things"
    assert next(row["clip"] for row in rows if row["reason"] == "not today") == "b-000-000000"


def test_low_quality_is_refused_with_its_numbers(tmp_path: Path, sources: list[Source]) -> None:
    """Below the threshold a clip is listed with its score and what it is made of."""
    settings = PrepareSettings(size=512, frames=2, rate=6, min_face_px=30, quality="basic", threshold=0.95)
    prepare(sources[:1], tmp_path / "data", settings, workers=0)
    (row, *_) = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert row["clip"] == "a-000-000000"
    assert re.match(r"basic quality 0\.\d\d is below 0\.95 \(detail 0\.28, sharpness", row["reason"])


@pytest.mark.parametrize("field", [{"size": 100}, {"size": 8}, {"frames": 1}, {"rate": 0}, {"threshold": 1.5}])
def test_settings_out_of_range_are_named(field: dict[str, Any]) -> None:
    """The field and the value are in the message, the range in the remedy."""
    (name, value), *_ = field.items()
    with pytest.raises(DataError, match=f"{name} is {value}"):
        PrepareSettings(**field)


def test_the_record_of_a_video_is_written_after_its_samples(tmp_path: Path, sources: list[Source]) -> None:
    """A source counts as done only when its part is whole."""
    (tmp_path / STATE / "parts").mkdir(parents=True)
    record = SourcePreparer(tmp_path, SETTINGS)(Job(7, sources[0]), lambda n: None)
    assert json.loads(record_path(tmp_path, 7).read_text()) == record
    part = record_path(tmp_path, 7).with_suffix(".tar")
    assert part.stat().st_size == sum(row["bytes"] for row in record["samples"]) + 1024
