"""High dynamic range and wide gamut against ITU-R's formulas and their known values."""

import numpy as np
import pytest

from lcvd.video.tone_mapping import (
    PEAK_NITS,
    hlg_scene_light,
    pq_nits,
    pq_signal,
    pressed_nits,
    rgb_to_xyz,
    to_bt709,
)


def codes(signal: np.ndarray) -> np.ndarray:
    """16-bit code values [1,N,3] of signals [N,3] in [0,1]."""
    return np.round(np.atleast_2d(signal)[None] * 65535).astype(np.uint16)


def hlg_signal(light: np.ndarray) -> np.ndarray:
    """BT.2100's HLG OETF."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)


def shown_as(rgb: np.ndarray, transfer: str, primaries: str = "bt2020") -> np.ndarray:
    """Encodes BT.709 display light [N,3], in units of 100 cd/m², as `transfer` in `primaries`."""
    linear = rgb @ np.linalg.solve(rgb_to_xyz(primaries), rgb_to_xyz("bt709")).T
    if transfer == "pq":
        return pq_signal(np.maximum(linear, 0) * 100)
    if transfer == "hlg":
        luminance = linear @ rgb_to_xyz(primaries)[1]
        scene = linear / 10 * np.maximum(luminance / 10, 1e-9)[:, None] ** (1 / 1.2 - 1)
        return hlg_signal(np.maximum(scene, 0))
    return np.maximum(linear, 0) ** (1 / 2.4)


def test_known_values_of_bt2100() -> None:
    """HLG's 50 and 75 %, PQ's 100 and 1,000 cd/m², as the standard and BT.2408 print them."""
    np.testing.assert_allclose(hlg_scene_light(np.array([0.5, 0.75, 1.0])), [1 / 12, 0.2650, 1.0], atol=2e-4)
    np.testing.assert_allclose(pq_nits(np.array([0.5081, 0.5807, 0.7518])), [100, 203, 1000], rtol=3e-3)
    np.testing.assert_allclose(pq_signal(pq_nits(np.linspace(0.01, 1, 9))), np.linspace(0.01, 1, 9), rtol=1e-6)


def test_the_curve_keeps_the_dark_and_presses_the_bright() -> None:
    """Up to 30 cd/m² nothing changes; it rises all the way and ends at 100."""
    nits = np.linspace(0.1, PEAK_NITS, 2000)
    pressed = pressed_nits(nits)
    np.testing.assert_allclose(pressed[nits < 25], nits[nits < 25], rtol=1e-6)
    assert np.all(np.diff(pressed) > 0)
    assert pressed[-1] == pytest.approx(100, rel=1e-6)
    assert pressed_nits(np.array([203.0]))[0] == pytest.approx(88.2, abs=0.1)


@pytest.mark.parametrize("transfer", ["hlg", "pq"])
def test_what_an_sdr_display_can_show_comes_back(transfer: str) -> None:
    """Skin, grass and grey below 30 cd/m² lose nothing on the way through high dynamic range: within two levels."""
    rgb = np.array([[0.28, 0.17, 0.13], [0.05, 0.2, 0.04], [0.18, 0.18, 0.18], [0.02, 0.02, 0.02], [0.25, 0.05, 0.05]])
    found = to_bt709(codes(shown_as(rgb, transfer)), transfer, "bt2020")[0]
    np.testing.assert_allclose(found, 255 * rgb ** (1 / 2.4), atol=2)


@pytest.mark.parametrize("transfer", ["hlg", "pq"])
def test_highlights_are_pressed_and_not_clipped(transfer: str) -> None:
    """A ramp to 1,000 cd/m² rises to 255 without a step back and has detail left above reference white."""
    grey = np.linspace(0, 10, 200)[:, None].repeat(3, 1)
    found = to_bt709(codes(shown_as(grey, transfer)), transfer, "bt2020")[0].astype(int)
    assert np.all(np.ptp(found, axis=1) <= 1)
    assert np.all(np.diff(found[:, 0]) >= 0)
    assert found[-1, 0] == 255
    assert found[np.argmin(np.abs(grey[:, 0] - 2.03)), 0] == pytest.approx(242, abs=2)


@pytest.mark.parametrize("primaries", ["bt2020", "p3"])
def test_wide_gamut_of_standard_range_changes_its_primaries_alone(primaries: str) -> None:
    """Every colour of BT.709 comes back as it was; what lies outside stays in its hue."""
    generator = np.random.default_rng(0)
    rgb = generator.uniform(0.01, 1, (500, 3))
    found = to_bt709(codes(shown_as(rgb, "sdr", primaries)), "sdr", primaries)[0]
    np.testing.assert_allclose(found, 255 * rgb ** (1 / 2.4), atol=1.5)
    pure = to_bt709(codes(np.array([[0.0, 0.7, 0.0]])), "sdr", primaries)[0, 0]
    assert pure[1] > 150
    assert int(pure[1]) - max(pure[0], pure[2]) > 60
