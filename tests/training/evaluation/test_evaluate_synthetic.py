"""A model against true pixels: exact scores of made-up pictures, held-out heads, muted features, one JSON line."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")
import torch
import typer
from typer.testing import CliRunner

from lcvd.errors import ShapeError
from lcvd.lighting.presets import PRESETS
from lcvd.model import LcvdModel, load_lcvd
from lcvd.networks.schedule import few_step_sigmas
from lcvd.sampling.pipeline import relight_frames
from lcvd.weights.tiny import write_tiny
from server.cli.evaluate import evaluate
from server.cli.evaluate_synthetic import SyntheticOptions, plan_of
from training.data.synthetic import HELD_OUT, HeadSource
from training.evaluation import QUICK, Case, Plan, Scores, Trial, Variant, held_out_case, relit, run_trial, scored
from training.evaluation.calibration import faulty, painted, part_way
from training.evaluation.case import FIRST, HEADS_MAX, seed_of, target_of
from training.evaluation.claims import claims_of
from training.evaluation.detail import correlation, face_detail
from training.evaluation.pictures import draw_plot, sheet
from training.evaluation.report import document, markdown, per_head
from training.evaluation.ssim import C1, C2, ssim
from training.evaluation.statistics import column_of, difference, mean_of
from training.evaluation.trial import NO_RELIGHT, TRUTH, VAE
from training.heads.clip import random_person

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)
runner = CliRunner()


@pytest.fixture(scope="module")
def case() -> Case:
    """Two frames of 64 px asked for a preset."""
    return held_out_case(1, 2, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("synthetic") / "tiny"
    write_tiny(path, seed=0)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> LcvdModel:
    return load_lcvd(folder)


@pytest.fixture(scope="module")
def trial(model: LcvdModel) -> Trial:
    """Two heads, every variant, one step."""
    return run_trial(model, Plan(heads=2, frames=1, size=64, steps=1, omega=2.0, omegas=(1.0, 2.0)))


def test_the_truth_scores_perfectly(case: Case) -> None:
    """Equal pixels: 100 dB, SSIM 1, no light error, the whole way; to the request, the floor."""
    found = scored(case.truth, case)
    assert found.psnr == 100
    assert found.ssim == pytest.approx(1)
    assert found.light_error == 0
    assert found.light_moved == pytest.approx(1)
    assert 0 < found.light_error_request < 0.3
    assert found.identity_detail > 0.8


def test_the_background_does_not_count(case: Case) -> None:
    """Noise behind the person changes nothing of PSNR, and one level on the person is 48.13 dB."""
    behind = case.truth.copy()
    behind[~case.masks] = 255 - behind[~case.masks]
    assert scored(behind, case).psnr == 100
    off = np.where(case.truth < 255, case.truth + 1, case.truth - 1).astype(np.uint8)
    assert scored(off, case).psnr == pytest.approx(20 * math.log10(255), abs=1e-9)


def test_the_light_of_the_source_is_an_error(case: Case) -> None:
    """The frames as they were are the same person in another light."""
    found = scored(case.source, case)
    assert found.psnr < 25
    assert found.light_error > 0.1
    assert found.light_moved == 0
    assert found.identity_detail > 0.6


def test_black_pictures_have_no_light(case: Case) -> None:
    """What cannot be measured is NaN and not a number."""
    found = scored(np.zeros_like(case.truth), case)
    assert (found.lit_frames, scored(case.truth, case).lit_frames) == (0, 1)
    assert math.isnan(found.light_error)
    assert math.isnan(found.light_moved)
    assert found.identity_detail == 0
    with pytest.raises(ShapeError, match="expected uint8"):
        scored(case.truth[:1], case)


def test_identity_knows_the_person_and_not_the_light() -> None:
    """The same head under two lights is nearer to its flat picture than another head is."""
    cases = [held_out_case(index, 1, 64) for index in (0, 1, 3, 4)]
    flats = [face_detail(c.flat[0], c.faces[0]) for c in cases]
    own = [correlation(face_detail(c.truth[0], c.faces[0]), flat) for c, flat in zip(cases, flats, strict=True)]
    others = [correlation(a, b) for i, a in enumerate(flats) for b in flats[:i]]
    assert min(own) > max(others)
    assert correlation(flats[0], flats[0]) == pytest.approx(1)


def test_identity_ignores_any_gain_of_the_light(case: Case) -> None:
    """A picture lit twice as strongly, before any channel clips, is the same person."""
    dark = (case.flat[0] * 0.5).astype(np.uint8)
    assert correlation(face_detail(dark, case.faces[0]), face_detail(case.flat[0], case.faces[0])) > 0.97


def test_ssim_is_its_definition() -> None:
    """Against Wang's formula, window by window, in plain loops."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (16, 17, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((16, 17), bool)
    mask[5:11, 5:12] = True  # whole windows only
    luma = np.array([0.299, 0.587, 0.114])
    x, y = a @ luma, b @ luma
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for i, j in zip(*np.nonzero(mask), strict=True):
        p, q = x[i - 5 : i + 6, j - 5 : j + 6], y[i - 5 : i + 6, j - 5 : j + 6]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
        cov = (window * p * q).sum() - mp * mq
        values.append((2 * mp * mq + C1) * (2 * cov + C2) / ((mp**2 + mq**2 + C1) * (vp + vq + C2)))
    assert ssim(a, b, mask) == pytest.approx(np.mean(values), rel=1e-6)
    assert ssim(a, a, mask) == pytest.approx(1)
    with pytest.raises(ShapeError):
        ssim(a, b, np.zeros_like(mask))


