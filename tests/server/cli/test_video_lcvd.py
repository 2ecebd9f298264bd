"""`relight video --engine lcvd` as a person types it: good clips, bad ones, bad weights, and runs that are cut off."""

import os
import pickle
import shutil
import struct
import sys
import tracemalloc
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
pytest.importorskip("diffusers", reason="pip install -e '.[lcvd]'")

from engine.offline.video_file import ClipReader  # noqa: E402
from engine.reference import square_around  # noqa: E402
from lcvd.networks.precond import Denoiser  # noqa: E402
from lcvd.sampling.latent_file import ClipLatents  # noqa: E402
from lcvd.tracking.crop import crop  # noqa: E402
from lcvd.tracking.mesh import MeshTracker  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from server.cli.main import main  # noqa: E402
from tests.clips import make_clip  # noqa: E402

SIZE = 64


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_tiny(folder)
    return folder


def write_clip(path: Path, rgb: np.ndarray, times_s: list[float], turn: int = 0, sound: bool = False) -> Path:
    """Writes `rgb` at each of `times_s`, stored `turn` quarters off and marked so that players turn it upright."""
    stored = np.ascontiguousarray(np.rot90(rgb, k=-turn))
    height, width = stored.shape[:2]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height = width, height
        video.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if turn:
            video.set_display_rotation(90 * turn)
        audio = container.add_stream("aac", rate=16000) if sound else None
        for t_s in times_s:
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = round(t_s * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, 8000, 1000):
                piece = av.AudioFrame.from_ndarray(np.full((1, 1000), 2000, np.int16), format="s16", layout="mono")
                piece.sample_rate, piece.pts = 16000, start
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="module")
def face(portrait: np.ndarray) -> np.ndarray:
    """[192,192,3]"""
    return cv2.resize(portrait, (192, 192), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """Writes two frames: enough for what fails before they matter."""
    return write_clip(tmp_path_factory.mktemp("driver") / "driver.mp4", face, [0.0, 0.1])


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("still") / "portrait.png"
    cv2.imwrite(str(path), face[..., ::-1])
    return path


class Command:
    """Runs `relight video` with a tiny model in a folder of its own."""

    def __init__(self, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        self.weights, self.output = weights, folder / "out.mp4"
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, source: Path, *words: object, **options: object) -> tuple[int, str]:
        """Returns the exit status and the output; an exception that no boundary caught comes through."""
        given = {"engine": "lcvd", "weights": self.weights, "output": self.output, "steps": 1, "size": SIZE, **options}
        line = [str(source), *(str(w) for w in words)]
        for name, value in given.items():
            if value is not None:
                line += [f"--{name}", str(value)]
        self._monkeypatch.setattr(sys, "argv", ["relight", "video", *line])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), " ".join(self._capsys.readouterr().err.split())

    def left(self) -> list[str]:
        """Returns the files beside the output."""
        return sorted(path.name for path in self.output.parent.iterdir())


