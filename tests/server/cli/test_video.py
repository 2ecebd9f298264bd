"""`relight video` as a person types it: names, exit statuses and what is said."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from server.cli.main import main
from server.cli.video import _state_folder
from tests.clips import make_clip
from tests.engine.offline.odd_clips import write_clip


class Command:
    """Runs `relight video`; an exception that no boundary caught comes through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("RELIGHT_TRACEBACK", "1")

    def __call__(self, *words: object) -> tuple[int, str]:
        self._monkeypatch.setattr(sys, "argv", ["relight", "video", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), self._capsys.readouterr().err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize("engine", ["ratio", "passthrough"])
def test_a_clip_without_a_face_says_so(command: Command, tmp_path: Path, engine: str) -> None:
    """It is written, and the status is 3; an engine that looks for no face does not miss one."""
    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1, 0.2])
    status, text = command(source, "-o", tmp_path / "out.mp4", "--engine", engine)
    assert (tmp_path / "out.mp4").is_file()
    assert status == (3 if engine == "ratio" else 0)
    assert ("a face was found in 0 of 3 frames: nothing was relit" in text) == (engine == "ratio")


def test_an_avatar_whose_driver_shows_no_face_says_so(command: Command, tmp_path: Path) -> None:
    """The portrait is written as it is, and the status is 3."""
    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1])
    reference = Path(__file__).resolve().parents[3] / "client_web" / "sample" / "portrait.jpg"
    status, text = command(source, "-o", tmp_path / "out.mp4", "--engine", "avatar", "--reference", reference)
    assert status == 3
    assert "a face was found in 0 of 2 frames: the portrait was not moved" in text


def test_a_clip_with_a_face_says_how_often(command: Command, tmp_path: Path, portrait: np.ndarray) -> None:
    """Status 0, and the frames that show one are counted."""
    source = write_clip(tmp_path / "in.mp4", still=np.ascontiguousarray(portrait[::2, ::2]), frames=3)
    status, text = command(source, "-o", tmp_path / "out.mp4", "--light", "split-left")
    assert status == 0, text
    assert "a face was found in 3 of 3 frames" in text


@pytest.mark.parametrize("name", ["o[b].mp4", "[red].mp4", "[bold]x.mp4", "a\\[b].mp4"])
def test_square_brackets_stay_in_what_is_said(command: Command, tmp_path: Path, name: str) -> None:
    """Names are no markup: of outputs, sources and lights, in messages and in errors."""
    source = make_clip(tmp_path / "in.mp4", [0.0])
    status, text = command(source, "-o", tmp_path / name, "--engine", "passthrough")
    assert status == 0
    assert f"{name}: 1 frames" in text
    status, text = command(tmp_path / f"x{name}", "-o", tmp_path / "out.mp4", "--engine", "passthrough")
    assert status == 2
    assert f"x{name}: no such file" in text
    (tmp_path / f"{name}.json").write_text("{}")
    status, text = command(
        source, "-o", tmp_path / "out.mp4", "--engine", "passthrough", "-l", tmp_path / f"{name}.json"
    )
    assert (status, "error" in text) in ((0, False), (2, True))
    assert status == 0 or name in text.replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("target", "word"),
    [("/proc/o.mp4", "cannot be written"), ("x" * 260 + ".mp4", "cannot be written"), ("folder.mp4", "is a folder")],
)
@pytest.mark.parametrize("engine", ["ratio", "lcvd"])
def test_outputs_are_refused_before_an_engine_is_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, word: str, engine: str
) -> None:
    """One sentence and a remedy, for every engine."""
    monkeypatch.setattr("server.cli.video._relit", lambda *given: pytest.fail("work has begun"))
    monkeypatch.setattr("server.cli.video._portrait", lambda *given: pytest.fail("work has begun"))
    monkeypatch.chdir(tmp_path)
    source = make_clip(tmp_path / "in.mp4", [0.0])
    (tmp_path / "folder.mp4").mkdir()
    status, text = command(source, "-o", target, "-y", "--engine", engine)
    assert status == 2
    assert word in text
    assert "try:" in text


def test_what_was_mended_is_said(command: Command, tmp_path: Path) -> None:
    """Notes follow the summary, one line each."""
    source = write_clip(tmp_path / "in.mkv", sounds=(("aac", 48000, "mono"),) * 2)
    source.write_bytes(source.read_bytes()[:-900])
    status, text = command(source, "-o", tmp_path / "out.mp4", "--engine", "passthrough")
    assert status == 0
    assert "with 2 sound tracks" in text


@pytest.mark.parametrize("option", ["--light", "--reference"])
@pytest.mark.parametrize(
    "name", ["fifo.png", "folder.png", "x" * 300 + ".png", "fifo.json", "/dev/zero.hdr", "huge.hdr"]
)
def test_options_that_name_what_cannot_be_read(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    """A pipe that nobody writes does not hang, and a terabyte does not fill the memory."""
    monkeypatch.chdir(tmp_path)
    source = make_clip(tmp_path / "in.mp4", [0.0])
    for fifo in ("fifo.png", "fifo.json"):
        os.mkfifo(fifo)
    (tmp_path / "folder.png").mkdir()
    with open("huge.hdr", "wb") as file:
        file.truncate(2**40)
    status, text = command(source, "-o", "out.mp4", "--engine", "avatar", option, name)
    assert status == 2
    assert "error:" in text
    assert "try:" in text
    assert not (tmp_path / "out.mp4").exists()


def test_the_folder_of_a_run_has_a_legal_name_beside_every_output(tmp_path: Path) -> None:
    """It is the same for the same output, and never longer than a file system takes."""
    assert _state_folder(tmp_path / "out.mp4") == tmp_path / ".out.mp4.lcvd"
    longest = tmp_path / ("ü" * 125 + ".mp4")
    _state_folder(longest).mkdir()
    assert _state_folder(longest) == _state_folder(longest) != _state_folder(tmp_path / ("ö" * 125 + ".mp4"))
