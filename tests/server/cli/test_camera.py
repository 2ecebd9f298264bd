"""`relight camera` as a user runs it: into FFmpeg, into `head`, to a file, and with everything that can be wrong."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from engine.bench.sample_clip import PORTRAIT, sample_frames
from engine.fit import cover
from server.camera.recording import Recording
from server.cli.main import main
from server.http.uploads import portrait_of
from server.settings import Settings
from tests.clips import make_clip, picture
from tests.ffmpeg import read_video
from tests.server.camera.fake_backend import FakeBackend
from tests.server.cli.test_main import run_main

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "server.cli.main", "camera"]
FPS = 10


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a face, 320×240 at 10 fps, for a camera."""
    path = tmp_path_factory.mktemp("camera") / "face.mkv"
    recording = Recording(path, 320, 240, Fraction(FPS))
    for i, rgb in enumerate(islice(sample_frames((240, 320), FPS), 20)):
        recording.write(rgb, i / FPS)
    recording.close()
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip without a face, 64×48 at 25 fps."""
    return make_clip(tmp_path_factory.mktemp("camera") / "plain.mp4", [i / 25 for i in range(25)])


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Returns started(arguments, **options) -> Popen, with standard error as a pipe; it does not outlive the test."""
    made: list[subprocess.Popen[bytes]] = []

    def start(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stderr=subprocess.PIPE, **options))
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.communicate()


def sides(rgb: np.ndarray) -> float:
    """Brightness of the picture's left half of the face over its right."""
    grey = rgb.astype(float).mean(-1)
    return float(grey[80:140, 130:158].mean() / grey[80:140, 166:194].mean())


def test_ffmpeg_reads_frames_rate_and_light_from_the_pipe(
    started: Callable[..., subprocess.Popen[bytes]], face: Path, tmp_path: Path
) -> None:
    """A light from the left, on a face, as a program that nobody here wrote decodes it; longer than the clip."""
    target = tmp_path / "out.y4m"
    with target.open("wb") as file:
        running = started(["-c", str(face), "--to", "y4m:-", "-l", "split-left", "--frames", "30"], stdout=file)
        said = running.communicate(timeout=280)[1].decode()
    assert running.returncode == 0, said
    read = read_video(target)
    assert read.frames.shape == (30, 240, 320, 3)
    assert read.fps == FPS
    before, after = next(sample_frames((240, 320), FPS)), read.frames[15:].mean(0)
    # split-left halves the far side of a face and more (docs/lights.md); 1.5 leaves room for its sway.
    assert sides(after) > 1.5 * sides(before)
    assert re.search(r"30 pictures, \d+\.\d fps .* delay p50 \d+ ms", said)
    assert "lights: http://127.0.0.1:" in said


