"""run_trial scores every case with every variant, and three rows that need no denoiser.

`truth` gives the scores of the right answer, `vae` the best that this VAE can show of it, `no_relight` the scores of
the unchanged frames. All variants of a case start from the same noise, so their differences are paired.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.model import LcvdModel
from lcvd.networks.guidance import OMEGA
from lcvd.networks.schedule import SamplerName
from training.evaluation.case import HEADS_MAX, Case, held_out_case
from training.evaluation.scores import Scores, scored
from training.evaluation.variant import Variant, relit, through_vae
from training.heads.scanned.facekit import FaceKit

TRUTH, VAE, NO_RELIGHT = "truth", "vae", "no_relight"
OMEGAS = (1.0, 2.0, 4.0, 6.0, 8.0)  # the paper's Table 5, and 1: no guidance
SHEET_CASES = 6  # whose pictures are kept

OnTrial = Callable[[int, int, str], None]  # (steps done, total steps, text)


@dataclass(frozen=True, slots=True)
class Plan:
    """Describes what is measured. Raises ShapeError or ValueError where a number is impossible."""

    heads: int = 24
    frames: int = 15  # scored of each head; 15 and the reference are one window
    size: int = 128
    steps: int = 25
    sampler: SamplerName = "euler"
    omega: float = OMEGA  # of the headline and of Table 4
    omegas: tuple[float, ...] = OMEGAS
    adapters: bool = True  # whether Table 4 is measured
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("heads", 1), ("frames", 1), ("size", 32), ("steps", 1)):
            if getattr(self, name) < least:
                raise ShapeError(f"{name} is {getattr(self, name)}", f"give at least {least}")
        if self.heads > HEADS_MAX:
            raise ShapeError(f"heads is {self.heads}", f"give at most {HEADS_MAX}")
        if self.size % 8:
            raise ShapeError(f"size is {self.size}", "give a multiple of 8")
        if not all(np.isfinite(omega) and omega >= 0 for omega in (self.omega, *self.omegas)):
            raise ShapeError(f"omega is {self.omega}, omegas {list(self.omegas)}", "give numbers of at least 0")

    @property
    def headline(self) -> Variant:
        """Returns the variant whose scores are reported as the model's."""
        return Variant(self.omega)

    @property
    def adapter_variants(self) -> tuple[Variant, ...]:
        """Returns the variants of Table 4: F_r only, F_s only, both."""
        muted = (Variant(self.omega, shading=False), Variant(self.omega, reference=False))
        return (*muted, self.headline) if self.adapters else (self.headline,)

    @property
    def guidance_variants(self) -> tuple[Variant, ...]:
        """Returns the variants of Table 5, by rising ω."""
        return tuple(Variant(omega) for omega in sorted(set(self.omegas)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Returns all variants that are computed, each once."""
        return tuple(dict.fromkeys((*self.adapter_variants, *self.guidance_variants)))


QUICK = Plan(heads=3, frames=7, steps=4)  # half a minute of one core for the nano model


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Holds scores by row, one for each case in order, and the first cases' last frames for the sheet."""

    plan: Plan
    lights: tuple[str, ...]  # of each case
    seeds: tuple[int, ...]
    rows: dict[str, tuple[Scores, ...]]  # by TRUTH, VAE, NO_RELIGHT and the variants' titles
    shown: tuple[dict[str, NDArray[np.uint8]], ...] = field(default=(), repr=False)

    def of(self, variant: Variant) -> tuple[Scores, ...]:
        """Returns the row of a variant."""
        return self.rows[variant.title]


def run_trial(model: LcvdModel, plan: Plan, on_progress: OnTrial | None = None, kit: FaceKit | None = None) -> Trial:
    """Measures every case, of drawn heads or with `kit` of scanned ones; one case is held in memory at a time.

    Raises ShapeError.
    """
    rows: dict[str, list[Scores]] = {}
    lights, seeds, shown = [], [], []
    total = plan.heads * len(plan.variants) * plan.steps
    for index in range(plan.heads):
        case = held_out_case(index, plan.frames, plan.size, plan.seed, kit)
        pictures = {TRUTH: case.truth, VAE: through_vae(model, case.truth), NO_RELIGHT: case.source}
        for number, variant in enumerate(plan.variants):
            pictures[variant.title] = _relit(model, case, variant, plan, index, number, total, on_progress)
        for name, made in pictures.items():
            rows.setdefault(name, []).append(scored(made, case))
        lights.append(case.light)
        seeds.append(case.seed)
        if index < SHEET_CASES:
            about = {"reference": case.reference, "hint": case.hints[-1]}
            shown.append(about | {name: made[-1] for name, made in pictures.items()})
    measured = {name: tuple(scores) for name, scores in rows.items()}
    return Trial(plan, tuple(lights), tuple(seeds), measured, tuple(shown))


def _relit(
    model: LcvdModel,
    case: Case,
    variant: Variant,
    plan: Plan,
    index: int,
    number: int,
    total: int,
    on_progress: OnTrial | None,
) -> NDArray[np.uint8]:
    before = (index * len(plan.variants) + number) * plan.steps
    text = f"head {index + 1} of {plan.heads}, {case.light}: {variant.title}"

    def progress(done: int, of: int) -> None:
        if on_progress is not None:
            on_progress(before + done * plan.steps // of, total, text)

    noise = plan.seed * plan.heads + index  # differs by case, not by variant
    return relit(model, case, variant, steps=plan.steps, sampler=plan.sampler, seed=noise, on_progress=progress)
