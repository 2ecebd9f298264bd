"""The average of the weights equals the formula written out."""

import contextlib

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from training.loop.ema import Ema  # noqa: E402


def test_the_average_by_hand() -> None:
    """shadow ← d · shadow + (1 − d) · w holds, with d growing as (1 + n)/(10 + n) up to the decay."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    ema = Ema([("w", weight)], decay=0.25)
    wanted = weight.detach().double().clone()
    for n in range(1, 8):
        with torch.no_grad():
            weight += n
        ema.update()
        rate = min(0.25, (1 + n) / (10 + n))
        wanted = rate * wanted + (1 - rate) * weight.detach().double()
        torch.testing.assert_close(ema.shadow["w"].double(), wanted, rtol=1e-6, atol=0)
    assert Ema([("w", weight)], 0.999, warmup=False).rate(1) == 0.999
    assert ema.rate(1) == pytest.approx(2 / 11)


def test_half_precision_weights_are_averaged_in_float32() -> None:
    """Small steps are not lost in bfloat16."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    ema = Ema([("w", weight)], decay=0.999, warmup=False)
    with torch.no_grad():
        weight += 0.5
    ema.update()
    assert ema.shadow["w"].item() == pytest.approx(1.0005, abs=1e-6)


def test_applied_and_restored() -> None:
    """Inside the block the weights are the average, afterwards their own, also after an error; state goes round."""
    weight = torch.nn.Parameter(torch.zeros(2))
    ema = Ema([("w", weight)], decay=0.5, warmup=False)
    with torch.no_grad():
        weight += 4
    ema.update()
    seen = []
    with contextlib.suppress(KeyError), ema.applied():
        seen = weight.tolist()
        raise KeyError
    assert seen == [2, 2]
    assert weight.tolist() == [4, 4]
    other = Ema([("w", torch.nn.Parameter(torch.zeros(2)))], decay=0.5)
    other.load_state_dict(ema.state_dict())
    assert (other.updates, other.shadow["w"].tolist()) == (1, [2, 2])
