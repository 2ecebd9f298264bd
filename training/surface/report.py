"""compared runs the CPU engine with and without the surface network on the same held-out people."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from engine.ratio.engine import RatioEngine
from engine.surface.network import SurfaceNetwork
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.presets import preset
from lcvd.types import Lighting
from training.errors import DataError
from training.heads.scanned.facekit import load_facekit
from training.surface.evaluate import Trial, figures, relit, trial

FIRST = 990_000  # of the people held out: training draws from 0
PRESETS = ("split-left", "split-right", "soft-front", "rembrandt-left")
SHEET_PEOPLE, SHEET_PX = 10, 200


class Report(NamedTuple):
    """Holds what was compared."""

    document: dict[str, dict[str, float]]
    trials: list[Trial]
    engines: dict[str, RatioEngine]
    lights: list[Lighting]


def wanted_lights() -> list[Lighting]:
    """Returns the wanted lights, each as its order-2 environment, which the truth can be rendered for."""
    return [Lighting(name, (0.0, 0.0, 0.0), (), sh_projection(preset(name).lighting)) for name in PRESETS]


def compared(
    kit: Path, weights: Path | None, people: int, on_person: Callable[[int], None], hard: bool = False
) -> Report:
    """Renders `people` people, in `hard` rooms or in all kinds, and relights them. Raises DataError."""
    if weights is not None and not weights.is_file():
        raise DataError(f"--weights {weights}: no such file", "give a surface.tflite")
    lights, found = wanted_lights(), load_facekit(kit)
    network = SurfaceNetwork if weights is None else lambda: SurfaceNetwork(weights)
    engines = {"mesh": RatioEngine(), "network": RatioEngine(make_surface=network)}
    trials = []
    for number in range(people):
        trials.append(trial(found, FIRST + number, lights, hard))
        on_person(number + 1)
    document: dict[str, dict[str, float]] = {}
    for name, engine in engines.items():
        rows = figures(iter(trials), engine, lights)
        document |= _means(name, rows)
    return Report(document, trials, engines, lights)


def _means(name: str, rows: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns mean figures of all rows, and of the halves by the room's harshness and by the skin's tone."""
    out = {name: _mean(rows)}
    for key, low, high in (("harshness", "soft", "harsh"), ("tone", "dark", "fair")):
        middle = float(np.median([row[key] for row in rows]))
        out[f"{name} {low}"] = _mean([row for row in rows if row[key] <= middle])
        out[f"{name} {high}"] = _mean([row for row in rows if row[key] > middle])
    return out


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([row[key] for row in rows])), 2) for key in rows[0]} if rows else {}


def draw_sheet(report: Report, path: Path) -> None:
    """Writes a row a person: the room, then for two lights the truth and each engine's picture."""
    rows = []
    for each in report.trials[:SHEET_PEOPLE]:
        row = [each.frames[-1]]
        for light, truth in list(zip(report.lights, each.truths, strict=True))[:2]:
            row += [truth, *(relit(engine, each.frames, light) for engine in report.engines.values())]
        rows.append(np.hstack([cv2.resize(p, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA) for p in row]))
    if not cv2.imwrite(str(path), np.vstack(rows)[..., ::-1]):
        raise DataError(f"--sheet {path} cannot be written", "choose a .png in a folder that can be written")
