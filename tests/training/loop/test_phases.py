"""A student's phases have the live sampler's levels; the targets' fixed point is a Gaussian's known ODE solution."""

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")

from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from lcvd.networks.schedule import (  # noqa: E402
    euler_step,
    nested_sigmas,
    v_from_x0,
    x0_from_v,
)
from training.loop.phases import Phases, distilled_target, landed, pseudo_huber  # noqa: E402

MEAN, SPREAD = 0.7, 1.3  # of a toy Gaussian prior whose best denoiser and whose ODE are known


def teacher(x: "torch.Tensor", sigma: "torch.Tensor") -> "torch.Tensor":
    """Returns E[x0 | x] = (c² x + σ² μ)/(c² + σ²)."""
    level = sigma.double().reshape(-1, 1, 1, 1, 1)
    return (SPREAD**2 * x + level**2 * MEAN) / (SPREAD**2 + level**2)


def gains_of(phases: Phases) -> np.ndarray:
    """Returns [N] the slope of x0 in x - μ that lands, in one Euler step, where the teacher's Euler path arrives."""
    levels = phases.levels
    gains = np.empty(len(levels) - 1)
    for index in reversed(range(len(gains))):
        if (index + 1) % phases.length == 0:
            end, slope = levels[index + 1], 1.0
        shrink = SPREAD**2 / (SPREAD**2 + levels[index] ** 2)
        slope *= shrink + (1 - shrink) * levels[index + 1] / levels[index]
        share = end / levels[index]
        gains[index] = (slope - share) / (1 - share)
    return gains


def linear(gains: "torch.Tensor", phases: Phases):
    """Returns a student with one slope for each level."""

    def predict(x: "torch.Tensor", sigma: "torch.Tensor") -> "torch.Tensor":
        return MEAN + gains[phases.index_of(sigma)].reshape(-1, 1, 1, 1, 1) * (x - MEAN)

    return predict


def noisy(phases: Phases) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Returns x [N,2,4,3,3] at every level of the path, float64, and the levels' indices."""
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(len(phases.levels) - 1)
    clean, noise = torch.randn(2, len(index), 2, 4, 3, 3, generator=generator, dtype=torch.float64)
    sigma = torch.from_numpy(phases.levels[:-1]).reshape(-1, 1, 1, 1, 1)
    return MEAN + SPREAD * clean + sigma * noise, index


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_students_levels_are_the_live_samplers(sampler: str, steps: int) -> None:
    """Phases begin at the levels at which the engine calls a student; the teacher's path has every one of them."""
    phases = Phases.of(sampler, steps, 32)
    plan = SamplerPlan(steps, sampler, "student")
    np.testing.assert_array_equal(phases.sigmas, plan.sigmas)
    assert len(phases.levels) == 33
    assert (np.diff(phases.levels) < 0).all()
    with pytest.raises(ValueError, match="divide"):
        Phases.of(sampler, 5, 32)


def test_levels_are_found_again_and_phases_end_where_the_next_begins() -> None:
    """Every σ of the path, rounded to float32, is its own place; the last phase ends at 0."""
    phases = Phases.of("euler", 4, 16)
    index = torch.arange(16)
    sigma, below, end = phases.at(index)
    torch.testing.assert_close(phases.index_of(sigma * 1.0001), index)
    np.testing.assert_allclose(below, phases.levels[1:], rtol=1e-6)
    np.testing.assert_allclose(end, np.repeat(phases.sigmas[1:], 4), rtol=1e-6)