@pytest.fixture
def command(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Command:
    folder = tmp_path / "work"
    folder.mkdir()
    return Command(weights, folder, monkeypatch, capsys)


def times_of(path: Path) -> list[float]:
    with ClipReader(path) as reader:
        return [frame.t_s for frame in reader.frames()]


@pytest.mark.parametrize(
    ("name", "shape", "times_s", "turn"),
    [
        ("variable.mp4", (192, 192), [0.0, 0.04, 0.3, 0.32, 0.9], 0),
        ("upright.mp4", (200, 160), [0.0, 0.1], 1),
        ("upside-down.mp4", (192, 192), [0.0, 0.1], 2),
        ("odd.mkv", (193, 175), [0.0, 0.1, 0.2], 0),
        ("one-frame.mp4", (192, 192), [0.0], 0),
    ],
)
def test_every_kind_of_clip(
    command: Command, tmp_path: Path, face: np.ndarray, name: str, shape: tuple[int, int], times_s: list, turn: int
) -> None:
    """Uneven times, rotation marks, odd sides, one frame: the clip comes out upright, at its times, with its sound."""
    picture = cv2.resize(face, shape[::-1])
    source = write_clip(tmp_path / name, picture, times_s, turn, sound=True)
    status, text = command(source, "--compare")
    assert status == 0, text
    assert times_of(command.output) == pytest.approx(times_of(source), abs=0.002)
    with ClipReader(command.output) as reader:
        assert (reader.info.width, reader.info.height) == (4 * SIZE, SIZE)
        assert reader.info.has_audio
        panels = next(reader.frames()).rgb.astype(float)
    # The clip is its own reference: the first panel is the upright head, and so is the last.
    tracker = MeshTracker()
    seen = tracker.track(picture, 0.0)
    tracker.close()
    assert seen is not None
    head = crop(picture, square_around(seen, shape), SIZE).astype(float)
    for panel in (panels[:, :SIZE], panels[:, 3 * SIZE :]):
        turned = [np.abs(panel - np.rot90(head, k)).mean() for k in range(4)]
        assert turned[0] < 0.4 * min(turned[1:])
    assert command.left() == ["out.mp4"]


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size and has no pixel."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("faceless", "no face was found in the reference"),
        ("bomb", "60000×60000 pixels"),
        ("cut", "[cut].png cannot be decoded"),
        ("empty", "empty"),
        ("huge", "is over"),
        ("absent", "cannot be read"),
        ("clip", "not a picture"),
    ],
)
def test_bad_references(
    command: Command, tmp_path: Path, driver: Path, still: Path, kind: str, message: str, monkeypatch
) -> None:
    """A reference without a face, an image bomb, a cut-off, empty, huge or missing file: an error before any work."""
    path = tmp_path / f"[{kind}].png"
    if kind == "faceless":
        cv2.imwrite(str(path), np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    elif kind == "bomb":
        path.write_bytes(png_header(60_000, 60_000) + b"\0" * 64)
    elif kind == "cut":
        path.write_bytes(still.read_bytes()[:2000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)  # a hole: no disk is used, but who reads it all needs a terabyte
    elif kind == "clip":
        shutil.copy(driver, path)
    status, text = command(driver, reference=path)
    assert status == 2
    assert message in text
    assert "try:" in text
    assert command.left() == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no frames", "no decodable frame"),
        ("cut off", "not a readable video"),
        ("no picture", "no video stream"),
        ("no face", "no face in any frame"),
    ],
)
def test_bad_drivers(command: Command, tmp_path: Path, driver: Path, still: Path, kind: str, message: str) -> None:
    """A clip of zero frames, without a picture, cut off, or that shows nobody, is refused by name."""
    path = tmp_path / "driver.mp4"
    if kind == "no frames":
        path = path.with_suffix(".avi")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            container.start_encoding()
    elif kind == "cut off":
        path.write_bytes(driver.read_bytes()[: driver.stat().st_size // 2])
    elif kind == "no picture":
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=16000)
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
            piece.sample_rate, piece.pts = 16000, 0
            container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    else:
        make_clip(path, [0.0, 0.1], 128, 128)
    status, text = command(path, reference=still)
    assert status == 2
    assert message in text
    assert command.left() == []


class Hostile:
    """Runs `target` when a careless reader unpickles it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "unet.pth"),
        ("cut off", "cut off"),
        ("swapped", "extra"),
        ("hostile", "refused"),
        ("compressed", "unpacks to"),
        ("nowhere", "no such folder"),
    ],
)
def test_bad_weights(command: Command, tmp_path: Path, driver: Path, weights: Path, kind: str, message: str) -> None:
    """Missing, cut-off, foreign, hostile and exploding weight files are named; nothing in them runs."""
    folder = tmp_path / "weights"
    unet = folder / "unet.pth"
    if kind != "nowhere":
        shutil.copytree(weights, folder, copy_function=os.symlink)
        unet.unlink()
    if kind == "cut off":
        whole = (weights / "unet.pth").read_bytes()
        unet.write_bytes(whole[: len(whole) // 2])
    elif kind == "swapped":
        shutil.copy(weights / "light_embedder.pth", unet)
    elif kind == "hostile":
        unet.write_bytes(pickle.dumps({"conv_in.weight": Hostile(tmp_path / "owned")}))
    elif kind == "compressed":
        with zipfile.ZipFile(unet, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    status, text = command(driver, weights=folder)
    assert status == 2
    assert message in text
    assert "try:" in text
    assert not (tmp_path / "owned").exists()
    assert command.left() == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("omega", "nan", "omega=nan"),
        ("dtype", "fp8", "dtype='fp8'"),
        ("device", "gpu", "device 'gpu'"),
        ("device", "cuda:99", "no such CUDA device"),
        ("seed", 2**63, "seed="),
        ("size", 100, "size=100"),
        ("size", 8192, "size=8192"),
        ("sampler", "heun", "sampler='heun'"),
        ("motion", "wild", "motion='wild'"),
        ("background", "keep", "keeps the reference's background"),
    ],
)
def test_bad_settings_come_before_the_work(
    command: Command, driver: Path, option: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that cannot work are refused before a tracker is made, with the remedy and exit status 2."""
    monkeypatch.setattr(
        "engine.offline.animate_clip.make_tracker", lambda *given, **named: pytest.fail("work has begun")
    )
    status, text = command(driver, **{option: value})
    assert status == 2
    assert message in text
    assert "try:" in text
    assert command.left() == []


def test_state_that_is_a_file(command: Command, driver: Path, still: Path) -> None:
    """A state folder that is a file is left as it is."""
    before = still.read_bytes()
    status, text = command(driver, state=still)
    assert status == 2
    assert "state folder" in text
    assert still.read_bytes() == before


@pytest.mark.parametrize("where", ["beside the output", "a folder with other things"])
def test_interrupted_run_goes_on(
    command: Command, tmp_path: Path, face: np.ndarray, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C keeps the state and says so; the same command does only the rest, and then no state is left."""
    source = write_clip(tmp_path / "long.mp4", face, [index / 15 for index in range(18)])  # two windows
    state = command.output.with_name(f".{command.output.name}.lcvd")
    named: dict[str, object] = {}
    if where != "beside the output":
        state = tmp_path / "keep"
        state.mkdir()
        (state / "notes.txt").write_text("mine")
        named = {"state": state}
    asked: list[int] = []
    forward, commit = Denoiser.forward, ClipLatents.commit

    def counted(self, *given):
        asked.append(1)
        return forward(self, *given)

    def cut(self, window: int) -> None:
        commit(self, window)
        if (self.step, window) == (1, 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(Denoiser, "forward", counted)
    with monkeypatch.context() as patched:
        patched.setattr(ClipLatents, "commit", cut)
        status, text = command(source, steps=2, **named)
    assert status == 130
    assert f"{state} keeps what was done" in text
    assert not command.output.exists()
    assert len(asked) == 3
    refused, text = command(source, steps=2, seed=1, **named)
    assert refused == 2
    assert "another run" in text
    status, text = command(source, steps=2, **named)
    assert status == 0, text
    assert len(asked) == 4
    assert len(times_of(command.output)) == 18
    assert command.left() == ["out.mp4"]
    if named:
        assert [path.name for path in state.iterdir()] == ["notes.txt"]


def test_memory_does_not_grow_with_the_clip(
    command: Command, tmp_path: Path, face: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six times the frames, the same peak of numpy memory; 60 hints of 256 px alone would be 11.8 MB more."""
    monkeypatch.setattr("lcvd.sampling.pipeline.load_lcvd", lambda *given, **named: SimpleNamespace(student=None))
    # Stands in for the model only: tests/lcvd bounds what the sampler holds.
    monkeypatch.setattr(
        "lcvd.sampling.pipeline.relight_frames",
        lambda model, rgb, hint, hints, mask, **named: (np.array(h) for h in hints),
    )
    peaks = []
    for frames in (12, 12, 72):  # the first run pays for imports and caches
        source = write_clip(tmp_path / f"{frames}.mp4", face, [index / 30 for index in range(frames)])
        tracemalloc.start()
        try:
            status, text = command(source, "-y", size=256)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert status == 0, text
        assert len(times_of(command.output)) == frames
    assert peaks[2] < peaks[1] + 2e6
