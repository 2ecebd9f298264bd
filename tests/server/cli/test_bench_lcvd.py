"""`relight bench lcvd`: the grid, its table, its document and its plot."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from server.cli.bench_lcvd import GridOptions, bench_lcvd, draw
from server.cli.main import app

SMALL = ["bench", "lcvd", "--weights", "random-tiny", "--steps", "1", "--branches", "1", "--strides", "4"]


def test_the_grid_is_measured_and_its_document_comes_last(tmp_path: Path) -> None:
    """One row for each backend that runs; the others are named with the reason; the plot is drawn."""
    plot = tmp_path / "grid.png"
    result = CliRunner().invoke(
        app, [*SMALL, "--backends", "eager,nothing", "--live-seconds", "0", "--plot", str(plot)]
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout.strip().splitlines()[-1])
    (row,) = document["grid"]
    assert (row["backend"], row["steps"], row["branches"], row["stride"]) == ("eager", 1, 1, 4)
    assert row["window_ms"] > 0
    assert document["weights"] == "random-tiny"
    assert "nothing" in document["left_out"][0]
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert "not measured in this run" in result.stdout  # the goals are a GPU's


def test_a_spent_budget_is_said_and_costs_nothing_measured() -> None:
    """The clock ends the run in the middle; what was measured is there, the rest is named."""
    options = GridOptions("random-tiny", backends="eager", steps="1,2,4,8,25", live_s=0, budget_s=2.5)
    result = bench_lcvd(options, Console(quiet=True))
    assert len(result.grid) < 5 * 3 * 2
    assert "budget" in result.left_out[-1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--steps", "3"], "--steps"), (["--strides", "x"], "--strides"), (["--weights", "random-full"], "--weights")],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], word: str) -> None:
    """Naming the option; the published size on a CPU would take ten minutes a forward."""
    result = CliRunner().invoke(app, [*SMALL, *arguments])
    assert result.exit_code == 2
    assert word in result.output


def test_nothing_measured_is_a_failure() -> None:
    """Exit 1 where no backend ran."""
    result = CliRunner().invoke(app, [*SMALL, "--backends", "nothing", "--live-seconds", "0"])
    assert result.exit_code == 1


def test_the_goals_are_judged_where_they_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A synthetic run on a GPU: a goal that is met and one that is not."""
    from engine.bench.lcvd import BackendTimes, GridPoint, LcvdBench, floor_table, flops_of, grid_row
    from server.cli.bench_lcvd import show

    flops, gflop = flops_of("full", 512)
    rows = [
        grid_row("compiled", "bf16", GridPoint(4, 2, 10), 0.35, 25.0, (0.8, 0.9, 25.0)),
        grid_row("compiled", "bf16", GridPoint(2, 2, 10), 0.25, 25.0),
    ]
    times = [BackendTimes("compiled", "bf16", 90.0, 9.0, 0.1, (40.0, 75.0), 6.0, 541.0, 0.68, 20000.0)]
    floor = floor_table(flops)
    made = LcvdBench("random-full", "full", 512, "NVIDIA H200", 790, "bfloat16", 25, gflop, floor, times, rows, [])
    show(made, Console(width=150))
    text = capsys.readouterr().out
    assert "28.6 fps met" in text
    assert "40 fps not met" in text
    assert "not measured" in text


def test_the_plot_needs_no_rows(tmp_path: Path) -> None:
    """An empty grid draws an empty plot and raises nothing."""
    from engine.bench.lcvd import LcvdBench

    empty = LcvdBench("random-tiny", "tiny", 64, "CPU", 0.1, "float32", 25, {}, [], [], [], ["eager: no"])
    draw(empty, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000


@pytest.mark.parametrize("old", [["--engine", "lcvd"], ["--engine=lcvd"], ["--seconds", "3", "--engine", "lcvd"]])
def test_the_old_spelling_runs_the_grid_with_one_line_of_warning(old: list[str]) -> None:
    """`relight bench --engine lcvd` reaches the sub-command for one version; the options it never read are dropped."""
    result = CliRunner().invoke(app, ["bench", *old, "--weights", "random-tiny", "--steps", "3"])
    assert result.exit_code == 2
    assert "--steps" in result.output  # the sub-command's own refusal
    warnings = [line for line in result.stderr.splitlines() if "relight bench lcvd" in line and "now" in line]
    assert len(warnings) == 1
    assert "warning" not in result.stdout


def test_through_webrtc_lcvd_is_an_engine_like_any_other() -> None:
    """With --loopback the old spelling is the new one: nothing is rewritten."""
    from server.cli.bench import as_grid, asks_for_grid

    assert not asks_for_grid(["--engine", "lcvd", "--loopback"])
    assert not asks_for_grid(["lcvd", "--weights", "lcvd"])
    assert not asks_for_grid(["--engine", "lcvd", "--engine=ratio"])
    assert as_grid(["--engine=lcvd", "-lrim", "--quality", "fine", "--steps", "1"]) == ["lcvd", "--steps", "1"]
    assert as_grid(["--light=rim", "--engine", "lcvd", "--plot", "x.png"]) == ["lcvd", "--plot", "x.png"]


def test_an_option_in_front_of_the_sub_command_is_refused() -> None:
    """It would be read by nobody."""
    result = CliRunner().invoke(app, ["bench", "--seconds", "5", "lcvd"])
    assert result.exit_code == 2
    assert "--seconds" in result.output