def test_heads_are_held_out() -> None:
    """No training run can have them, nor its validation; evaluation seeds do not share heads."""
    assert FIRST > HELD_OUT + 10**6  # validation counts up from HELD_OUT
    seeds = [seed_of(index, seed) for seed in (0, 1, 7) for index in (0, 1, HEADS_MAX - 1)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= FIRST
    with pytest.raises(ShapeError):
        seed_of(HEADS_MAX, 0)
    with pytest.raises(Exception, match="held-out"):
        HeadSource(10, HELD_OUT - 5)


def test_cases_repeat_and_their_lights_differ() -> None:
    """The same bytes at every call; every other case is asked for a preset, all of the gallery in turn."""
    a, b = held_out_case(0, 1, 64), held_out_case(0, 1, 64)
    assert np.array_equal(a.truth, b.truth)
    assert np.array_equal(a.source, b.source)
    assert a.light == "random"
    assert a.frames == 1
    count = len(PRESETS) - 1
    assert {target_of(2 * i + 1).name for i in range(count)} == {p.name for p in PRESETS if p.name != "original"}
    assert held_out_case(1, 1, 64).light == target_of(1).name
    assert not np.array_equal(a.reference_hint, a.hints[0])


class Spy(torch.nn.Module):
    """A denoiser that remembers its conditions."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, x, sigma, condition):
        self.seen.append(condition)
        return self.inner(x, sigma, condition)


@pytest.mark.parametrize("shading", [True, False])
@pytest.mark.parametrize("reference", [True, False])
def test_a_muted_adapter_says_exactly_nothing(model: LcvdModel, case: Case, shading: bool, reference: bool) -> None:
    """What reaches the denoiser is the sum of the features that are told, in both branches; the rest is as ever."""
    spy = Spy(model.denoiser)
    relit(replace(model, denoiser=spy), case, Variant(2.0, shading=shading, reference=reference), steps=1)
    condition = spy.seen[0]
    pixels = torch.from_numpy(case.reference.astype(np.float32)).permute(2, 0, 1)[None, None] / 127.5 - 1
    hints = np.concatenate([case.reference_hint[None], case.hints])
    shades = torch.from_numpy(hints).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        portrait = model.adapters.features("reference", pixels) * float(reference)
        light = model.adapters.features("shading", shades) * float(shading)
    c1, c2 = condition.features
    torch.testing.assert_close(c1, (portrait + 0 * light)[0])
    torch.testing.assert_close(c2, (portrait + light)[0])
    assert (c1.abs().max() == 0) == (not reference)
    assert (c2.abs().max() == 0) == (not reference and not shading)
    assert condition.image_embedding[1].abs().max() > 0
    assert condition.latents.abs().max() > 0


def test_both_is_the_pipeline_itself(model: LcvdModel, case: Case) -> None:
    """Nothing muted: the very bytes of `relight_frames` at the live levels."""
    expected = relight_frames(
        model, case.reference, case.reference_hint, case.hints, case.reference_mask,
        omega=3.0, sigmas=few_step_sigmas("euler", 2).tolist(), seed=5,
    )  # fmt: skip
    assert np.array_equal(relit(model, case, Variant(3.0), steps=2, seed=5), np.stack(list(expected)))


def test_a_trial_has_every_row(trial: Trial) -> None:
    """Tables 4 and 5 beside truth, VAE and no relighting; a variant that both tables show is computed once."""
    assert list(trial.rows) == [
        TRUTH, VAE, NO_RELIGHT, "F_r only, ω 2", "F_s only, ω 2", "both, ω 2", "both, ω 1",
    ]  # fmt: skip
    assert all(len(row) == 2 for row in trial.rows.values())
    case = held_out_case(1, 1, 64)
    assert trial.rows[NO_RELIGHT][1] == scored(case.source, case)
    assert trial.rows[TRUTH][1].psnr == 100
    assert trial.lights == ("random", case.light)
    assert len({scores.psnr for row in trial.rows.values() for scores in row[:1]}) == 7


def test_the_report_says_the_same_three_times(trial: Trial) -> None:
    """JSON without NaN, markdown and CSV, from one trial."""
    found = document(trial)
    json.dumps(found, allow_nan=False)
    headline, plain = trial.rows["both, ω 2"], trial.rows[NO_RELIGHT]
    assert found["psnr"] == pytest.approx(np.mean([s.psnr for s in headline]), abs=1e-6)
    assert found["psnr_no_relight"] == pytest.approx(np.mean([s.psnr for s in plain]), abs=1e-6)
    assert found["light_error_no_relight"] == pytest.approx(np.mean([s.light_error for s in plain]), abs=1e-6)
    assert found["light_error_truth"] == 0
    assert found["gained"]["psnr"]["mean"] == pytest.approx(found["psnr"] - found["psnr_no_relight"], abs=2e-6)
    text = markdown(trial)
    assert f"| F_r only, ω 2 | {found['rows']['F_r only, ω 2']['psnr']['mean']:.2f} ±" in text
    assert "1.071 | 0.802" in text
    rows = list(csv.DictReader(io.StringIO(per_head(trial))))
    assert len(rows) == 14
    assert float(rows[4]["psnr"]) == pytest.approx(plain[0].psnr, rel=1e-5)


def test_pictures_of_a_trial(trial: Trial, tmp_path: Path) -> None:
    """A row a head, a column a picture: reference, frame, hint, truth, VAE and four variants; the plot where it can."""
    picture = sheet(trial)
    assert picture.shape == (16 + 2 * 66, 9 * 66, 3)
    case = held_out_case(0, 1, 64)
    assert np.array_equal(picture[16:80, :64], case.reference)
    assert np.array_equal(picture[16:80, 3 * 66 : 3 * 66 + 64], case.truth[-1])
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    draw_plot(trial, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def scores(light: float, identity: float) -> Scores:
    return Scores(20.0, 0.9, light, light, 1.0, identity)


def made_up(heads: int, **rows: tuple[float, float]) -> Trial:
    """A trial whose heads scatter far more than its variants differ."""
    plan = Plan(heads=heads, omega=2.0, omegas=(1.0, 2.0))
    names = {"portrait": plan.variants[0], "hint": plan.variants[1], "both": plan.variants[2], "weak": plan.variants[3]}
    spread = np.random.default_rng(0).normal(0, 1, (heads, 2))
    wobble = np.random.default_rng(1).normal(0, 0.01, (4, heads))
    measured = {
        variant.title: tuple(
            scores(rows[name][0] + spread[i, 0] + wobble[k, i], rows[name][1] + spread[i, 1] + wobble[k, i])
            for i in range(heads)
        )
        for k, (name, variant) in enumerate(names.items())
    }
    return Trial(plan, ("random",) * heads, tuple(range(heads)), measured)


PAPER = {"portrait": (1.07, 0.80), "hint": (0.58, 0.03), "both": (0.74, 0.58), "weak": (1.08, 0.73)}


def test_the_papers_order_holds_and_its_opposite_is_reversed() -> None:
    """Paired differences see 0.1 between rows behind a scatter of 1 between heads; few heads decide nothing."""
    assert [claim.verdict for claim in claims_of(made_up(12, **PAPER))] == ["holds"] * 6
    flipped = {name: (-light, -identity) for name, (light, identity) in PAPER.items()}
    assert [claim.verdict for claim in claims_of(made_up(12, **flipped))] == ["reversed"] * 6
    same = dict.fromkeys(PAPER, (1.0, 0.5))
    assert "holds" not in [claim.verdict for claim in claims_of(made_up(12, **same))]
    assert {claim.verdict for claim in claims_of(made_up(3, **PAPER))} == {"unclear"}


def test_means_leave_out_what_is_missing() -> None:
    """NaN counts in neither row of a pair; the standard error is the sample's over the root of the count."""
    found = mean_of([1.0, 3.0, math.nan])
    assert (found.value, found.error, found.heads) == (2.0, 1.0, 2)
    a, b = [scores(1, 0), scores(math.nan, 0), scores(4, 0)], [scores(0, 0), scores(9, 0), scores(1, 0)]
    assert difference(a, b, "light_error").value == 2.0
    assert math.isnan(mean_of([math.nan]).value)


def test_a_quick_run_ends_with_one_json_line(folder: Path, tmp_path: Path) -> None:
    """`--synthetic --quick` from the command line: tables for people, JSON last, every file in --out."""
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
    """`--json --no-ablations`: one line, one variant."""
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
        (["clip.mp4"], "--driver"),
        ([], "RESULT"),
        (["--synthetic", "--omegas", "1,two"], "commas"),
        (["--synthetic", "--omegas", "1,-2"], "at least 0"),
        (["--synthetic", "--omegas", "1,2", "--no-ablations"], "--omegas"),
        (["--synthetic", "--sampler", "heun"], "euler"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], word: str) -> None:
    """With the option's name, before any weights are read."""
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert word in " ".join(result.output.replace("│", " ").split())


