"""Condition dropout has the shares of the released code and repeats for the same generator."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from training.config import DropoutConfig  # noqa: E402
from training.data.dropout import ConditionMask, draw_condition_mask  # noqa: E402


def draws(config: DropoutConfig, count: int, seed: int = 0) -> list[ConditionMask]:
    generator = torch.Generator().manual_seed(seed)
    return [draw_condition_mask(config, generator) for _ in range(count)]


def test_shares() -> None:
    """p = 0.5 each, 10 % none, 10 % all; CLIP 20 %, latent 20 %, both 10 %; images and adapters by themselves."""
    masks = draws(DropoutConfig(), 20_000)
    shading, reference = (np.array([getattr(each, name) for each in masks]) for name in ("shading", "reference"))
    clip, latent = (np.array([getattr(each, name) for each in masks]) for name in ("clip", "latent"))
    assert set(np.unique([shading, reference, clip, latent])) == {0.0, 1.0}

    def share(event: np.ndarray) -> float:
        return float(np.mean(event))

    # 0.1 + 0.8 · 0.25 of both kinds, 0.8 · 0.25 of each single one
    for event, wanted in (
        ((shading == 0) & (reference == 0), 0.30),
        ((shading == 1) & (reference == 1), 0.30),
        ((shading == 1) & (reference == 0), 0.20),
        (clip == 0, 0.20),
        (latent == 0, 0.20),
        ((clip == 0) & (latent == 0), 0.10),
        ((clip == 0) & (shading == 0), 0.10),
    ):
        assert share(event) == pytest.approx(wanted, abs=0.015)


def test_extremes_and_repetition() -> None:
    """Nothing or everything can be dropped; one seed gives one sequence, and each draw takes equally many numbers."""
    none = DropoutConfig(keep=1, all_dropped=0, all_kept=0, clip=0, latent=0, both=0)
    assert set(draws(none, 50)) == {ConditionMask(1, 1, 1, 1)}
    everything = DropoutConfig(keep=0, all_dropped=1, all_kept=0, clip=1, latent=1, both=1)
    assert set(draws(everything, 50)) == {ConditionMask(0, 0, 0, 0)}
    assert draws(DropoutConfig(), 50, 3) == draws(DropoutConfig(), 50, 3)
    states = []
    for config in (none, everything):
        generator = torch.Generator().manual_seed(1)
        draw_condition_mask(config, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)
