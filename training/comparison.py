"""This module compares students with their teacher on held-out heads: PSNR, SSIM, light error, eyes and mouth, seconds.

The teacher takes the published levels at 25 steps and the live sampler's levels below, with the guidance the students
were taught; students take their own levels and one branch. Heads and noise are the same for every row. The last row is
the truth through the VAE: what no denoiser can exceed.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcvd.model import LcvdModel
from lcvd.networks.schedule import few_step_sigmas
from lcvd.sampling.pipeline import relight_frames
from training.config import DistillConfig
from training.evaluation import Case, Scores, held_out_case, scored
from training.evaluation.sharpness import PARTS, Sharpness, sharpness
from training.evaluation.variant import through_vae

TEACHER_STEPS = 25
VAE_ALONE = "truth through the VAE"

OnRow = Callable[[int, int], None]  # (windows done, of how many)


@dataclass(frozen=True, slots=True)
class Row:
    """Holds one sampler's scores, means over the heads, and its median seconds."""

    name: str
    steps: int  # 0: no denoiser
    calls: int  # of the network for one window: steps times branches
    psnr: float  # dB, of the portrait
    ssim: float
    light_error: float | None  # of mean shade, against the light seen on the truth; None where no head shows it
    parts: dict[str, Sharpness]  # of eyes and mouth, against the truth
    seconds: float  # portrait encoded and a window of 16 denoised; not decoded


@dataclass(frozen=True, slots=True)
class _Measured:
    name: str
    steps: int
    calls: int
    scores: list[Scores]
    parts: list[dict[str, Sharpness]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Holds the table of all samplers and of the VAE; `psnr_no_relight` scores the unchanged frames.

    Light errors are means over the heads whose light can be measured in every row.
    """

    heads: int
    light_heads: int
    psnr_no_relight: float
    ssim_no_relight: float
    light_error_no_relight: float | None
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        """Returns the table as a JSON document."""
        return asdict(self)


def compare(
    teacher: LcvdModel,
    students: Sequence[LcvdModel],  # each with its `student`
    config: DistillConfig,
    size: int,  # px of the heads
    frames: int = 15,  # scored of each head; with the reference they fill one window
    on_row: OnRow = lambda done, total: None,
) -> Comparison:
    """Measures every sampler on the same heads.

    The first window of each row runs once more before the measurement, because it also warms the network up.
    """
    taught = sorted({model.student.steps for model in students if model.student}, reverse=True)
    samplers = [("teacher", teacher, steps) for steps in (TEACHER_STEPS, *(s for s in taught if s != TEACHER_STEPS))]
    samplers += [("student", model, model.student.steps) for model in students if model.student]
    cases = [held_out_case(index, frames, size) for index in range(config.heads)]
    plain = [scored(case.source, case) for case in cases]
    measured: list[_Measured] = []
    for number, (name, model, steps) in enumerate(samplers):
        omega = 1.0 if model.student else config.omega
        levels = few_step_sigmas(config.sampler, steps)
        _relit(model, cases[0], levels.tolist(), omega, config, 0)
        made = _Measured(name, steps, steps if omega == 1.0 else 2 * steps, [], [], 0.0)
        seconds = []
        for index, case in enumerate(cases):
            pictures, took = _relit(model, case, levels.tolist(), omega, config, index)
            _add(made, pictures, case)
            seconds.append(took)
            on_row(number * len(cases) + index + 1, len(samplers) * len(cases))
        measured.append(replace(made, seconds=statistics.median(seconds)))
    measured.append(_Measured(VAE_ALONE, 0, 0, [], [], 0.0))
    for case in cases:
        _add(measured[-1], through_vae(teacher, case.truth), case)
    seen = [row.scores for row in measured]
    lit = [i for i in range(len(cases)) if all(math.isfinite(row[i].light_error) for row in (plain, *seen))]

    def light(row: Sequence[Scores]) -> float | None:
        return float(np.mean([row[i].light_error for i in lit])) if lit else None

    def mean(row: Sequence[Scores], name: str) -> float:
        return float(np.mean([getattr(each, name) for each in row]))

    rows = tuple(
        Row(
            each.name,
            each.steps,
            each.calls,
            mean(each.scores, "psnr"),
            mean(each.scores, "ssim"),
            light(each.scores),
            {part: _mean_sharpness([parts[part] for parts in each.parts]) for part in PARTS},
            each.seconds,
        )
        for each in measured
    )
    return Comparison(len(cases), len(lit), mean(plain, "psnr"), mean(plain, "ssim"), light(plain), rows)


def _add(row: _Measured, pictures: NDArray[np.uint8], case: Case) -> None:
    row.scores.append(scored(pictures, case))
    row.parts.append(sharpness(pictures, case.truth, case.faces))


def _mean_sharpness(values: Sequence[Sharpness]) -> Sharpness:
    """Returns the mean over the heads whose part could be compared; 0 where none could."""
    seen = [(each.amount, each.fit) for each in values if math.isfinite(each.amount)]
    amount, fit = np.mean(seen, axis=0) if seen else (0.0, 0.0)
    return Sharpness(float(amount), float(fit))


def _relit(
    model: LcvdModel, case: Case, sigmas: list[float], omega: float, config: DistillConfig, seed: int
) -> tuple[np.ndarray, float]:
    """Returns pictures [T,S,S,3] and the seconds until the first one was asked for.

    relight_frames denoises before it returns and decodes as its iterator is read, so decoding is not in the seconds.
    """
    began = time.perf_counter()
    frames = relight_frames(
        model,
        case.reference,
        case.reference_hint,
        case.hints,
        case.reference_mask,
        omega=omega,
        sampler=config.sampler,
        sigmas=sigmas,
        seed=seed,
    )
    seconds = time.perf_counter() - began
    return np.stack(list(frames)), seconds
