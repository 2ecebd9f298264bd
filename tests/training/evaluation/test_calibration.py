"""Calibration pictures with known faults get the scores that tell the faults apart."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from training.evaluation import Case, Scores, held_out_case, scored
from training.evaluation.calibration import faulty, painted, part_way
from training.evaluation.statistics import column_of
from training.heads.clip import random_person


def test_scores_tell_faults_apart() -> None:
    """Right light on the wrong person costs identity; wrong light on the right person costs light error."""
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
    """With its own paint the head equals the truth up to camera noise."""
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(case.seed).spawn(7)]
    again = painted(case, random_person(streams[0]).atlas)
    assert np.abs(again.astype(int) - case.truth)[case.masks].mean() < 3
    assert scored(again, case).psnr > 35
