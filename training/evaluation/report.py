"""This module writes a Trial as JSON, as markdown tables and as CSV of every head; missing numbers are null."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from training.evaluation.claims import Claim, claims_of
from training.evaluation.scores import COLUMNS, Column, Scores
from training.evaluation.statistics import Mean, column_of, difference
from training.evaluation.trial import NO_RELIGHT, TRUTH, VAE, Trial
from training.evaluation.variant import Variant

TITLES = {NO_RELIGHT: "no relighting", VAE: "truth through the VAE", TRUTH: "truth"}
COMPARED = ("light_error", "identity_detail")
# LCVD's Tables 4 and 5: LE by DECA, ID by ArcFace, on HDTF. Other units; only their order can be compared.
PAPER_ADAPTERS = {"F_r only": (1.071, 0.802), "F_s only": (0.582, 0.028), "both": (0.738, 0.585)}
PAPER_GUIDANCE = {2.0: (1.079, 0.728), 4.0: (0.809, 0.603), 6.0: (0.744, 0.563), 8.0: (0.681, 0.503)}


def document(trial: Trial) -> dict[str, Any]:
    """Returns the JSON document: first each metric at the plan's own ω and of the frames without relighting."""
    plan = trial.plan
    headline = plan.headline
    found: dict[str, Any] = {}
    for column in COLUMNS:
        found[column.name] = _finite(column_of(trial.of(headline), column.name).value)
        for row in (NO_RELIGHT, VAE, TRUTH):
            found[f"{column.name}_{row}"] = _finite(column_of(trial.rows[row], column.name).value)
    gained = {c.name: difference(trial.of(headline), trial.rows[NO_RELIGHT], c.name) for c in COLUMNS}
    return found | {
        "gained": {name: _mean(mean) for name, mean in gained.items()},
        "plan": asdict(plan),
        "lights": list(trial.lights),
        "first_seed": trial.seeds[0],
        "rows": {name: {c.name: _mean(column_of(row, c.name)) for c in COLUMNS} for name, row in trial.rows.items()},
        "lit_frames": {name: _finite(column_of(row, "lit_frames").value) for name, row in trial.rows.items()},
        "claims": [_claim(claim) for claim in claims_of(trial)],
    }


def markdown(trial: Trial) -> str:
    """Returns headline, Table 4, Table 5 and the claims, as sections of a page."""
    plan = trial.plan
    both = plan.headline
    parts = [
        f"{plan.heads} held-out heads × {plan.frames} frames, {plan.size} px, {plan.steps} {plan.sampler} steps, "
        f"seed {plan.seed}; mean ± standard error over heads.",
        _table(trial, [(TITLES[NO_RELIGHT], NO_RELIGHT), (f"relit, ω {plan.omega:g}", both.title)]
               + [(TITLES[name], name) for name in (VAE, TRUTH)]),
        _by_light(trial, both),
    ]  # fmt: skip
    if plan.adapters:
        parts += ["**Adapters** (the paper's Table 4)", _ablation(trial, plan.adapter_variants, both)]
    if len(plan.guidance_variants) > 1:
        parts += ["**Guidance** (the paper's Table 5)", _ablation(trial, plan.guidance_variants, None)]
    parts.append(_lit(trial))
    claims = claims_of(trial)
    if claims:
        parts.append(_claims(claims))
    return "\n\n".join(parts) + "\n"


def _lit(trial: Trial) -> str:
    """Returns a sentence about frames too dark to judge, without which a row could look better lit than it is."""
    shares = {name: column_of(row, "lit_frames").value for name, row in trial.rows.items()}
    dark = [f"{TITLES.get(name, name)} {share:.1%}" for name, share in shares.items() if share < 1]
    if not dark:
        return "Every frame of every row shows enough skin to tell its light."
    return f"Frames that show enough skin to tell their light (the others are left out): {', '.join(dark)}; else all."


