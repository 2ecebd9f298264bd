"""Flicker of synthetic clips whose brightness jumps by known amounts."""

from itertools import pairwise

import numpy as np
import pytest

from lcvd.metrics.flicker import FLOOR_LEVELS, DriverFlow, Flicker, warp
from lcvd.metrics.metric import Missing, Score
from tests.lcvd.metrics.synthetic_pairs import pair, request, texture

EVERYWHERE = np.ones((128, 128), np.float32)


def score_of(results: list[np.ndarray], drivers: list[np.ndarray], person: np.ndarray = EVERYWHERE) -> Score:
    metric = Flicker(request())
    for i, (result, driver) in enumerate(zip(results, drivers, strict=True)):
        metric.update(pair(i, result, driver, person=person))
    score = metric.result()
    assert isinstance(score, Score)
    return score


def noisy(count: int, sigma: float, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.clip(texture() + rng.normal(0, sigma, (128, 128, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


def test_a_clip_is_as_steady_as_itself() -> None:
    """The driver as its own result scores exactly 1."""
    clip = noisy(4, 2)
    assert score_of(clip, clip).value == pytest.approx(1, abs=1e-9)


def test_a_darker_copy_scores_the_same() -> None:
    """Half the brightness halves the jumps and the level: still 1, up to rounding."""
    clip = noisy(4, 4)
    assert score_of([frame // 2 for frame in clip], clip).value == pytest.approx(1, abs=0.1)


def test_known_jumps_give_the_known_error() -> None:
    """A still picture that goes up and down by 6 levels has E = 6 and, over a still driver, 6/floor."""
    still = texture().clip(30, 220)
    results = [still + np.uint8(6 * (i % 2)) for i in range(5)]
    score = score_of(results, [still] * 5)
    assert score.details["result_levels"] == pytest.approx(6, abs=0.05)
    assert score.details["driver_levels"] == pytest.approx(0, abs=0.01)
    level = np.mean([r.mean() for r in results[1:]]) / still.mean()
    assert score.value == pytest.approx(6 / level / FLOOR_LEVELS, rel=0.02)
    assert score.details["e_warp"] == pytest.approx(3 * (6 / 255) ** 2, rel=0.02)  # Lai et al.: summed over RGB
    assert score.frames == 4


def test_motion_is_no_flicker() -> None:
    """A texture that slides 2 px a frame: warped, a tenth of its plain frame difference is left."""
    big = texture(160)
    clip = [np.ascontiguousarray(big[16 : 16 + 128, 4 + 2 * i : 4 + 2 * i + 128]) for i in range(4)]
    plain = np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairwise(clip)])
    inside = np.zeros((128, 128), np.float32)
    inside[16:-16, 16:-16] = 1
    assert score_of(clip, clip, inside).details["result_levels"] < 0.1 * plain


def test_only_the_person_counts() -> None:
    """Jumps outside the mask leave the score alone; inside they raise it."""
    clip = noisy(4, 1)
    left = np.zeros((128, 128), np.float32)
    left[:, :64] = 1
    jumping = [frame.copy() for frame in clip]
    for i, frame in enumerate(jumping):
        frame[:, 64:] = np.clip(frame[:, 64:].astype(int) + 20 * (i % 2), 0, 255)
    assert score_of(jumping, clip, left).value == pytest.approx(1, abs=0.02)
    assert score_of(jumping, clip, 1 - left).value > 3


def test_a_flickering_result_cannot_spoil_its_own_ruler() -> None:
    """Flow is the driver's: noise in the result changes its error, not the driver's."""
    clip = noisy(4, 1)
    steady, wild = score_of(clip, clip), score_of(noisy(4, 30, seed=5), clip)
    assert wild.details["driver_levels"] == pytest.approx(steady.details["driver_levels"])
    assert wild.value > 5 * steady.value


def test_one_frame_or_no_person_is_reported() -> None:
    """There is nothing to compare."""
    metric = Flicker(request())
    metric.update(pair(0, texture(), texture(), person=EVERYWHERE))
    assert isinstance(metric.result(), Missing)
    metric.update(pair(1, texture(), texture(), person=0 * EVERYWHERE))
    assert isinstance(metric.result(), Missing)


def test_flow_of_a_large_frame_is_in_its_own_pixels() -> None:
    """Above 512 px flow is found on a smaller copy and scaled up: sliding 6 px still cancels."""
    import cv2

    big = cv2.resize(texture(300), (780, 780), interpolation=cv2.INTER_CUBIC)
    clip = [np.ascontiguousarray(big[20:740, 20 + 6 * i : 740 + 6 * i]) for i in range(2)]
    inside = np.zeros((720, 720), np.float32)
    inside[60:-60, 60:-60] = 1
    plain = np.abs(clip[0].astype(float) - clip[1]).mean()
    assert score_of(clip, clip, inside).details["result_levels"] < 0.15 * plain


def test_warp_reads_where_the_flow_points() -> None:
    """A constant flow of (2, -1) shifts by whole pixels."""
    image = texture(32)
    flow = np.broadcast_to(np.float32([2, -1]), (32, 32, 2))
    assert np.array_equal(warp(image, np.ascontiguousarray(flow))[1:, :-2], image[:-1, 2:])


def test_what_comes_out_of_nowhere_is_not_trusted() -> None:
    """A square that was not in the last frame has no origin there: most of it is masked."""
    last = texture(128)
    now = last.copy()
    now[40:90, 40:90] = texture(50, seed=9)
    grey = [np.ascontiguousarray(f[..., 1]) for f in (last, now)]
    valid = DriverFlow().between(*grey).valid
    assert valid[45:85, 45:85].mean() < 0.7
    assert valid[:30].mean() > 0.95
