"""`relight evaluate` on small clips of a real face: table, JSON, and errors that name the remedy."""

import io
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from engine.errors import ClipError
from lcvd.errors import ImageError, LightError
from lcvd.lighting.presets import preset
from lcvd.metrics import Missing, Request, metrics_for
from lcvd.metrics.evaluation import Outcome, Report
from server.cli.evaluate import evaluate, show
from tests.clips import make_clip

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)
runner = CliRunner()


def write(path: Path, frames: list[np.ndarray]) -> Path:
    """Writes a nearly lossless clip at 25 fps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def face_frames(portrait: np.ndarray) -> list[np.ndarray]:
    """Gives six frames of the sample portrait, 288², sliding a pixel a frame."""
    small = cv2.resize(portrait, (288, 288), interpolation=cv2.INTER_AREA)
    return [np.roll(small, i, axis=1) for i in range(6)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, face_frames: list[np.ndarray]) -> Path:
    return write(tmp_path_factory.mktemp("evaluate") / "driver.mp4", face_frames)


@pytest.fixture(scope="module")
def flickering(driver: Path, face_frames: list[np.ndarray]) -> Path:
    """Writes the clip with every other frame 12 % brighter, at its own size."""
    frames = [np.clip(f * (1.12 if i % 2 else 1.0), 0, 255).astype(np.uint8) for i, f in enumerate(face_frames)]
    return write(driver.with_name("flickering.mp4"), frames)


def document(output: str) -> dict:
    return json.loads(output.strip().splitlines()[-1])


def test_a_clip_against_itself(driver: Path) -> None:
    """The driver as its own result: flicker 1, an untouched background, no error of pose or expression; a table."""
    result = runner.invoke(app, [str(driver), "--driver", str(driver), "--light", "soft-front"])
    assert result.exit_code == 0, result.output
    found = document(result.output)
    metrics = found["metrics"]
    assert found["frames"] == found["result_faces"] == found["driver_faces"] == 6
    assert metrics["flicker"]["value"] == pytest.approx(1)
    assert metrics["background_psnr"]["value"] == 100
    assert metrics["pose"]["value"] == pytest.approx(0, abs=1e-3)
    assert metrics["expression"]["value"] == pytest.approx(0, abs=1e-3)
    assert metrics["light_error"]["value"] == metrics["light_error"]["details"]["driver"]
    for word in ("light_error", "flicker", "dB", "Lai et al. 2018", "ID skipped", "LPIPS skipped"):
        assert word in result.output


def test_remedies_are_printed_whole() -> None:
    """Square brackets are rich's markup: `pip install -e '.[lcvd]'` keeps its extra."""
    info = metrics_for(Request(preset("soft-front").lighting, 2))[-1].info
    missing = Missing("no torch", "pip install -e '.[lcvd]'")
    text = io.StringIO()
    show(Report(2, 2, 2, (Outcome(info, missing=missing),)), "[bold]", Console(file=text, width=200))
    assert "-e '.[lcvd]'" in text.getvalue()
    assert "light [bold]" in text.getvalue()


