"""Noise levels and steps against float64 formulas written out here, and against diffusers' scheduler."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.networks.schedule import (  # noqa: E402
    ddim_sigmas,
    ddim_step,
    euler_step,
    karras_sigmas,
    sigmas_for,
    v_from_x0,
    x0_from_v,
)
from lcvd.weights.tiny import SCHEDULER  # noqa: E402


def test_karras_levels_by_hand() -> None:
    """The i-th of n levels is (σmax^⅐ + i/(n-1) (σmin^⅐ - σmax^⅐))^7, then 0."""
    got = karras_sigmas(25)
    for i in range(25):
        root = 700 ** (1 / 7) * (1 - i / 24) + 0.002 ** (1 / 7) * (i / 24)
        assert got[i] == pytest.approx(root**7, rel=1e-12)
    assert got[-1] == 0.0
    assert len(got) == 26


@pytest.mark.parametrize(("steps", "expected"), [(2, [700, 0.002, 0]), (4, [700, 70.5, 2.27, 0.002, 0]), (1, [700, 0])])
def test_karras_with_few_steps(steps: int, expected: list[float]) -> None:
    """With few steps the schedule is the published one, its wasted last level included."""
    np.testing.assert_allclose(karras_sigmas(steps), expected, rtol=2e-3)


def test_levels_equal_diffusers_scheduler() -> None:
    """SVD's scheduler_config.json through diffusers gives the same levels, and times 0.25 ln σ."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EulerDiscreteScheduler.from_config(dict(SCHEDULER))
    scheduler.set_timesteps(25)
    ours = karras_sigmas(25)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), ours, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(scheduler.timesteps.numpy(), 0.25 * np.log(ours[:-1]), atol=1e-5)
    assert scheduler.init_noise_sigma == pytest.approx(math.sqrt(700**2 + 1), rel=1e-6)


def test_euler_equals_diffusers_scheduler() -> None:
    """25 steps of a toy network end where diffusers' Euler scheduler ends."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EulerDiscreteScheduler.from_config(dict(SCHEDULER))
    scheduler.set_timesteps(25)
    theirs = ours = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
    levels = karras_sigmas(25)
    for index, time in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(theirs, time)
        theirs = scheduler.step(torch.tanh(scaled) * 0.7, time, theirs, return_dict=False)[0]
        sigma, following = float(levels[index]), float(levels[index + 1])
        v = torch.tanh(ours / (sigma**2 + 1) ** 0.5) * 0.7
        ours = euler_step(ours, v, sigma, following)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_euler_step_by_hand() -> None:
    """One Euler step is the formula of docs/lcvd.md in float64."""
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 4, 2, 2))
    sigma, following = 2.3, 1.1
    x0 = -v * sigma / math.sqrt(sigma**2 + 1) + x / (sigma**2 + 1)
    expected = x + (x - x0) / sigma * (following - sigma)
    got = euler_step(torch.from_numpy(x).float(), torch.from_numpy(v).float(), sigma, following)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_a_long_euler_step_keeps_x0s_digits() -> None:
    """From σ = 700 almost to 0 in one step, as in a two-step schedule, fp32 is exact to 1e-6, not to one ulp of 700."""
    rng = np.random.default_rng(1)
    x, v = 700 * rng.normal(size=(3, 4, 8, 8)), rng.normal(size=(3, 4, 8, 8))
    x, v = np.float32(x).astype(float), np.float32(v).astype(float)
    sigma, following = 700.0, 0.002
    x0 = -v * sigma / math.sqrt(sigma**2 + 1) + x / (sigma**2 + 1)
    expected = x + (x - x0) / sigma * (following - sigma)
    got = euler_step(torch.from_numpy(x).float(), torch.from_numpy(v).float(), sigma, following)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


def test_ddim_step_by_hand() -> None:
    """DDIM with η = 0: predicted x0 and ε of z = √ᾱ x0 + √(1-ᾱ) ε are recombined at the next ᾱ."""
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(2, 3, 4, 2, 2))
    sigma, following = 5.0, 0.7
    bar, bar_next = 1 / (sigma**2 + 1), 1 / (following**2 + 1)
    z = math.sqrt(bar) * x
    x0 = math.sqrt(bar) * z - math.sqrt(1 - bar) * v
    epsilon = (z - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
    expected = (math.sqrt(bar_next) * x0 + math.sqrt(1 - bar_next) * epsilon) / math.sqrt(bar_next)
    got = ddim_step(torch.from_numpy(x).float(), torch.from_numpy(v).float(), sigma, following)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("following", [3.0, 0.5, 0.0])
def test_ddim_is_euler_in_other_variables(following: float) -> None:
    """On the same two levels both samplers take the same step; only their levels differ."""
    g = torch.Generator().manual_seed(2)
    x, v = torch.randn(3, 4, 2, 2, generator=g), torch.randn(3, 4, 2, 2, generator=g)
    torch.testing.assert_close(ddim_step(x, v, 4.0, following), euler_step(x, v, 4.0, following), atol=1e-5, rtol=0)


def test_ddim_levels_by_hand() -> None:
    """25 levels at training steps 961, 921 … 1 of the scaled-linear β schedule, then 0."""
    got = ddim_sigmas(25)
    bar = 1.0
    level = {}
    for t in range(1000):
        root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * t / 999
        bar *= 1 - root**2
        level[t] = math.sqrt((1 - bar) / bar)
    np.testing.assert_allclose(got[:-1], [level[t] for t in range(961, 0, -40)], rtol=1e-9)
    assert got[-1] == 0
    assert (np.diff(got) < 0).all()


def test_v_and_x0_are_inverse() -> None:
    """v_from_x0 gives the v that predicts x0."""
    g = torch.Generator().manual_seed(4)
    x, x0 = torch.randn(4, generator=g) * 9, torch.randn(4, generator=g)
    torch.testing.assert_close(x0_from_v(x, v_from_x0(x, x0, 8.0), 8.0), x0, atol=1e-5, rtol=0)


def test_bad_requests_are_refused() -> None:
    """No steps, and an unknown sampler, are errors that say what is legal."""
    with pytest.raises(ValueError, match="steps: 0"):
        karras_sigmas(0)
    with pytest.raises(ValueError, match="euler or ddim"):
        sigmas_for("heun", 5)  # type: ignore[arg-type]