def test_head_ends_it_quietly(started: Callable[..., subprocess.Popen[bytes]], plain: Path) -> None:
    """A reader that has had enough closes the pipe: exit status 0, and nothing that looks like an error."""
    running = started(["-c", str(plain), "--to", "y4m:-", "--engine", "passthrough"], stdout=subprocess.PIPE)
    assert running.stdout.read(5000).startswith(
        b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\nFRAME\n"
    )
    running.stdout.close()
    said = running.communicate(timeout=60)[1].decode()
    assert running.returncode == 0
    assert "rror" not in said
    assert "pictures" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_file(
    started: Callable[..., subprocess.Popen[bytes]], plain: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Exit status 0 and a file that plays to its end, with the times of the clip."""
    target = tmp_path / "out.mkv"
    running = started(["-c", str(plain), "--to", str(target), "--engine", "passthrough", "--no-page"])
    for line in running.stderr:  # the first line of numbers: a second of pictures went by
        if b"camera live" in line:
            break
    running.send_signal(number)
    said = running.communicate(timeout=60)[1].decode()
    assert running.returncode == 0, said
    with av.open(str(target)) as container:
        times = np.array([frame.time for frame in container.decode(video=0)])
    assert len(times) > 10
    # The clip's pictures are 1/25 s apart; one that was skipped leaves a multiple. A millisecond is Matroska's clock.
    steps = np.diff(times) * 25
    assert np.abs(steps - np.rint(steps)).max() < 0.06
    assert "pictures" in said


def test_an_avatar_shows_the_portrait_and_never_the_camera(
    started: Callable[..., subprocess.Popen[bytes]], plain: Path, tmp_path: Path
) -> None:
    """A clip without a face moves nothing; what is written is the portrait's, from the first picture on."""
    target = tmp_path / "out.y4m"
    arguments = ["-c", str(plain), "--to", f"y4m:{target}", "--engine", "avatar", "--reference", str(PORTRAIT)]
    running = started([*arguments, "--light", "original", "--frames", "5"])
    said = running.communicate(timeout=280)[1].decode()
    assert running.returncode == 0, said
    frames = read_video(target).frames.astype(float)
    assert len(frames) == 5
    portrait = portrait_of(PORTRAIT.read_bytes(), PORTRAIT.name, Settings()).placeholder
    camera = cover(picture(10, 64, 48), (512, 512))
    for rgb in frames:  # the puppet at rest is its portrait but for the light, which `original` leaves alone
        assert np.abs(rgb - portrait).mean() < 10 < 40 < np.abs(rgb - camera).mean()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "nothing"], "engine 'nothing' does not exist"),
        (["--engine", "avatar"], "add --reference PORTRAIT"),
        (["--reference", "me.jpg"], "reference=me.jpg: engine ratio shows the camera"),
        (["--size", "huge"], "size='huge' is no size"),
        (["--size", "1x1"], "size='1x1' is no size"),
        (["--background", "pink"], "background='pink' is unknown"),
        (["--light", "no-such-light"], "no preset 'no-such-light'"),
        (["--camera", "gone.mp4"], "gone.mp4: no such file"),
        (["--camera", __file__], "not a readable video"),
        (["--camera", "No Such Camera"], "'No Such Camera' does not exist"),
        (["--camera", "CLIP", "--to", "out.avi"], "to='out.avi' is no output"),
        (["--camera", "CLIP", "--to", "nowhere/out.mkv"], "does not exist"),
        (["--camera", "CLIP", "--to", "y4m:CLIP"], "exists already"),
        (["--camera", "CLIP", "--to", "y4m:CLIP", "-y"], "is the clip itself"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Exit status 2 before anything is warmed up or opened; the clip is still there."""
    before = plain.read_bytes()
    assert run_main(["camera", *(each.replace("CLIP", str(plain)) for each in arguments)], monkeypatch) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "try:" in said
    assert "warming up" not in said
    assert plain.read_bytes() == before


def test_a_virtual_camera_gets_the_pictures(
    plain: Path,
    backend: type[FakeBackend],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through the real pyvirtualcam, with a backend that keeps them; the clip's own size, and closed at the end."""
    arguments = ["camera", "-c", str(plain), "--engine", "passthrough", "--frames", "5", "--no-page"]
    monkeypatch.setattr(sys, "argv", ["relight", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    *pictures, end = backend.sent
    assert {rgb.shape for rgb in pictures} == {(48, 64, 3)}
    assert len(pictures) == 5
    assert end.size == 0
    assert "5 pictures" in capsys.readouterr().err


def test_without_a_virtual_camera_nothing_is_warmed_up(
    plain: Path,
    backend: type[FakeBackend],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sentence and its commands come at once."""
    monkeypatch.setattr(backend, "refusal", "No v4l2 loopback device found at /dev/video[0-99].")
    monkeypatch.setattr("server.camera.remedies.this_system", lambda: "debian")
    monkeypatch.setattr("server.camera.sinks.this_system", lambda: "debian")
    assert run_main(["camera", "-c", str(plain), "--engine", "passthrough"], monkeypatch) == 2
    said = capsys.readouterr().err
    assert "no virtual camera is installed here" in said
    assert "sudo apt install v4l2loopback-dkms" in said
    assert "warming up" not in said


def test_the_terminal_gets_no_pictures(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """y4m:- without a pipe says what to type."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run_main(["camera", "-c", str(plain), "--to", "y4m:-"], monkeypatch) == 2
    assert "relight camera --to y4m:- | ffplay -i -" in capsys.readouterr().err


def test_variables_of_the_server_that_are_wrong_are_named(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They configure the engine here too."""
    monkeypatch.setenv("RELIGHT_LCVD_BATCH", "many")
    assert run_main(["camera", "-c", str(plain), "--to", "y4m:x.y4m"], monkeypatch) == 2
    assert "RELIGHT_LCVD_BATCH = 'many'" in capsys.readouterr().err


def test_list_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, names and modes; without a camera, that a clip will do."""
    from server.camera.devices import CameraInfo
    from server.camera.v4l2 import Mode

    infos = [CameraInfo(2, "Cam [x]", "/dev/video2", "v4l2", (Mode("YUYV", 640, 480, (30.0, 15.0)),))]
    monkeypatch.setattr("server.camera.devices.list_cameras", lambda: infos)
    from typer.testing import CliRunner

    from server.cli.main import app

    said = CliRunner().invoke(app, ["camera", "--list"]).output
    assert "2 Cam [x]" in said
    assert "640x480  YUYV  30, 15 fps" in said
    infos.clear()
    assert "--camera clip.mp4" in CliRunner().invoke(app, ["camera", "--list"]).output
