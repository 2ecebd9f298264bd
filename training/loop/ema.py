"""Ema keeps an exponential moving average of the trained weights, which is exported and validated."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Holds float32 copies of named parameters, on their devices."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], decay: float, warmup: bool = True) -> None:
        self._live = dict(named)
        self.decay, self.warmup, self.updates = decay, warmup, 0
        self.shadow: dict[str, Tensor] = {
            name: value.detach().to(dtype=torch.float32, copy=True) for name, value in self._live.items()
        }

    def rate(self, updates: int) -> float:
        """Returns the decay of update `updates` (from 1): small at first, so that the initial weights fade soon."""
        return min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average: shadow ← rate · shadow + (1 − rate) · weights."""
        self.updates += 1
        weight = 1.0 - self.rate(self.updates)
        live = [value.detach().float() for value in self._live.values()]
        torch._foreach_lerp_(list(self.shadow.values()), live, weight)

    def state_dict(self) -> dict[str, Any]:
        """Returns {"updates", "shadow"} with the tensors themselves, not copies."""
        return {"updates": self.updates, "shadow": self.shadow}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state. Raises KeyError or RuntimeError where names or shapes differ."""
        self.updates = int(state["updates"])
        for name, value in self.shadow.items():
            value.copy_(state["shadow"][name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replaces the weights by the averaged ones inside the block."""
        own = {name: value.detach().clone() for name, value in self._live.items()}
        self._write(self.shadow)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(values[name])
