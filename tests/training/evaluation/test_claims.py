"""The paper's trends are judged by paired differences over synthetic trials whose answer is known."""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from training.evaluation import Plan, Scores, Trial
from training.evaluation.claims import claims_of
from training.evaluation.statistics import difference, mean_of


def scores(light: float, identity: float) -> Scores:
    return Scores(20.0, 0.9, light, light, 1.0, identity)


def synthetic_trial(heads: int, **rows: tuple[float, float]) -> Trial:
    """Makes a trial whose heads scatter far more than its variants differ."""
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
    assert [claim.verdict for claim in claims_of(synthetic_trial(12, **PAPER))] == ["holds"] * 6
    flipped = {name: (-light, -identity) for name, (light, identity) in PAPER.items()}
    assert [claim.verdict for claim in claims_of(synthetic_trial(12, **flipped))] == ["reversed"] * 6
    same = dict.fromkeys(PAPER, (1.0, 0.5))
    assert "holds" not in [claim.verdict for claim in claims_of(synthetic_trial(12, **same))]
    assert {claim.verdict for claim in claims_of(synthetic_trial(3, **PAPER))} == {"unclear"}


def test_means_leave_out_what_is_missing() -> None:
    """NaN counts in neither row of a pair; the standard error is the sample's over the root of the count."""
    found = mean_of([1.0, 3.0, math.nan])
    assert (found.value, found.error, found.heads) == (2.0, 1.0, 2)
    a, b = [scores(1, 0), scores(math.nan, 0), scores(4, 0)], [scores(0, 0), scores(9, 0), scores(1, 0)]
    assert difference(a, b, "light_error").value == 2.0
    assert math.isnan(mean_of([math.nan]).value)
