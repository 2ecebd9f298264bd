"""The scores of pictures with known errors: truth, another light, black; identity and SSIM."""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import ShapeError
from training.evaluation import Case, held_out_case, scored
from training.evaluation.detail import correlation, face_detail
from training.evaluation.ssim import C1, C2, ssim


def test_the_truth_scores_perfectly(case: Case) -> None:
    """Equal pixels give 100 dB, SSIM 1, no light error and the whole way; the request scores its floor."""
    found = scored(case.truth, case)
    assert found.psnr == 100
    assert found.ssim == pytest.approx(1)
    assert found.light_error == 0
    assert found.light_moved == pytest.approx(1)
    assert 0 < found.light_error_request < 0.3
    assert found.identity_detail > 0.8


def test_the_background_does_not_count(case: Case) -> None:
    """Noise behind the person changes nothing of PSNR, and one level on the person is 48.13 dB."""
    behind = case.truth.copy()
    behind[~case.masks] = 255 - behind[~case.masks]
    assert scored(behind, case).psnr == 100
    off = np.where(case.truth < 255, case.truth + 1, case.truth - 1).astype(np.uint8)
    assert scored(off, case).psnr == pytest.approx(20 * math.log10(255), abs=1e-9)


def test_the_light_of_the_source_is_an_error(case: Case) -> None:
    """The frames as they were are the same person in another light."""
    found = scored(case.source, case)
    assert found.psnr < 25
    assert found.light_error > 0.1
    assert found.light_moved == 0
    assert found.identity_detail > 0.6


def test_black_pictures_have_no_light(case: Case) -> None:
    """A score that cannot be measured is NaN and not a number."""
    found = scored(np.zeros_like(case.truth), case)
    assert (found.lit_frames, scored(case.truth, case).lit_frames) == (0, 1)
    assert math.isnan(found.light_error)
    assert math.isnan(found.light_moved)
    assert found.identity_detail == 0
    with pytest.raises(ShapeError, match="expected uint8"):
        scored(case.truth[:1], case)


def test_identity_knows_the_person_and_not_the_light() -> None:
    """The same head under two lights is nearer to its flat picture than another head is."""
    cases = [held_out_case(index, 1, 64) for index in (0, 1, 3, 4)]
    flats = [face_detail(c.flat[0], c.faces[0]) for c in cases]
    own = [correlation(face_detail(c.truth[0], c.faces[0]), flat) for c, flat in zip(cases, flats, strict=True)]
    others = [correlation(a, b) for i, a in enumerate(flats) for b in flats[:i]]
    assert min(own) > max(others)
    assert correlation(flats[0], flats[0]) == pytest.approx(1)


def test_identity_ignores_any_gain_of_the_light(case: Case) -> None:
    """A picture lit twice as strongly, before any channel clips, is the same person."""
    dark = (case.flat[0] * 0.5).astype(np.uint8)
    assert correlation(face_detail(dark, case.faces[0]), face_detail(case.flat[0], case.faces[0])) > 0.97


def test_ssim_is_its_definition() -> None:
    """It equals Wang's formula, computed window by window in plain loops."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (16, 17, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((16, 17), bool)
    mask[5:11, 5:12] = True  # whole windows only
    luma = np.array([0.299, 0.587, 0.114])
    x, y = a @ luma, b @ luma
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for i, j in zip(*np.nonzero(mask), strict=True):
        p, q = x[i - 5 : i + 6, j - 5 : j + 6], y[i - 5 : i + 6, j - 5 : j + 6]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
        cov = (window * p * q).sum() - mp * mq
        values.append((2 * mp * mq + C1) * (2 * cov + C2) / ((mp**2 + mq**2 + C1) * (vp + vq + C2)))
    assert ssim(a, b, mask) == pytest.approx(np.mean(values), rel=1e-6)
    assert ssim(a, a, mask) == pytest.approx(1)
    with pytest.raises(ShapeError):
        ssim(a, b, np.zeros_like(mask))
