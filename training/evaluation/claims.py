"""The paper's trends (Tables 4 and 5) are claims, each judged by paired differences over the heads of a trial.

A comparison counts from two standard errors and HEADS_MIN heads on. A claim holds when all of its comparisons do, is
`reversed` when one says the opposite, and `unclear` otherwise.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from training.evaluation.statistics import Mean, difference
from training.evaluation.trial import Trial
from training.evaluation.variant import Variant

HEADS_MIN = 8  # below, two standard errors are too little: with 3 heads, one in six of no difference at all
Verdict = Literal["holds", "reversed", "unclear"]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The claim says that `higher` scores more than `lower`; difference = higher - lower."""

    higher: str
    lower: str
    difference: Mean

    @property
    def sign(self) -> int:
        """Returns 1 where the claim holds, -1 where the opposite does, 0 where the heads do not decide."""
        mean = self.difference
        if mean.heads < HEADS_MIN or not abs(mean.value) >= 2 * mean.error:  # NaN decides nothing
            return 0
        return (mean.value > 0) - (mean.value < 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """Holds one of the paper's statements and the comparisons that decide it."""

    text: str
    metric: str
    comparisons: tuple[PairedComparison, ...]

    @property
    def verdict(self) -> Verdict:
        signs = [comparison.sign for comparison in self.comparisons]
        if any(sign < 0 for sign in signs):
            return "reversed"
        return "holds" if signs and all(sign > 0 for sign in signs) else "unclear"


def claims_of(trial: Trial) -> tuple[Claim, ...]:
    """Returns the claims that the rows can decide: none of Table 4 without its rows, none of Table 5 with one ω."""
    return _of_adapters(trial) + _of_guidance(trial)


def _of_adapters(trial: Trial) -> tuple[Claim, ...]:
    if len(trial.plan.adapter_variants) != 3:
        return ()
    portrait, hint, both = trial.plan.adapter_variants

    def claim(text: str, metric: str, *pairs: tuple[Variant, Variant]) -> Claim:
        return _claim(trial, text, metric, pairs)

    return (
        claim("F_r only: best identity", "identity_detail", (portrait, hint), (portrait, both)),
        claim("F_r only: worst light", "light_error", (portrait, hint), (portrait, both)),
        claim("F_s only: best light", "light_error", (portrait, hint), (both, hint)),
        claim("F_s only: worst identity", "identity_detail", (portrait, hint), (both, hint)),
    )


def _of_guidance(trial: Trial) -> tuple[Claim, ...]:
    rising = trial.plan.guidance_variants
    if len(rising) < 2:
        return ()
    steps = tuple(pairwise(rising))
    return (
        _claim(trial, "light error falls as ω grows", "light_error", steps),
        _claim(trial, "identity falls as ω grows", "identity_detail", steps),
    )


def _claim(trial: Trial, text: str, metric: str, pairs: tuple[tuple[Variant, Variant], ...]) -> Claim:
    return Claim(
        text,
        metric,
        tuple(
            PairedComparison(high.title, low.title, difference(trial.of(high), trial.of(low), metric))
            for high, low in pairs
        ),
    )
