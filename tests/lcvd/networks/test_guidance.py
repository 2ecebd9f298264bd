"""Equation 6 by hand, its two identities, the table of modes and the weights per frame."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.networks.guidance import MODES, guided, omega_per_frame  # noqa: E402


def pair(seed: int = 0) -> tuple:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, 2, 2, generator=g), torch.randn(3, 4, 2, 2, generator=g)


def test_equation_by_hand() -> None:
    """v1 + ω (v2 - v1), with each frame's own ω, in float64."""
    v1, v2 = pair()
    omega = np.array([0.3, 1.0, 4.5])
    expected = v1.double().numpy() + omega[:, None, None, None] * (v2 - v1).double().numpy()
    np.testing.assert_allclose(guided(v1, v2, torch.from_numpy(omega)).numpy(), expected, atol=2e-6)


def test_omega_one_is_the_full_condition() -> None:
    """ω = 1 is the c2 prediction, bit for bit."""
    v1, v2 = pair()
    assert torch.equal(guided(v1, v2, torch.ones(3)), v2)
    assert torch.equal(guided(v1, v2, torch.zeros(3)), v1)


def test_equal_conditions_make_omega_irrelevant() -> None:
    """With c1 = c2, any ω gives the same bits."""
    v1, _ = pair()
    assert torch.equal(guided(v1, v1.clone(), torch.tensor([-3.0, 4.5, 80.0])), v1)


def test_modes_are_the_published_ones() -> None:
    """Relighting holds the reference in both branches; the other modes have an empty c1."""
    assert MODES["relight"].c2 == ("shading", "reference")
    assert MODES["relight"].c1 == ("reference",)
    assert MODES["landmark"].c2 == ("landmarks", "reference")
    assert MODES["animate"].c2 == ("shading", "reference")
    assert MODES["landmark"].c1 == MODES["animate"].c1 == ()


def test_omega_for_every_frame() -> None:
    """A number is everywhere; (1, 3) falls from 3 at the anchor; a list is taken as it is."""
    np.testing.assert_array_equal(omega_per_frame(4.5, 3), [4.5] * 3)
    np.testing.assert_allclose(omega_per_frame((1.0, 3.0), 5), [3, 2.5, 2, 1.5, 1])
    np.testing.assert_array_equal(omega_per_frame([1, 2, 3], 3), [1, 2, 3])


@pytest.mark.parametrize("omega", [[1.0, 2.0], float("nan"), [[1.0]]])
def test_wrong_omega_is_refused(omega: object) -> None:
    """A list of another length, or something not finite, is an error that says what is legal."""
    with pytest.raises(ValueError, match="omega"):
        omega_per_frame(omega, 3)  # type: ignore[arg-type]
