"""A trial relights every case with every variant and reports the scores as JSON, tables, CSV and pictures."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
import torch

from lcvd.errors import ShapeError
from lcvd.model import LcvdModel
from lcvd.networks.schedule import few_step_sigmas
from lcvd.sampling.pipeline import relight_frames
from training.evaluation import QUICK, Case, Trial, Variant, held_out_case, relit, scored
from training.evaluation.case import HEADS_MAX
from training.evaluation.pictures import draw_plot, sheet
from training.evaluation.report import document, markdown, per_head
from training.evaluation.trial import NO_RELIGHT, TRUTH, VAE


class Spy(torch.nn.Module):
    """Records the conditions of a denoiser."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, x, sigma, condition):
        self.seen.append(condition)
        return self.inner(x, sigma, condition)


@pytest.mark.parametrize("shading", [True, False])
@pytest.mark.parametrize("reference", [True, False])
def test_a_muted_adapter_says_exactly_nothing(model: LcvdModel, case: Case, shading: bool, reference: bool) -> None:
    """The denoiser gets the sum of the features that are not muted, in both branches; the rest is unchanged."""
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
    """With nothing muted the bytes are those of `relight_frames` at the live levels."""
    expected = relight_frames(
        model, case.reference, case.reference_hint, case.hints, case.reference_mask,
        omega=3.0, sigmas=few_step_sigmas("euler", 2).tolist(), seed=5,
    )  # fmt: skip
    assert np.array_equal(relit(model, case, Variant(3.0), steps=2, seed=5), np.stack(list(expected)))


def test_a_trial_has_every_row(trial: Trial) -> None:
    """Tables 4 and 5 stand beside truth, VAE and no relighting; a variant that both tables show is computed once."""
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
    """JSON (without NaN), markdown and CSV of one trial agree."""
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
    """A head has a row: reference, frame, hint, truth, VAE and four variants; the plot is drawn where it can be."""
    picture = sheet(trial)
    assert picture.shape == (16 + 2 * 66, 9 * 66, 3)
    case = held_out_case(0, 1, 64)
    assert np.array_equal(picture[16:80, :64], case.reference)
    assert np.array_equal(picture[16:80, 3 * 66 : 3 * 66 + 64], case.truth[-1])
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    draw_plot(trial, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_impossible_plans_are_refused() -> None:
    """The error names the field and the remedy."""
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