def test_at_zero_noise_edms_parametrisation_is_the_identity() -> None:
    """c_skip(0) = 1 and c_out(0) = 0, so f(x, 0) = x for every network and no boundary has to be added."""
    x, v = torch.randn(2, 5, 4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(x0_from_v(x, v, 0.0), x, rtol=0, atol=0)
    torch.testing.assert_close(x0_from_v(x, v, 0.002), x, rtol=0, atol=0.01)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_true_consistency_function_is_the_minimiser(steps: int) -> None:
    """At the closed form the loss and its gradient vanish at every level; away from it neither does."""
    phases = Phases.of("euler", steps, 16)
    x, index = noisy(phases)
    sigma = phases.at(index)[0]
    for shift, still in ((0.0, True), (0.05, False)):
        gains = torch.from_numpy(gains_of(phases) + shift).requires_grad_()
        predict = linear(gains, phases)
        wanted = distilled_target(x, index, phases, teacher, predict)
        assert not wanted.requires_grad
        loss = pseudo_huber(((predict(x, sigma) - wanted) ** 2).flatten(1).mean(1, keepdim=True), 1e-3).sum()
        loss.backward()
        if still:
            assert float(loss.detach()) < 1e-6
            assert float(gains.grad.abs().max()) < 1e-3
        else:
            assert float(loss.detach()) > 0.1
            assert float(gains.grad.abs().max()) > 0.1


@pytest.mark.parametrize("steps", [1, 4])
def test_from_any_start_the_targets_reach_the_closed_form(steps: int) -> None:
    """Each round the truth moves one level up from the phase's end: as many rounds as a phase has steps are enough."""
    phases = Phases.of("euler", steps, 16)
    x, index = noisy(phases)
    gains, right = torch.zeros(16, dtype=torch.float64), torch.from_numpy(gains_of(phases))
    for done in range(phases.length):
        assert not torch.allclose(gains, right, rtol=1e-3, atol=1e-4), f"already after {done} rounds"
        wanted = distilled_target(x, index, phases, teacher, linear(gains, phases))
        gains = ((wanted - MEAN) * (x - MEAN)).flatten(1).sum(1) / ((x - MEAN) ** 2).flatten(1).sum(1)
    torch.testing.assert_close(gains, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_closed_form_samples_the_gaussians_own_ode(steps: int) -> None:
    """With a fine path, few steps of the student end at μ + (x - μ) c/√(c² + σ²), the ODE's exact solution."""
    phases = Phases(steps, nested_sigmas("euler", 4000))
    predict = linear(torch.from_numpy(gains_of(phases)), phases)
    sigmas = [float(sigma) for sigma in phases.sigmas]
    x = MEAN + 700 * torch.randn(1, 2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = MEAN + (x - MEAN) * SPREAD / (SPREAD**2 + sigmas[0] ** 2) ** 0.5
    for sigma, below in pairwise(sigmas):
        v = v_from_x0(x, predict(x, torch.tensor([sigma])), sigma)
        x = euler_step(x, v, sigma, below)
    torch.testing.assert_close(x, exact, rtol=0.01, atol=0.01)


def test_where_a_phase_ends_the_target_is_the_teachers_own() -> None:
    """The teacher's x0 is the target where its step lands on the boundary, bit for bit."""
    phases = Phases.of("euler", 2, 8)
    x, index = noisy(phases)

    def target_network(x: "torch.Tensor", sigma: "torch.Tensor") -> "torch.Tensor":
        return torch.full_like(x, 9.0)

    wanted = distilled_target(x, index, phases, teacher, target_network)
    own = teacher(x, phases.at(index)[0])
    last = [3, 7]
    torch.testing.assert_close(wanted[last], own[last], rtol=0, atol=0)
    others = [0, 1, 2, 4, 5, 6]
    assert (wanted[others] - own[others]).abs().flatten(1).amax(1).min() > 1e-3


def test_a_step_for_every_sequence_is_the_samplers_step() -> None:
    """`landed` with the ratio of two levels is `euler_step`."""
    x, x0 = torch.randn(2, 1, 2, 4, 3, 3, dtype=torch.float64)
    for sigma, below in ((700.0, 11.3), (0.26, 0.0)):
        wanted = euler_step(x, v_from_x0(x, x0, sigma), sigma, below)
        torch.testing.assert_close(landed(x, x0, torch.tensor([below / sigma]).double()), wanted)


def test_pseudo_huber_is_exact_for_tiny_errors() -> None:
    """It is √(e² + c²) - c, in float32 too, where the difference of the two would be 0."""
    c, errors = 0.00054, np.array([1.0, 1e-4, 1e-14])
    got = pseudo_huber(torch.tensor(errors).float()[:, None], c)[:, 0]
    np.testing.assert_allclose(got, errors / (np.sqrt(errors + c * c) + c), rtol=1e-6)
    assert float(got[0]) == pytest.approx((1 + c * c) ** 0.5 - c, rel=1e-6)
    assert float(got[2]) == pytest.approx(1e-14 / (2 * c), rel=1e-5)
