"""`relight evaluate --synthetic`: tables, files and one JSON line; wrong options are refused."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
import typer
from typer.testing import CliRunner

from server.cli.evaluate import evaluate
from server.cli.evaluate_synthetic import SyntheticOptions, plan_of
from training.errors import DataError
from training.evaluation import QUICK, Plan

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)
runner = CliRunner()


def test_a_quick_run_ends_with_one_json_line(folder: Path, tmp_path: Path) -> None:
    """`--synthetic --quick` prints tables, then one JSON line, and writes every file to --out."""
    out = tmp_path / "out"
    arguments = ["--synthetic", "--quick", "--weights", str(folder), "--size", "64", "--heads", "2", "--frames", "2"]
    result = runner.invoke(app, [*arguments, "--steps", "2", "--omegas", "1,4", "--out", str(out)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert {"psnr", "psnr_no_relight", "light_error", "light_error_no_relight"} <= found.keys()
    assert found["plan"]["heads"] == 2
    assert found["plan"]["omegas"] == [1.0, 4.0]
    assert found["psnr"] < found["psnr_no_relight"] < found["psnr_truth"] == 100  # it draws noise, not faces
    assert "adapters" in result.stdout
    written = {"tables.md", "scores.csv", "summary.json", "sheet.png"}
    assert written <= {path.name for path in out.iterdir()}
    assert json.loads((out / "summary.json").read_text()) == found


def test_json_alone_and_headline_alone(folder: Path) -> None:
    """`--json --no-ablations` prints one line about one variant."""
    arguments = [
        "--synthetic",
        "--weights",
        str(folder),
        "--size",
        "64",
        "--heads",
        "1",
        "--frames",
        "1",
        "--steps",
        "1",
    ]
    result = runner.invoke(app, [*arguments, "--json", "--no-ablations"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().splitlines()) == 1
    found = json.loads(result.stdout)
    assert [name for name in found["rows"] if "ω" in name] == [f"both, ω {found['plan']['omega']:g}"]
    assert found["claims"] == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--synthetic", "clip.mp4"], "RESULT"),
        (["--synthetic", "--light", "rim"], "--light"),
        (["clip.mp4", "-d", "x.mp4", "-l", "rim", "--heads", "3"], "--heads"),
        (["clip.mp4", "-d", "x.mp4", "-l", "rim", "--quick"], "--synthetic"),
        (["clip.mp4", "-d", "x.mp4", "-l", "rim", "--facekit", "kit.npz"], "--synthetic"),
        (["clip.mp4"], "--driver"),
        ([], "RESULT"),
        (["--synthetic", "--omegas", "1,two"], "commas"),
        (["--synthetic", "--omegas", "1,-2"], "at least 0"),
        (["--synthetic", "--omegas", "1,2", "--no-ablations"], "--omegas"),
        (["--synthetic", "--sampler", "heun"], "euler"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], word: str) -> None:
    """The error has the option's name and comes before any weights are read."""
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert word in " ".join(result.output.replace("│", " ").split())


def options(**said: object) -> SyntheticOptions:
    nothing = dict.fromkeys(("heads", "frames", "size", "steps", "sampler", "omega", "omegas", "out"))
    rest = {"weights": "x", "device": "cpu", "ablations": True, "seed": 0, "quick": False, "json_only": True}
    return SyntheticOptions(**(nothing | rest | said))


def test_weights_are_run_as_they_say() -> None:
    """A manifest's size, steps and guidance, or a student's, are the defaults; the command line wins."""
    nano = {"size": 96, "live": {"steps": 2, "guidance": "none"}}
    plan = plan_of(options(), nano)
    assert (plan.size, plan.omega, plan.steps, plan.omegas) == (96, 1.0, 2, Plan().omegas)
    assert plan_of(options(), {}) == Plan()
    assert plan_of(options(quick=True), {}) == QUICK
    said = plan_of(options(size=64, omega=3.0, steps=7, sampler="ddim", omegas="2,1", frames=4), nano)
    assert said == Plan(frames=4, size=64, omega=3.0, steps=7, sampler="ddim", omegas=(2.0, 1.0))
    taught = plan_of(options(), {"student": {"omega": 3.0, "steps": 4}})
    assert (taught.omega, taught.steps, taught.variants) == (1.0, 4, taught.adapter_variants)


def test_scanned_heads_need_the_kit(folder: Path, tmp_path: Path) -> None:
    """A kit that is not there is told before the weights are read, by the option's name and what to give."""
    arguments = ["--synthetic", "--weights", str(folder), "--facekit", str(tmp_path / "none.npz")]
    with pytest.raises(DataError, match="--facekit") as told:
        runner.invoke(app, arguments, catch_exceptions=False)
    assert "ICT-FaceKit" in told.value.hint
