"""This module draws a Trial: the contact sheet (a row a head, a column a variant) and the plot of the two ablations.

The plot needs matplotlib, the sheet does not.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.evaluation.report import TITLES
from training.evaluation.statistics import column_of
from training.evaluation.trial import NO_RELIGHT, TRUTH, VAE, Trial

LABEL_PX, GAP_PX = 16, 2


def sheet(trial: Trial) -> NDArray[np.uint8]:
    """Returns [rows, columns, 3] of the last frames: reference, frame, hint, truth, its VAE's, and every variant."""
    size = trial.plan.size
    titles = {"reference": "reference", NO_RELIGHT: "frame", "hint": "hint", TRUTH: "truth", VAE: "VAE of truth"}
    titles |= {variant.title: variant.title.replace("ω", "w") for variant in trial.plan.variants}
    rows = [_labels(list(titles.values()), size)]
    for pictures in trial.shown:
        cells = [cv2.copyMakeBorder(pictures[name], 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT) for name in titles]
        rows.append(np.hstack(cells))
    return np.vstack(rows).astype(np.uint8, copy=False)


def _labels(titles: Sequence[str], size: int) -> NDArray[np.uint8]:
    strip = np.zeros((LABEL_PX, len(titles) * (size + GAP_PX), 3), np.uint8)
    for index, title in enumerate(titles):
        at = (index * (size + GAP_PX) + 2, LABEL_PX - 5)
        cv2.putText(strip, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.33, (255, 255, 255), 1, cv2.LINE_AA)
    return strip


def save_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes RGB [H,W,3]. Raises OSError."""
    done, coded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    path.write_bytes(coded.tobytes())


def draw_plot(trial: Trial, path: Path) -> None:
    """Draws light error, identity and PSNR by ω with error bars, and identity against light error. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    rising = trial.plan.guidance_variants
    omegas = [variant.omega for variant in rising]
    panels = (("light_error", "light error ↓"), ("identity_detail", "identity detail ↑"), ("psnr", "PSNR, dB ↑"))
    for ax, (metric, title) in zip(axes, panels, strict=False):
        means = [column_of(trial.of(variant), metric) for variant in rising]
        ax.errorbar(omegas, [m.value for m in means], [m.error for m in means], marker="o", color="C0", capsize=3)
        for row, style in ((NO_RELIGHT, "--"), (VAE, ":")):
            level = column_of(trial.rows[row], metric).value
            ax.axhline(level, color="0.5", linestyle=style, label=TITLES[row])
        ax.set(xlabel="guidance ω", title=title)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    plane = axes[3]
    x, y = ([column_of(trial.of(v), metric).value for v in rising] for metric in ("light_error", "identity_detail"))
    plane.plot(x, y, marker="o", color="C0", label="both, ω " + ", ".join(f"{omega:g}" for omega in omegas))
    for omega, at in zip(omegas, zip(x, y, strict=True), strict=True):
        plane.annotate(f"{omega:g}", at, textcoords="offset points", xytext=(4, 4), fontsize=7)
    others = [(v.title, v.title) for v in trial.plan.adapter_variants if v.muted]
    for number, (row, title) in enumerate([*others, (NO_RELIGHT, TITLES[NO_RELIGHT])], start=1):
        light, identity = (column_of(trial.rows[row], metric).value for metric in ("light_error", "identity_detail"))
        plane.plot([light], [identity], "s", color=f"C{number}", label=title)
    plane.set(xlabel="light error ↓", title="identity detail ↑")
    plane.grid(alpha=0.3)
    plane.legend(fontsize=7)
    figure.savefig(path, dpi=80)
