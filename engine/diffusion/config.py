"""The operator's settings of LCVD live, as one value that is passed whole. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class LcvdConfig:
    """Holds what an operator may set of LCVD; the server's RELIGHT_LCVD_* and RELIGHT_PLANS have these names."""

    weights: Path | str = "lcvd-published"  # a folder, or a name under the user's weights folder
    backend: str = "auto"  # see engine.backends; one that fails is followed by the next, at last by eager
    size: int | None = None  # side of the avatar in px; None: what the weights are served at
    plans: Path | None = None  # folder of the built plans; None: the user's cache
    decoder: Literal["image", "tiny"] = "image"  # tiny is TAESD, where its files are beside the weights
    precision: str = "auto"  # fp32, fp16, bf16, or fp8 where such plans were built; auto: by device
    batch: int | None = None  # participants who may share a call; None: 2 on a GPU, 1 on a CPU