def test_impossible_plans_are_refused() -> None:
    """With field and remedy."""
    for wrong in (
        {"heads": 0},
        {"heads": HEADS_MAX + 1},
        {"steps": 0},
        {"size": 60},
        {"size": 8},
        {"omega": math.nan},
        {"omegas": (-1.0,)},
    ):
        with pytest.raises(ShapeError, match=next(iter(wrong))):
            replace(QUICK, **wrong)


def test_scores_tell_faults_apart() -> None:
    """Right light on the wrong person costs identity, wrong light on the right person light."""
    rows: dict[str, list[Scores]] = {}
    for index in range(6):
        case = held_out_case(index, 1, 64)
        for name, pictures in faulty(case, index).items():
            rows.setdefault(name, []).append(scored(pictures, case))
        assert np.abs(part_way(case, 1.0).astype(int) - case.truth).max() <= 1
    light, identity, moved = (
        {name: column_of(row, metric).value for name, row in rows.items()}
        for metric in ("light_error", "identity_detail", "light_moved")
    )
    for person in ("another's paint, right light", "grey clay, right light"):
        for wrong in ("no relighting", "flat light", "a preset not asked for"):
            assert light[person] < light[wrong]
            assert identity[person] < identity[wrong]
    assert light["truth"] < light["light 1.5 of the way"] < light["light 0.5 of the way"] < light["no relighting"]
    assert 0.3 < moved["light 0.5 of the way"] < 0.7
    assert moved["light 2 of the way"] > moved["light 1.5 of the way"] > 1.15
    assert identity["truth"] > identity["truth, blurred 1 px"] > identity["truth, blurred 4 px"]


def test_another_paint_on_the_same_head(case: Case) -> None:
    """With its own paint the head is the truth but for the grain of the camera."""
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(case.seed).spawn(7)]
    again = painted(case, random_person(streams[0]).atlas)
    assert np.abs(again.astype(int) - case.truth)[case.masks].mean() < 3
    assert scored(again, case).psnr > 35


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
