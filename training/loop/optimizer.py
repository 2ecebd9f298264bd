"""This module makes the optimizer and its learning rate, which is a function of the step and needs no state."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from training.config import OptimizerConfig

logger = logging.getLogger(__name__)


def make_optimizer(config: OptimizerConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Makes the 8-bit AdamW of bitsandbytes where it is asked for and works, else torch's AdamW, with a warning."""
    given: dict[str, Any] = {
        "lr": config.lr,
        "betas": config.betas,
        "eps": config.eps,
        "weight_decay": config.weight_decay,
    }
    if config.name == "adamw8bit":
        made = _eight_bit(parameters, given)
        if made is not None:
            return made
    return torch.optim.AdamW(parameters, **given, fused=True)


def _eight_bit(parameters: Sequence[nn.Parameter], given: dict[str, Any]) -> torch.optim.Optimizer | None:
    try:
        import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:
        logger.warning("optimizer adamw8bit: bitsandbytes cannot be used (%s); AdamW with 32-bit state instead", error)
        return None
    made: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **given)
    return made


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Returns the learning rate of step `step` (from 0) of `steps`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.lr
    done = min((step - config.warmup) / max(steps - config.warmup, 1), 1.0)
    left = 1 - done if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (config.floor + (1 - config.floor) * left)
