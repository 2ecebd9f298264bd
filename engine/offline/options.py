"""The options a portrait is animated with, and a check for those that could never work."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from engine.errors import PortraitError
from lcvd.networks.schedule import SamplerName

MotionName = Literal["relative", "first", "scale", "driver"]


@dataclass(frozen=True, slots=True)
class PortraitOptions:
    """Holds what a run is made with; the defaults are the published ones but for `motion`."""

    size: int = 512  # px, a multiple of 8
    steps: int = 25
    omega: float = 4.5
    sampler: SamplerName = "euler"
    seed: int = 0
    # "first" is the published relative motion, against the driver's first face; "relative" against a rest pose that is
    # learned; "driver" takes the driver's face as it is: the same person relit.
    motion: MotionName = "relative"
    dtype: str = "float32"
    device: str = "cpu"
    batched: bool = True  # both guidance branches in one batch
    released_reference: bool = False  # cut to bytes as the released script does (lcvd.sampling.conditions)
    deca_dir: Path | None = None
    u2net: Path | None = None


def check_options(options: PortraitOptions) -> None:
    """Raise PortraitError or ModelUnavailable for what could not work: before minutes of hints, not after. Torch."""
    from lcvd.model import device_from_name, dtype_from_name

    if options.size % 8 or not 64 <= options.size <= 2048:
        raise PortraitError(f"size={options.size}: must be a multiple of 8 from 64 to 2048", "use 512, as published")
    if not 1 <= options.steps <= 1000:
        raise PortraitError(f"steps={options.steps}: must be 1 to 1000", "use 25, as published")
    if not math.isfinite(options.omega):
        raise PortraitError(f"omega={options.omega}: must be a finite number", "use 4.5, as published")
    if not 0 <= options.seed < 2**63:
        raise PortraitError(f"seed={options.seed}: must be 0 to 2^63 - 1", "use 0")
    for name, value, legal in (
        ("sampler", options.sampler, get_args(SamplerName)),
        ("motion", options.motion, get_args(MotionName)),
    ):
        if value not in legal:
            raise PortraitError(f"{name}={value!r} is unknown", f"use {', '.join(legal)}")
    try:
        dtype_from_name(options.dtype)
    except ValueError:
        raise PortraitError(f"dtype={options.dtype!r} is unknown", "use fp32, bf16 or fp16") from None
    device_from_name(options.device)
