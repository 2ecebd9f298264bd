"""LE and POSE with a stand-in for DECA's encoder that answers known codes."""

import math
from pathlib import Path

import numpy as np
import pytest

from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import deca_from_sh
from lcvd.metrics.deca import DecaCodes, DecaLightError, DecaPose
from lcvd.metrics.metric import Missing, Score
from tests.lcvd.metrics.synthetic_pairs import face_at, pair, request

ASKED = request("rembrandt-left")
LIGHT = deca_from_sh(sh_projection(ASKED.lighting))  # [9,3]
BRIGHT, BLACK = np.full((240, 240, 3), 200, np.uint8), np.zeros((240, 240, 3), np.uint8)


class Encoder:
    """Answers one code for bright crops and another for black ones, and counts its calls."""

    def __init__(self, bright: np.ndarray, black: np.ndarray) -> None:
        self.codes = bright, black
        self.calls = 0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        assert crops.shape == (1, 3, 224, 224)
        self.calls += 1
        return self.codes[0 if crops.mean() > 0.3 else 1][None]


def code(light: np.ndarray, turn: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """DECA's 236 numbers: shape 100, texture 50, expression 50, pose 6, camera 3, light 27."""
    numbers = np.zeros(236, np.float32)
    numbers[200:203] = turn
    numbers[209:] = np.asarray(light).reshape(-1)
    return numbers


def run(metric, pairs) -> Score:  # type: ignore[no-untyped-def]
    assert metric.available() is None
    metric.load()
    for each in pairs:
        metric.update(each)
    score = metric.result()
    assert isinstance(score, Score)
    return score


def frames(count: int = 2) -> list:
    return [pair(i, BRIGHT, BLACK, face_at(), face_at()) for i in range(count)]


def test_the_right_light_has_no_error_and_the_drivers_own_is_reported() -> None:
    """DECA sees the requested light on the result, and darkness on the driver."""
    codes = DecaCodes(ASKED, Encoder(code(LIGHT), code(np.zeros((9, 3)))))
    score = run(DecaLightError(ASKED, codes), frames())
    assert score.value == pytest.approx(0, abs=1e-5)
    assert score.details["driver"] == pytest.approx(float(np.linalg.norm(LIGHT)), rel=1e-5)


def test_the_error_is_the_euclidean_distance_of_27_numbers() -> None:
    """0.2 off everywhere: 0.2 √27, and 0.2 as RMS."""
    codes = DecaCodes(ASKED, Encoder(code(LIGHT + 0.2), code(LIGHT)))
    score = run(DecaLightError(ASKED, codes), frames())
    assert score.value == pytest.approx(0.2 * math.sqrt(27), rel=1e-5)
    assert score.details["rms"] == pytest.approx(0.2, rel=1e-5)


def test_exposure_alone_vanishes_after_the_gain() -> None:
    """The light at twice the strength is far off, and exact when scaled."""
    codes = DecaCodes(ASKED, Encoder(code(2 * LIGHT), code(LIGHT)))
    score = run(DecaLightError(ASKED, codes), frames())
    assert score.value == pytest.approx(float(np.linalg.norm(LIGHT)), rel=1e-5)
    assert score.details["scaled"] == pytest.approx(0, abs=1e-5)


def test_pose_is_the_angle_between_decas_rotations() -> None:
    """10 degrees about x against 10 about y: acos((c² + 2c - 1)/2) apart."""
    turn = math.radians(10)
    codes = DecaCodes(ASKED, Encoder(code(LIGHT, (turn, 0, 0)), code(LIGHT, (0, turn, 0))))
    c = math.cos(turn)
    expected = math.degrees(math.acos((c * c + 2 * c - 1) / 2))
    assert run(DecaPose(ASKED, codes), frames()).value == pytest.approx(expected, rel=1e-4)


def test_both_metrics_share_one_look_at_each_frame() -> None:
    """Three frames of two clips: six calls, not twelve."""
    encoder = Encoder(code(LIGHT), code(LIGHT))
    codes = DecaCodes(ASKED, encoder)
    light, pose = DecaLightError(ASKED, codes), DecaPose(ASKED, codes)
    for each in frames(3):
        light.update(each)
        pose.update(each)
    assert encoder.calls == 6


def test_frames_without_a_face_do_not_count() -> None:
    """No face, no code; none at all is reported."""
    codes = DecaCodes(ASKED, Encoder(code(LIGHT), code(LIGHT)))
    metric = DecaLightError(ASKED, codes)
    metric.update(pair(0, BRIGHT, BLACK, None, face_at()))
    assert isinstance(metric.result(), Missing)


def test_without_the_file_it_says_where_it_comes_from(tmp_path: Path) -> None:
    """The reason names the file, the remedy its source."""
    missing = DecaPose(ASKED, DecaCodes(request(files=(str(tmp_path),)))).available()
    assert missing is not None
    assert "deca_model.tar" in missing.reason
    assert "yfeng95/DECA" in missing.remedy


def test_the_encoder_is_read_from_the_users_file(tmp_path: Path) -> None:
    """A random encoder saved in DECA's layout loads through lcvd.tracking.deca and answers 27 light numbers."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    torch.set_num_threads(1)
    from lcvd.tracking.deca_encoder import CoarseEncoder

    torch.save({"E_flame": CoarseEncoder(width=8, hidden=16).state_dict()}, tmp_path / "deca_model.tar")
    asked = request("rembrandt-left", files=(str(tmp_path),))
    score = run(DecaLightError(asked, DecaCodes(asked)), frames(1))
    assert math.isfinite(score.value)
