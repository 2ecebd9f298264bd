"""The smallest run has a UNet (32, 64) on 4 x 4 latents, 4 frames of 32 px, 4 synthetic heads."""

from pathlib import Path
from typing import Any

from lcvd.weights import tiny as weights_tiny
from training.config import TrainConfig, config_from

SIZE, FRAMES, HEADS = 32, 4, 4


def tiny_table(output: Path, **changes: Any) -> dict[str, Any]:
    """Returns a configuration as TOML would give it; `a__b=value` changes a nested value."""
    table: dict[str, Any] = {
        "output": str(output),
        "steps": 3,
        "accumulation": 1,
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "model": {
            "source": "fresh",
            "unet": {"config": weights_tiny.UNET},
            "vae": {"config": weights_tiny.VAE},
            "image_encoder": {"config": weights_tiny.IMAGE_ENCODER},
        },
        "data": {
            "frames": FRAMES,
            "size": SIZE,
            "threads": 0,
            "latents": "cached",
            "reference_draws": 2,
            "synthetic": {"heads": HEADS, "cache": str(output.parent / "heads")},
        },
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "ema": {"decay": 0.9},
        "checkpoint": {"every": 100, "export": False},
        "validation": {"every": 0},
    }
    for name, value in changes.items():
        *tables, field = name.split("__")
        at = table
        for each in tables:
            at = at.setdefault(each, {})
        at[field] = value
    return table


def tiny_config(output: Path, **changes: Any) -> TrainConfig:
    """Returns the validated configuration."""
    return config_from(tiny_table(output, **changes))
