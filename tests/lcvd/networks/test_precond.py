"""The Denoiser's preconditioning and loss against float64 formulas written out here."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import ShapeError  # noqa: E402
from lcvd.networks.precond import Condition, Denoiser, micro_condition  # noqa: E402
from tests.rounding import rounding  # noqa: E402


@pytest.fixture(scope="module")
def denoiser(tiny_model) -> Denoiser:
    return tiny_model.denoiser


def given(batch: int = 2, frames: int = 3, size: int = 8) -> tuple:
    g = torch.Generator().manual_seed(7)
    x = torch.randn(batch, frames, 4, size, size, generator=g) * 3
    condition = Condition(
        torch.randn(batch, frames, 32, size, size, generator=g),
        torch.randn(batch, 1, 32, generator=g),
        torch.randn(batch, frames, 4, size, size, generator=g),
        micro_condition(batch),
    )
    return x, condition


def network(denoiser: Denoiser, x, sigma: list[float], condition: Condition) -> np.ndarray:
    """The stock forward on inputs scaled by hand."""
    scaled = np.stack([x[b].numpy() / math.sqrt(s**2 + 1) for b, s in enumerate(sigma)])
    sample = torch.cat([torch.from_numpy(scaled).float(), condition.latents], dim=2)
    times = torch.tensor([0.25 * math.log(s) for s in sigma])
    ids = torch.tensor([[6.0, 127.0, 0.02]]).repeat(len(sigma), 1)
    with torch.no_grad():
        return denoiser.unet(sample, times, condition.image_embedding, ids, condition.features).double().numpy()


def test_forward_and_denoised_by_hand(denoiser: Denoiser) -> None:
    """Input, time and micro-condition are EDM's and SVD's; x0 is -v σ/√(σ²+1) + x/(σ²+1)."""
    x, condition = given()
    sigma = [0.4, 6.0]
    v = network(denoiser, x, sigma, condition)
    with torch.no_grad():
        np.testing.assert_allclose(denoiser(x, torch.tensor(sigma), condition).numpy(), v, atol=1e-5)
        got = denoiser.denoised(x, torch.tensor(sigma), condition).numpy()
    expected = np.stack([-v[b] * s / math.sqrt(s**2 + 1) + x[b].numpy() / (s**2 + 1) for b, s in enumerate(sigma)])
    np.testing.assert_allclose(got, expected, atol=1e-5)


LEVELS = [[0.002, 0.4, 6.0], [1.7, 1.7, 90.0]]  # σ of every frame


def test_every_frame_may_have_its_own_level(denoiser: Denoiser) -> None:
    """Input scale, time and x0 of frame f are those of σ[b, f], written out frame by frame."""
    x, condition = given()
    sigma = np.array(LEVELS)
    scale = torch.from_numpy(np.sqrt(sigma**2 + 1)).float()[..., None, None, None]
    sample = torch.cat([x / scale, condition.latents], dim=2)
    times = torch.from_numpy(0.25 * np.log(sigma)).float()
    levels = torch.from_numpy(sigma).float()
    with torch.no_grad():
        v = denoiser.unet(sample, times, condition.image_embedding, condition.ids, condition.features).numpy()
        np.testing.assert_allclose(denoiser(x, levels, condition).numpy(), v, atol=1e-5)
        got = denoiser.denoised(x, levels, condition).numpy()
    for b in range(2):
        for f in range(3):
            s = sigma[b, f]
            expected = -v[b, f] * s / math.sqrt(s**2 + 1) + x[b, f].numpy() / (s**2 + 1)
            np.testing.assert_allclose(got[b, f], expected, atol=1e-5)


def test_equal_levels_are_the_scalar_path(denoiser: Denoiser) -> None:
    """v, x0 and loss with σ [B,F] of equal rows are those with σ [B]."""
    x, condition = given()
    sigma = torch.tensor([0.4, 6.0])
    rows = sigma[:, None].repeat(1, 3)
    portrait = torch.ones(2, 3, 1, 8, 8)
    with torch.no_grad():
        for call in (denoiser, denoiser.denoised):
            expected = call(x, sigma, condition)
            limit = rounding(denoiser, expected)
            torch.testing.assert_close(call(x, rows, condition), expected, atol=limit, rtol=0)
        one, many = (denoiser.loss(x, x, levels, condition, portrait) for levels in (sigma, rows))
    assert many.item() == pytest.approx(one.item(), rel=1e-6)


def test_loss_weighs_every_frame_by_its_own_level(denoiser: Denoiser) -> None:
    """λ(σ[b, f]) with v-prediction makes the first term the mean of (v - v*)², whatever the levels are."""
    target, condition = given()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(8))
    sigma = torch.tensor(LEVELS, dtype=torch.float64)
    level = sigma[..., None, None, None]
    x = target.double() + noise.double() * level
    with torch.no_grad():
        v = denoiser(x.float(), sigma.float(), condition).double()
        empty = torch.zeros(2, 3, 1, 8, 8)
        got = denoiser.loss(target, noise, sigma.float(), condition, empty).item()
    wanted = (target.double() - x / (level**2 + 1)) / (-level / (level**2 + 1).sqrt())
    assert got == pytest.approx(((v - wanted) ** 2).mean().item(), rel=2e-3)


@pytest.mark.parametrize("region", ["portrait", "background"])
def test_loss_by_hand(denoiser: Denoiser, region: str) -> None:
    """mean(λ e²) + Σ λ m e² / (4 Σ m), λ = (1 + σ²)/σ²; background is the complement the paper prints."""
    target, condition = given()
    g = torch.Generator().manual_seed(8)
    noise = torch.randn(target.shape, generator=g)
    portrait = (torch.rand(2, 3, 1, 8, 8, generator=g) > 0.6).float()
    sigma = [0.9, 2.5]
    x = target + noise * torch.tensor(sigma).reshape(-1, 1, 1, 1, 1)
    v = network(denoiser, x, sigma, condition)
    whole = part = area = 0.0
    for b, s in enumerate(sigma):
        x0 = -v[b] * s / math.sqrt(s**2 + 1) + x[b].double().numpy() / (s**2 + 1)
        errors = (1 + s**2) / s**2 * (x0 - target[b].double().numpy()) ** 2
        mask = portrait[b].numpy() if region == "portrait" else 1 - portrait[b].numpy()
        whole += errors.mean() / 2
        part += (errors * mask).sum()
        area += mask.sum()
    with torch.no_grad():
        got = denoiser.loss(target, noise, torch.tensor(sigma), condition, portrait, region).item()
    assert got == pytest.approx(whole + part / (4 * area), rel=1e-4)


def test_loss_without_a_portrait_is_finite(denoiser: Denoiser) -> None:
    """An empty mask leaves the first term alone instead of dividing by zero."""
    target, condition = given()
    noise = torch.zeros_like(target)
    with torch.no_grad():
        loss = denoiser.loss(target, noise, torch.tensor([1.0, 1.0]), condition, torch.zeros(2, 3, 1, 8, 8))
    assert torch.isfinite(loss)


def test_loss_trains_unet_and_adapters(tiny_weights) -> None:
    """Gradients of the loss reach conv_in and, through the features, an adapter."""
    from lcvd.networks.adapters import Adapters
    from lcvd.networks.unet import unet_from_config
    from lcvd.weights.tiny import UNET

    torch.manual_seed(0)
    denoiser, adapters = Denoiser(unet_from_config(UNET)), Adapters(32)
    target, condition = given(batch=1, frames=2)
    features = adapters(shading=torch.rand(1, 2, 3, 64, 64))
    condition = Condition(features, condition.image_embedding, condition.latents, condition.ids)
    denoiser.loss(
        target, torch.randn_like(target), torch.tensor([1.5]), condition, torch.ones(1, 2, 1, 8, 8)
    ).backward()
    assert denoiser.unet.svd.conv_in.weight.grad.abs().max() > 0
    assert adapters.light.final_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_stays_near(tiny_weights, denoiser: Denoiser, name: str) -> None:
    """In fp16 and bf16 the prediction is float32 in the end, and close to the float32 network's."""
    from lcvd.model import load_lcvd

    half = load_lcvd(tiny_weights, dtype=name).denoiser
    assert half.unet.svd.conv_in.weight.dtype == getattr(torch, name)
    x, condition = given(batch=1)
    with torch.no_grad():
        exact = denoiser(x, torch.tensor([2.0]), condition)
        rough = half(x, torch.tensor([2.0]), condition)
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() / exact.norm() < (0.01 if name == "float16" else 0.05)


def test_shapes_are_checked(denoiser: Denoiser) -> None:
    """x of another size than the condition, and a mask of another size than the target, are named."""
    x, condition = given()
    with pytest.raises(ShapeError, match="x: expected"):
        denoiser(x[:, :2], torch.ones(2), condition)
    with pytest.raises(ShapeError, match=r"sigma: expected \(2,\) or \(2, 3\), got \(2, 2\)"):
        denoiser(x, torch.ones(2, 2), condition)
    with pytest.raises(ShapeError, match="portrait: expected"):
        denoiser.loss(x, x, torch.ones(2), condition, torch.ones(2, 3, 4, 8, 8))


def test_micro_condition_is_the_published_one() -> None:
    """[fps - 1, motion bucket, noise augmentation] = [6, 127, 0.02] for each item."""
    torch.testing.assert_close(micro_condition(2), torch.tensor([[6, 127, 0.02]] * 2))
