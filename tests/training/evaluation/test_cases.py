"""Evaluation cases are held-out heads that repeat exactly and ask for random lights and presets in turn."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.synthetic_face import SyntheticFace
from lcvd.errors import ShapeError
from lcvd.lighting.presets import PRESETS
from tests.training.heads.tiny_kit import write_kit
from training.data.synthetic import HELD_OUT, HeadSource
from training.evaluation import held_out_case
from training.evaluation.case import FIRST, HEADS_MAX, seed_of, target_of
from training.heads.scanned.facekit import load_facekit


def test_heads_are_held_out() -> None:
    """No training run nor its validation can have them; evaluation seeds do not share heads."""
    assert FIRST > HELD_OUT + 10**6  # validation counts up from HELD_OUT
    seeds = [seed_of(index, seed) for seed in (0, 1, 7) for index in (0, 1, HEADS_MAX - 1)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= FIRST
    with pytest.raises(ShapeError):
        seed_of(HEADS_MAX, 0)
    with pytest.raises(Exception, match="held-out"):
        HeadSource(10, HELD_OUT - 5)


def test_cases_repeat_and_their_lights_differ() -> None:
    """The bytes are the same at every call; every other case asks for a preset, and all presets come in turn."""
    a, b = held_out_case(0, 1, 64), held_out_case(0, 1, 64)
    assert np.array_equal(a.truth, b.truth)
    assert np.array_equal(a.source, b.source)
    assert a.light == "random"
    assert a.frames == 1
    count = len(PRESETS) - 1
    assert {target_of(2 * i + 1).name for i in range(count)} == {p.name for p in PRESETS if p.name != "original"}
    assert held_out_case(1, 1, 64).light == target_of(1).name
    assert not np.array_equal(a.reference_hint, a.hints[0])


def test_an_evaluation_films_a_scanned_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case has the same person before and after, lit otherwise, and under even light without a side."""
    monkeypatch.setattr("training.heads.scanned.head.MeshTracker", lambda smoothing: SyntheticFace())
    kit = load_facekit(write_kit(tmp_path / "facekit.npz"))
    case = held_out_case(1, 1, 64, kit=kit)
    assert case.light != "random"
    assert case.masks[0].any()
    assert not np.array_equal(case.source, case.truth)
    np.testing.assert_array_equal(case.truth, held_out_case(1, 1, 64, kit=kit).truth)
    assert not np.array_equal(case.truth, held_out_case(1, 1, 64).truth)
