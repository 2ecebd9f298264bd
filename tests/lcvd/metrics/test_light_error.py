"""The light error on balls with an analytic answer and on faces drawn under known light."""

import math

import numpy as np
import pytest

from lcvd.lighting.lighting import DirectionalLight, direction_from_angles
from lcvd.lighting.presets import preset
from lcvd.lighting.sh import Y00, Y1
from lcvd.metrics.light_error import (
    LightError,
    ball_normals,
    ball_rmse,
    direction_error_deg,
    irradiance_of_light,
    irradiance_on_face,
)
from lcvd.metrics.metric import Missing, Score
from lcvd.types import Lighting
from tests.lcvd.metrics.synthetic_pairs import drawn, face_at, pair, request, turned


def band01(ambient: float, front: float = 0.0, right: float = 0.0) -> np.ndarray:
    """Irradiance coefficients of shade = ambient + front·z + right·x."""
    c = np.zeros(9)
    c[0], c[2], c[3] = ambient / Y00, front / Y1, right / Y1
    return c


def test_ball_is_the_visible_hemisphere_seen_from_the_front() -> None:
    """Unit normals towards the viewer whose mean z is 2/3, as on a disc, not 1/2, as on the hemisphere itself."""
    n = ball_normals()
    assert np.allclose(np.linalg.norm(n, axis=1), 1)
    assert (n[:, 2] > 0).all()
    assert n[:, 2].mean() == pytest.approx(2 / 3, abs=1e-4)


def test_equal_lights_have_no_error_whatever_their_strength() -> None:
    """The error is of the shape: a light against itself, dimmed or not, is 0."""
    c = irradiance_of_light(preset("rembrandt-left").lighting)
    assert ball_rmse(c, c) == pytest.approx(0, abs=1e-12)
    assert ball_rmse(0.13 * c, c) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("ambient", "front"), [(1.0, 0.5), (0.3, 1.2)])
def test_error_of_flat_against_frontal_light_is_analytic(ambient: float, front: float) -> None:
    """With shade a + k z scaled by its mean a + 2k/3, var(z) = 1/18 on a disc: RMS = k/√18/(a + 2k/3)."""
    expected = front / math.sqrt(18) / (ambient + 2 * front / 3)
    assert ball_rmse(band01(1.0), band01(ambient, front)) == pytest.approx(expected, rel=1e-3)


def test_error_of_mirrored_side_light_is_analytic() -> None:
    """Shade 1 + k x against 1 - k x: mean 1 both, difference 2kx, ⟨x²⟩ = 1/4 on a disc, so the RMS is k."""
    assert ball_rmse(band01(1.0, right=0.6), band01(1.0, right=-0.6)) == pytest.approx(0.6, rel=1e-3)


def test_black_light_gives_no_number() -> None:
    """A ball without light has no shape."""
    assert math.isnan(ball_rmse(band01(1.0), np.zeros(9)))
    assert math.isnan(direction_error_deg(band01(1.0), band01(1.0, 0.5)))


def test_direction_error_is_the_angle_between_lamps() -> None:
    """Lights at azimuth -40 and +20 are 60 degrees apart."""
    lights = [
        Lighting("x", (0.2, 0.2, 0.2), (DirectionalLight(direction_from_angles(a, 0), (1, 1, 1)),)) for a in (-40, 20)
    ]
    assert direction_error_deg(*map(irradiance_of_light, lights)) == pytest.approx(60, abs=0.01)


def test_nothing_is_estimated_without_a_fresh_face() -> None:
    """No face, or one that was only held over, says nothing of this frame's light."""
    picture = drawn(face_at(), preset("soft-front").lighting)
    assert irradiance_on_face(picture, None) is None
    assert irradiance_on_face(picture, face_at(held=True)) is None
    assert irradiance_on_face(np.zeros_like(picture), face_at()) is None


@pytest.mark.parametrize("yaw", [0, 20])
def test_right_light_scores_well_below_the_wrong_one(yaw: int) -> None:
    """A face drawn under the light asked for beats the driver's flat light, and its mirror image loses to both."""
    asked = request("rembrandt-left")
    face = face_at(turned(yaw))
    pictures = {
        name: drawn(face, preset(name).lighting) for name in ("rembrandt-left", "rembrandt-right", "soft-front")
    }
    scores = {}
    for name, picture in pictures.items():
        metric = LightError(asked)
        assert metric.available() is None
        metric.update(pair(0, picture, pictures["soft-front"], face, face))
        score = metric.result()
        assert isinstance(score, Score)
        scores[name] = score
    assert scores["rembrandt-left"].value < 0.2
    assert scores["rembrandt-left"].value < 0.5 * scores["soft-front"].value
    assert scores["rembrandt-right"].value > scores["soft-front"].value
    assert scores["rembrandt-left"].details["direction_deg"] < 25  # SH of order 2 from half a sphere: its floor
    assert scores["rembrandt-left"].details["driver"] == pytest.approx(scores["soft-front"].value)


def test_skin_tone_does_not_matter() -> None:
    """Fair and dark skin under one light score alike."""
    face, light = face_at(), preset("rembrandt-left").lighting
    values = []
    for albedo in (np.array([0.6, 0.4, 0.3]), np.array([0.15, 0.09, 0.07])):
        metric = LightError(request("rembrandt-left"))
        picture = drawn(face, light, albedo=albedo)
        metric.update(pair(0, picture, picture, face, face))
        score = metric.result()
        assert isinstance(score, Score)
        values.append(score.value)
    assert values[0] == pytest.approx(values[1], abs=0.03)


def test_light_that_asks_for_nothing_is_skipped() -> None:
    """`original` keeps the driver's light, and a light from behind alone has no shape on the face."""
    assert isinstance(LightError(request("original")).available(), Missing)
    behind = Lighting("b", (0, 0, 0), (DirectionalLight((0.0, 0.0, -1.0), (1, 1, 1), wrap=0.0),))
    assert isinstance(LightError(request(lighting=behind)).available(), Missing)


def test_clip_without_skin_is_reported() -> None:
    """Frames without a face leave no value and say so."""
    metric = LightError(request())
    black = np.zeros((64, 64, 3), np.uint8)
    metric.update(pair(0, black, black))
    assert isinstance(metric.result(), Missing)