def test_json_alone_is_one_line(driver: Path, flickering: Path) -> None:
    """--json prints nothing else on stdout, and --frames limits what is read; flicker is seen."""
    result = runner.invoke(app, [str(flickering), "-d", str(driver), "-l", "soft-front", "--json", "--frames", "4"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().splitlines()) == 1
    found = document(result.stdout)
    assert found["frames"] == 4
    assert found["metrics"]["flicker"]["value"] > 2
    assert found["metrics"]["background_psnr"]["value"] < 40
    skipped = found["metrics"]["ID"]
    assert skipped["value"] is None
    assert skipped["skipped"]["reason"]
    assert skipped["skipped"]["remedy"]
    assert skipped["paper"] == "ID"


def test_a_weight_file_switches_its_metric_on(driver: Path, tmp_path: Path, face_frames: list[np.ndarray]) -> None:
    """A scripted stand-in for ArcFace in --weights-dir: ID gets a value against the reference portrait."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class Mean(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return x.mean((2, 3)) + 1

    torch.jit.script(Mean()).save(str(tmp_path / "arcface.pt"))
    cv2.imwrite(str(tmp_path / "portrait.png"), face_frames[0][:, :, ::-1])
    arguments = [str(driver), "-d", str(driver), "-l", "soft-front", "--json", "--frames", "2"]
    arguments += ["--weights-dir", str(tmp_path), "--reference", str(tmp_path / "portrait.png"), "--cross-identity"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    metrics = document(result.stdout)["metrics"]
    assert metrics["ID"]["value"] > 0.99
    assert metrics["ID"]["frames"] == 2
    assert "another person" in metrics["flicker"]["skipped"]["reason"]
    (tmp_path / "arcface.pt").write_bytes(b"damaged")
    metrics = document(runner.invoke(app, arguments).stdout)["metrics"]
    assert "not a TorchScript file" in metrics["ID"]["skipped"]["reason"]
    assert metrics["pose"]["value"] is not None


def test_other_sizes_still_give_light_and_pose(driver: Path, face_frames: list[np.ndarray]) -> None:
    """A result of another size: pixels are not compared, the rest is."""
    small = [cv2.resize(frame, (224, 224), interpolation=cv2.INTER_AREA) for frame in face_frames]
    path = write(driver.with_name("small.mp4"), small)
    result = runner.invoke(app, [str(path), "-d", str(driver), "-l", "soft-front", "--json", "--frames", "2"])
    metrics = document(result.stdout)["metrics"]
    assert "224x224 and 288x288" in metrics["background_psnr"]["skipped"]["reason"]
    assert metrics["pose"]["value"] < 3
    assert metrics["light_error"]["value"] is not None


def trouble(arguments: list[str]) -> Exception:
    result = runner.invoke(app, arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, Exception)
    return result.exception


def test_frame_counts_must_agree(driver: Path, face_frames: list[np.ndarray]) -> None:
    """Six frames against four: both numbers and the remedy."""
    short = write(driver.with_name("short.mp4"), face_frames[:4])
    error = trouble([str(short), "-d", str(driver), "-l", "soft-front"])
    assert isinstance(error, ClipError)
    assert "4 frames" in error.message
    assert "has 6" in error.message
    assert error.hint


def test_a_clip_without_a_face_is_an_error(tmp_path: Path) -> None:
    """A gradient shows nobody: the error names the clip."""
    clip = make_clip(tmp_path / "empty.mp4", [0, 0.04, 0.08], width=96, height=96)
    error = trouble([str(clip), "-d", str(clip), "-l", "soft-front"])
    assert isinstance(error, ClipError)
    assert "no face" in error.message
    assert "empty.mp4" in error.message


def test_unreadable_input_is_an_error(driver: Path, tmp_path: Path) -> None:
    """A missing clip, a text file, an unknown light, a reference without a face and one that is not there."""
    (tmp_path / "text.mp4").write_text("no video")
    for bad in (tmp_path / "nowhere.mp4", tmp_path / "text.mp4"):
        error = trouble([str(bad), "-d", str(driver), "-l", "soft-front"])
        assert isinstance(error, ClipError)
        assert bad.name in error.message
    assert isinstance(trouble([str(driver), "-d", str(driver), "-l", "no-such-light"]), LightError)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    for name, word in (("grey.png", "no face"), ("nowhere.png", "No such file")):
        error = trouble([str(driver), "-d", str(driver), "-l", "soft-front", "-r", str(tmp_path / name)])
        assert isinstance(error, ImageError)
        assert word in error.message


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--weights-dir", "/no/such/folder"], "not a folder"), (["--cross-identity"], "--reference")],
)
def test_impossible_options_are_refused(driver: Path, arguments: list[str], word: str) -> None:
    """Before anything is read."""
    result = runner.invoke(app, [str(driver), "-d", str(driver), "-l", "soft-front", *arguments])
    assert result.exit_code == 2
    assert word in " ".join(result.output.split())


def test_the_original_light_has_no_light_error(driver: Path) -> None:
    """Nothing was asked for, so nothing is compared; the rest is measured."""
    result = runner.invoke(app, [str(driver), "-d", str(driver), "-l", "original", "--json", "--frames", "2"])
    metrics = document(result.stdout)["metrics"]
    assert metrics["light_error"]["value"] is None
    assert metrics["flicker"]["value"] is not None
