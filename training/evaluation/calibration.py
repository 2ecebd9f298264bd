"""This program prints the scores of pictures with known faults: python -m training.evaluation.calibration [HEADS]

The faults are the wrong light on the right person, the wrong paint (or none) under the right light, a light that moved
half the way or too far, and a blur. The table is in docs/nano/ablation.md, beside a model's own numbers.
"""

import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.lighting.colour import linear_from_srgb, srgb_from_linear
from lcvd.types import FloatArray
from training.evaluation.case import Case, held_out_case, seed_of, target_of
from training.evaluation.report import printed
from training.evaluation.scores import COLUMNS, Scores, scored
from training.evaluation.statistics import column_of
from training.heads import head_clip
from training.heads.background import random_background
from training.heads.camera import developed, random_camera
from training.heads.clip import pose, random_person
from training.heads.pose import random_motion
from training.heads.render import render

Frames = NDArray[np.uint8]  # [T,S,S,3]
DARKEST = 0.003  # linear; keeps a ratio of two pictures finite


def faulty(case: Case, index: int) -> dict[str, Frames]:
    """Returns the case's frames with one fault each, and the truth and the unchanged frames."""
    size = case.truth.shape[1]
    wrong = head_clip(case.seed, case.frames + 1, size, target=target_of(2 * index + 11))
    paint = random_person(_streams(seed_of(index + 500, 0))[0]).atlas
    found = {
        "truth": case.truth,
        "no relighting": case.source,
        "flat light": case.flat,
        "a preset not asked for": wrong.relit[1:],
        "another's paint, right light": painted(case, paint),
        "grey clay, right light": painted(case, np.full_like(paint, 0.5)),
    }
    for share in (0.5, 1.5, 2.0):
        found[f"light {share:g} of the way"] = part_way(case, share)
    for sigma in (1, 2, 4):
        found[f"truth, blurred {sigma} px"] = np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in case.truth])
    return found


def part_way(case: Case, share: float) -> Frames:
    """Scales the change of light: the ratio of truth and source is raised to the power `share`.

    1 gives the truth, 0 the source, 2 a light twice as far away from it.
    """
    source, truth = (linear_from_srgb(frames).astype(np.float64) + DARKEST for frames in (case.source, case.truth))
    linear = np.clip(source * (truth / source) ** share - DARKEST, 0, 1)
    return np.rint(255 * srgb_from_linear(linear.astype(np.float32))).astype(np.uint8)


def painted(case: Case, atlas: FloatArray) -> Frames:
    """Renders the case's truth with another paint: the same shape, motion, light, background and camera."""
    size = case.truth.shape[1]
    who, where, how, _, _, lens, grain = _streams(case.seed)
    person, background = random_person(who), random_background(where, size)
    motion, camera = random_motion(how, case.frames + 1, False), random_camera(lens, size)
    frames = []
    for f in range(1, case.frames + 1):
        _, posed = pose(person, motion, f, size)
        linear, _ = render(posed, atlas, (case.target, case.target), background)
        frames.append(developed(camera, linear[0], grain))
    return np.stack(frames)


def _streams(seed: int) -> list[np.random.Generator]:
    """Returns the random streams of `training.heads.clip`, in its order."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(7)]


def main(heads: int = 24, frames: int = 2, size: int = 128) -> None:
    """Prints the table as markdown."""
    rows: dict[str, list[Scores]] = {}
    for index in range(heads):
        case = held_out_case(index, frames, size)
        for name, pictures in faulty(case, index).items():
            rows.setdefault(name, []).append(scored(pictures, case))
    print("| " + " | ".join(["", *(column.title for column in COLUMNS)]) + " |")
    print("| --- " * (len(COLUMNS) + 1) + "|")
    for name, row in rows.items():
        print("| " + " | ".join([name, *(printed(column_of(row, c.name), c) for c in COLUMNS)]) + " |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
