"""The console command: help that reads, errors that name the remedy, and files that come out right."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from engine.passthrough import PassthroughEngine
from server.cli.main import app, main
from server.rtc.bench.machine_cost import FrameCost, MachineCost
from tests.clips import make_clip

runner = CliRunner()


def run_main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Returns the exit status of the whole command, its error boundary included."""
    monkeypatch.setattr(sys, "argv", ["relight", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "command", ["serve", "camera", "video", "bench", "lights", "doctor", "weights", "evaluate", "extension", "token"]
)
def test_help_lists_and_explains_each_command(command: str) -> None:
    """`relight --help` names every command, and each explains itself."""
    assert command in runner.invoke(app, ["--help"]).output
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_no_bracket_of_a_help_is_taken_for_a_style() -> None:
    """Rich leaves out `[distill]` without a word, where it is not written `\\[distill]`."""

    def told(command: Any) -> list[str]:
        """Returns what a command and those below it say in brackets, without what is escaped."""
        texts = [command.help or "", *(getattr(each, "help", None) or "" for each in command.params)]
        found = [each for text in texts for each in re.findall(r"(?<!\\)\[[a-z/][^\]]*\]", text)]
        return found + [each for below in getattr(command, "commands", {}).values() for each in told(below)]

    assert set(told(get_command(app))) <= {"[bold]", "[/]"}
    assert "[distill.adversarial]" in runner.invoke(app, ["distill", "--help"]).output


def test_lights_as_json_are_valid_lights() -> None:
    """set_light accepts the lights that `relight lights --json` prints."""
    from server.light_message import Light

    rows = json.loads(runner.invoke(app, ["lights", "--json"]).output)
    assert rows[0]["name"] == "original"
    assert len(rows) >= 13
    for row in rows:
        assert Light.model_validate_json(json.dumps(row["lighting"])).lighting().name == row["name"]


def test_lights_sheet_is_a_picture(tmp_path: Path) -> None:
    """The sheet decodes and shows something."""
    result = runner.invoke(app, ["lights", "--sheet", str(tmp_path / "sheet.png")])
    assert result.exit_code == 0, result.output
    import cv2

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.std() > 5


def test_a_sheet_without_a_folder_is_an_error(tmp_path: Path) -> None:
    """Exit status 2 and the folder's name, no traceback."""
    result = runner.invoke(app, ["lights", "--sheet", str(tmp_path / "nowhere" / "sheet.png")])
    assert result.exit_code == 2
    assert "no folder" in " ".join(result.output.replace("│", " ").split())


def test_doctor_names_engines_and_models() -> None:
    """The doctor says which engines can run and where the models are."""
    output = runner.invoke(app, ["doctor"]).output
    for word in ("ratio", "passthrough", "lcvd", "face_landmark", "selfie_multiclass", "numba", "pyvirtualcam"):
        assert word in output


def test_doctor_tells_the_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """By size, what the server would admit where a picture costs so much."""
    monkeypatch.setattr("engine.make_engine", lambda name, config: PassthroughEngine())
    cost = MachineCost((FrameCost(320 * 240, 0.010, 0.0), FrameCost(1280 * 720, 0.020, 0.0)), 2.0)
    monkeypatch.setattr("server.rtc.bench.frame_cost.measure", lambda engine, cores: cost)
    output = runner.invoke(app, ["doctor", "--capacity"]).output
    lines = [line.split() for line in output.splitlines()]
    assert ["320x240", "4", "10"] in lines  # 0.7 of 2 cores over 0.3 of one
    assert ["1280x720", "2", "20"] in lines


def test_doctor_says_what_lcvd_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the remedy is the extra; with it, the weights are looked for."""
    monkeypatch.setattr("engine.diffusion.make.find_spec", lambda name: None)
    output = runner.invoke(app, ["doctor"]).output
    assert "LCVD needs torch" in output
    assert "[lcvd]" in output


def test_video_relights_a_clip_and_keeps_its_sound(tmp_path: Path, portrait: np.ndarray) -> None:
    """A real face through the real engine: as many frames, the same size, and a brighter left side."""
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        sound = container.add_stream("aac", rate=16000)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        import cv2

        small = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA)
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        container.mux(stream.encode(None))
        for start in range(0, 8000, 1000):
            piece = av.AudioFrame.from_ndarray(np.full((1, 1000), 2000, np.int16), format="s16", layout="mono")
            piece.sample_rate, piece.pts = 16000, start
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    pictures = {}
    for light in ("split-left", "split-right"):
        target = tmp_path / f"{light}.mp4"
        result = runner.invoke(app, ["video", str(source), "-o", str(target), "--light", light])
        assert result.exit_code == 0, result.output
        with av.open(str(target)) as container:
            assert container.streams.audio
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 12
        assert frames[-1].shape == (320, 320, 3)
        pictures[light] = frames[-1].astype(float)
    face = slice(40, 150), slice(100, 190)  # where the sample portrait's face is at this size
    change = (pictures["split-left"] - pictures["split-right"])[face].mean(axis=(0, 2))
    assert change[: len(change) // 3].mean() > 10
    assert change[-len(change) // 3 :].mean() < -10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4"], "no such file"),
        (["in.mp4", "--light", "disco"], "rembrandt-left"),
        (["in.mp4", "--light", "missing.json"], "no such file"),
        (["in.mp4", "--background", "beach"], "keep, dim or lit"),
        (["in.mp4", "--engine", "magic"], "ratio, avatar, lcvd, passthrough"),
        (["in.mp4", "-o", "out.gif"], "out.gif: unknown kind of file"),
        (["in.mp4", "-o", "nowhere/out.mp4"], "nowhere does not exist"),
    ],
)
def test_video_errors_name_the_remedy(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2 and one sentence, no traceback."""
    make_clip(tmp_path / "in.mp4", [0.0, 0.1])
    monkeypatch.chdir(tmp_path)
    assert run_main(["video", "-o", "out.mp4", *arguments], monkeypatch) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert words in text
    assert "Traceback" not in text
    assert not (tmp_path / "out.mp4").exists()


def test_video_does_not_overwrite_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An existing output stays, and the message says how to replace it."""
    source = make_clip(tmp_path / "in.mp4", [0.0, 0.1])
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    assert run_main(["video", str(source), "-o", str(target)], monkeypatch) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert run_main(["video", str(source), "-o", str(source), "-y"], monkeypatch) == 2


def test_serve_says_what_is_wrong_with_a_setting_and_a_port() -> None:
    """A bad setting and a taken port are errors in words, with status 2."""
    import socket

    command = [sys.executable, "-m", "server.cli.main", "serve"]
    wrong = subprocess.run([*command, "--log-level", "loud"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "log_level" in wrong.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = subprocess.run([*command, "--port", port], capture_output=True, text=True, timeout=60)
    assert busy.returncode == 2
    assert port in busy.stderr
    assert "--port 0" in busy.stderr


@pytest.mark.parametrize(
    "option", [["--codec", "h264"], ["--camera-fps", "25"], ["--weights", "nano"], ["--quality", "fine"]]
)
def test_bench_refuses_what_only_the_loopback_reads(option: list[str]) -> None:
    """An option that nothing would read is an error that names it, before anything is measured."""
    result = runner.invoke(app, ["bench", "--engine", "passthrough", *option])
    assert result.exit_code == 2
    assert option[0] in result.output
    assert "--loopback" in result.output


def test_unforeseen_errors_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command answers with a traceback: an error of the system names its file, another one how to report it."""
    monkeypatch.delenv("RELIGHT_TRACEBACK")  # the tests' own default
    (tmp_path / "sh[e]et.png").mkdir()
    assert run_main(["lights", "--sheet", str(tmp_path / "sh[e]et.png")], monkeypatch) == 2
    text = "".join(capsys.readouterr().err.split("\n"))
    assert "sh[e]et.png: Is a directory" in text

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division [by] zero")

    monkeypatch.setattr("lcvd.lighting.ball.render_sheet", broken)
    assert run_main(["lights", "--sheet", str(tmp_path / "s.png")], monkeypatch) == 2
    text = capsys.readouterr().err
    assert "ZeroDivisionError: division [by] zero" in text
    assert "RELIGHT_TRACEBACK=1" in text
    assert "Traceback" not in text
    monkeypatch.setenv("RELIGHT_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["relight", "lights", "--sheet", str(tmp_path / "s.png")])
    with pytest.raises(ZeroDivisionError):
        main()
