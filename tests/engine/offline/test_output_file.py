"""Outputs that cannot be written are told in a sentence, before the work; what was there stays."""

import errno
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ClipError
from engine.offline.clip_writer import ClipWriter
from engine.offline.output_file import check_output
from engine.offline.relight_clip import relight_clip
from engine.offline.video_file import ClipReader
from engine.passthrough import PassthroughEngine
from engine.protocols import StreamConfig
from lcvd.types import Lighting
from tests.clips import make_clip


class Untouched(PassthroughEngine):
    """Fails the test where the work begins."""

    def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
        pytest.fail("the work began")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mp4", [0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("/proc/o.mp4", "cannot be written"),
        ("/dev/null/o.mp4", "is a file"),
        ("{}/" + "x" * 252 + ".mp4", "cannot be written"),
        ("{}/" + "ü" * 126 + ".mp4", "cannot be written"),
        ("{}/folder.mp4", "is a folder"),
        ("{}/fifo.mp4", "is a pipe"),
        ("{}/absent/o.mp4", "does not exist"),
        ("{}/in.mp4/o.mp4", "is a file"),
        ("{}/loop.mp4", "cannot be written"),
        ("{}/o\0.mp4", "cannot be written"),
        ("{}/in.mp4", "source itself"),
        ("{}/hard.mp4", "source itself"),
        ("{}/soft.mp4", "source itself"),
        ("{}/o.txt", "unknown kind"),
        ("{}/o", "unknown kind"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, source: Path, name: str, word: str) -> None:
    """Each is a ClipError with a remedy, no frame is processed, and the folder is as it was."""
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "hard.mp4").hardlink_to(source)
    (tmp_path / "soft.mp4").symlink_to(source)
    before = sorted(path.name for path in tmp_path.iterdir())
    content = source.read_bytes()
    with pytest.raises(ClipError, match=word) as caught:
        relight_clip(Untouched(), Lighting("any"), source, Path(name.format(tmp_path)))
    assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert source.read_bytes() == content


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "o[b].mp4", " .mp4", "-o.mp4", "50%d.mp4", "a\nb.mp4", "ü🎬.MP4"])
def test_every_legal_name_is_written(tmp_path: Path, source: Path, name: str) -> None:
    """The longest name a file system takes, brackets, percent signs, line breaks."""
    assert relight_clip(PassthroughEngine(), Lighting("any"), source, tmp_path / name).frames == 3
    assert (tmp_path / name).stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_locked_disk_is_told(
    tmp_path: Path, source: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe finds it before a frame is read."""

    def refuse(path: Path, *given: object, **named: object):  # type: ignore[no-untyped-def]
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ClipError, match=os.strerror(error)):
        check_output(tmp_path / "o.mp4", source)


def test_a_disk_that_fills_up_under_way(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: a sentence that names the target, the old file stays, no part does."""
    clip = make_clip(tmp_path / "in.mp4", [index / 10 for index in range(12)], 640, 480)
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    noise = np.random.default_rng(0)

    class Noisy(PassthroughEngine):
        def open(self, config: StreamConfig):  # type: ignore[no-untyped-def]
            stream = super().open(config)
            prepare = stream.prepare

            def limited(frame):  # type: ignore[no-untyped-def]
                resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
                return prepare(type(frame)(frame.index, frame.t_s, noise.integers(0, 256, frame.rgb.shape, np.uint8)))

            stream.prepare = limited
            return stream

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(ClipError, match=r"out\.mp4: cannot be written \(File too large\)"):
            relight_clip(Noisy(), Lighting("any"), clip, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_writer_that_is_discarded_leaves_nothing(tmp_path: Path, source: Path) -> None:
    """The header is written when the writer is made: so a container can be tried before the work."""
    with ClipReader(source) as reader:
        writer = ClipWriter(tmp_path / "o.mp4", reader, 64, 48)
        assert len(list(tmp_path.iterdir())) == 2
        writer.discard()
        with pytest.raises(ClipError, match="cannot be written"):
            ClipWriter(tmp_path / "o.mp4", reader, 40_000, 40_000)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
