"""Background PSNR with analytic answers."""

import math

import numpy as np
import pytest

from lcvd.metrics.background import MAX_DB, BackgroundPsnr, psnr_db
from lcvd.metrics.metric import Missing, Score
from tests.lcvd.metrics.synthetic_pairs import pair, request, texture

PERSON = np.zeros((128, 128), np.float32)
PERSON[40:, 40:88] = 1


def score_of(result: np.ndarray, driver: np.ndarray, person: np.ndarray = PERSON) -> Score:
    metric = BackgroundPsnr(request())
    metric.update(pair(0, result, driver, person=person))
    score = metric.result()
    assert isinstance(score, Score)
    return score


def test_psnr_of_a_known_error() -> None:
    """MSE 1 is 48.13 dB, the full range 0 dB, no error the cap."""
    assert psnr_db(1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_db(255**2) == pytest.approx(0)
    assert psnr_db(0) == MAX_DB


def test_an_untouched_background_scores_the_cap_whatever_the_person() -> None:
    """Only pixels behind the person count."""
    driver = texture()
    result = np.where(PERSON[..., None] > 0, 255 - driver, driver).astype(np.uint8)
    assert score_of(result, driver).value == MAX_DB
    assert score_of(255 - driver, driver).value < 20


def test_a_shift_of_five_levels_is_analytic() -> None:
    """MSE 25: 10 log₁₀(255²/25)."""
    driver = texture().clip(10, 240)
    score = score_of(driver + np.uint8(5), driver)
    assert score.value == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-6)


def test_dimming_is_no_damage_after_the_gain() -> None:
    """Times 0.7 is far off in plain PSNR; after the best gain only rounding is left, and the gain is named."""
    driver = texture()
    score = score_of(np.rint(0.7 * driver).astype(np.uint8), driver)
    assert score.value < 20
    assert score.details["after_gain_db"] > 55
    assert score.details["gain"] == pytest.approx(0.7, abs=0.002)


def test_all_frames_share_one_error() -> None:
    """A clean and a spoilt frame: the MSE is the mean of both, not the PSNR."""
    driver = texture().clip(10, 240)
    metric = BackgroundPsnr(request())
    for i, step in enumerate((0, 10)):
        metric.update(pair(i, driver + np.uint8(step), driver, person=PERSON))
    score = metric.result()
    assert isinstance(score, Score)
    assert score.value == pytest.approx(psnr_db(50), abs=1e-6)
    assert score.frames == 2


def test_no_background_is_reported() -> None:
    """A person who fills the picture leaves nothing to compare."""
    metric = BackgroundPsnr(request())
    metric.update(pair(0, texture(), texture(), person=np.ones((128, 128), np.float32)))
    assert isinstance(metric.result(), Missing)
