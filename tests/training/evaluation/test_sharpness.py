"""Sharpness of eyes and mouth: pictures with known faults."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import ShapeError
from training.evaluation import Case
from training.evaluation.sharpness import sharpness


def test_the_truth_is_as_sharp_as_itself(case: Case) -> None:
    """Equal pictures have all of the detail, at its place."""
    found = sharpness(case.truth, case.truth, case.faces)
    assert set(found) == {"eyes", "mouth"}
    for part in found.values():
        assert part.amount == pytest.approx(1)
        assert part.fit == pytest.approx(1)


def test_blur_takes_detail_and_noise_only_looks_like_it(case: Case) -> None:
    """A blurred picture has less that still fits; one with noise has more that does not."""
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), 2.0) for picture in case.truth])
    rng = np.random.default_rng(0)
    noisy = np.clip(case.truth + rng.normal(0, 25, case.truth.shape[:3])[..., None], 0, 255).astype(np.uint8)
    soft, rough = (sharpness(pictures, case.truth, case.faces) for pictures in (blurred, noisy))
    for part in ("eyes", "mouth"):
        assert soft[part].amount < 0.7
        assert rough[part].amount > 1.1
        assert rough[part].fit < 0.9


def test_only_eyes_and_mouth_count(case: Case) -> None:
    """Noise in the picture's corners, away from the face, changes nothing."""
    other = case.truth.copy()
    other[:, :6, :6] = 255 - other[:, :6, :6]
    found = sharpness(other, case.truth, case.faces)
    assert all(part.amount == pytest.approx(1) for part in found.values())


def test_shapes_must_agree(case: Case) -> None:
    """The error names both shapes."""
    with pytest.raises(ShapeError, match="faces"):
        sharpness(case.truth[:1], case.truth, case.faces)