def per_head(trial: Trial) -> str:
    """Returns CSV with a line for each row and head."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "head", "seed", "light", *(column.name for column in COLUMNS)])
    for name, row in trial.rows.items():
        for index, scores in enumerate(row):
            values = [getattr(scores, column.name) for column in COLUMNS]
            cells = ["" if not math.isfinite(value) else f"{value:.6g}" for value in values]
            writer.writerow([name, index, trial.seeds[index], trial.lights[index], *cells])
    return out.getvalue()


def _table(trial: Trial, rows: Sequence[tuple[str, str]]) -> str:
    cells = [[title, *(printed(column_of(trial.rows[name], c.name), c) for c in COLUMNS)] for title, name in rows]
    return _markdown_table(["", *(column.title for column in COLUMNS)], cells)


def _by_light(trial: Trial, headline: Variant) -> str:
    """Returns a table of the gain over no relighting, for random lights and presets separately."""
    rows = []
    for name, chosen in (
        ("random lights", [light == "random" for light in trial.lights]),
        ("presets", [light != "random" for light in trial.lights]),
    ):
        picked = [index for index, yes in enumerate(chosen) if yes]
        if picked:
            ours, plain = _picked(trial.of(headline), picked), _picked(trial.rows[NO_RELIGHT], picked)
            gained = [printed(difference(ours, plain, c.name), c, True) for c in COLUMNS]
            rows.append([f"{name} ({len(picked)})", *gained])
    return "Gained over no relighting:\n\n" + _markdown_table(["", *(column.title for column in COLUMNS)], rows)


def _column(name: str) -> Column:
    return next(column for column in COLUMNS if column.name == name)


def _picked(row: Sequence[Scores], places: Sequence[int]) -> list[Scores]:
    return [row[place] for place in places]


def _ablation(trial: Trial, variants: Sequence[Variant], base: Variant | None) -> str:
    """Returns a table with a row a variant, and its paired difference from `base` or from the row above."""
    shown = [column for column in COLUMNS if column.name != "light_error_request"]
    against = "Δ to both" if base is not None else "Δ to the row above"
    heads = [
        "",
        *(column.title for column in shown),
        f"light error, {against}",
        f"identity, {against}",
        "paper LE",
        "ID",
    ]
    rows = []
    for index, variant in enumerate(variants):
        row = trial.of(variant)
        other = base if base is not None else (variants[index - 1] if index else None)
        compared = ["", ""]
        if other is not None and other != variant:
            pairs = [(_column(name), difference(row, trial.of(other), name)) for name in COMPARED]
            compared = [printed(mean, column, True) for column, mean in pairs]
        paper = (
            PAPER_ADAPTERS.get(variant.title.split(",")[0]) if base is not None else PAPER_GUIDANCE.get(variant.omega)
        )
        theirs = [f"{value:g}" for value in paper] if paper else ["", ""]
        name = variant.title if base is not None else f"ω {variant.omega:g}"
        rows.append([name, *(printed(column_of(row, c.name), c) for c in shown), *compared, *theirs])
    return _markdown_table(heads, rows)


def _claims(claims: Sequence[Claim]) -> str:
    rows = []
    for claim in claims:
        column = _column(claim.metric)
        evidence = "; ".join(
            f"{c.higher} − {c.lower}: {printed(c.difference, column, True)}" for c in claim.comparisons
        )
        rows.append([claim.text, f"**{claim.verdict}**", evidence])
    return _markdown_table(["the paper says", "here", "paired differences (± standard error)"], rows)


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def printed(mean: Mean, column: Column, signed: bool = False) -> str:
    """Returns value ± standard error in the column's digits."""
    if not math.isfinite(mean.value):
        return "–"
    value = f"{mean.value:+.{column.digits}f}" if signed else f"{mean.value:.{column.digits}f}"
    return value if not math.isfinite(mean.error) else f"{value} ± {mean.error:.{column.digits}f}"


def _claim(claim: Claim) -> dict[str, Any]:
    pairs = [{"higher": c.higher, "lower": c.lower, "difference": _mean(c.difference)} for c in claim.comparisons]
    return {"claim": claim.text, "metric": claim.metric, "verdict": claim.verdict, "comparisons": pairs}


def _mean(mean: Mean) -> dict[str, float | int | None]:
    return {"mean": _finite(mean.value), "se": _finite(mean.error), "heads": mean.heads}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
