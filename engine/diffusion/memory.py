"""Tells whether LCVD fits before it is loaded: weights + the largest stage, against what the device has free.

Activations are linear in what is computed at once, because attention is fused: with C the UNet's first width, c the
VAE's, e bytes a number, F frames, h·w latents, S·S pixels, a forward of R rows (branches × windows) holds at its peak
27.8 R·F·h·w·C·e, decoding n pictures 6.0 n·S²·c·e, encoding one 5.03 S²·c·e. Counted from the life of every tensor on
the meta device (tests/engine/live_peak.py): full size from 256 to 768 px, 1 to 4 rows, fp32 and bf16: within 4.5 %.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from engine.diffusion.window import WINDOW
from engine.errors import EngineUnavailable

if TYPE_CHECKING:
    from engine.diffusion.engine import DiffusionOptions

log = logging.getLogger(__name__)

UNET_PEAK, DECODE_PEAK, ENCODE_PEAK = 27.8, 6.0, 5.03
DECODE_CHUNK = 4  # pictures at once, of the eager backend; others take fewer
MARGIN = 1.15  # convolutions' workspaces, fragments, what streams keep
FIXED = 512 * 2**20  # kernels and library handles
GIB = 2**30
SMALLER = (768, 512, 448, 384, 320, 256)  # px, what is proposed where the size asked for does not fit


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes: what stays, and the peak of each stage while it runs."""

    weights: int
    unet: int
    decode: int
    encode: int

    @property
    def total(self) -> int:
        """Stages take turns, so only the largest counts."""
        return int(self.weights + MARGIN * max(self.unet, self.decode, self.encode) + FIXED)


def memory_need(
    weights: int,  # bytes of all networks
    unet: Mapping[str, Any],  # their configurations
    vae: Mapping[str, Any],
    size: int,  # px
    rows: int,  # branches × windows that share a call
    bytes_each: int = 2,  # of a number: 2 in fp16 and bf16
) -> MemoryNeed:
    """Estimate what windows of 16 frames at `size` take."""
    width, picture_width = unet["block_out_channels"][0], vae["block_out_channels"][0]
    pixels = size * size * picture_width
    return MemoryNeed(
        weights,
        int(UNET_PEAK * rows * WINDOW * (size // 8) ** 2 * width * bytes_each),
        int(DECODE_PEAK * DECODE_CHUNK * pixels * bytes_each),
        int(ENCODE_PEAK * pixels * 4),  # fp32 where fp16 would overflow
    )


def fitting_batch(
    need: Callable[[int, int], MemoryNeed],  # of (size, batch)
    size: int,  # px
    batch: int,  # as many windows a call as wished
    free: int,  # bytes
) -> int:
    """The largest batch up to `batch` that fits. Raises EngineUnavailable with what is needed, free, and the remedy."""
    for each in range(batch, 0, -1):
        if need(size, each).total <= free:
            return each
    fits = next((smaller for smaller in SMALLER if smaller < size and need(smaller, 1).total <= free), None)
    smaller = f", or set RELIGHT_LCVD_SIZE={fits}" if fits else ""
    raise EngineUnavailable(
        f"LCVD at {size} px needs {need(size, 1).total / GIB:.1f} GiB of GPU memory, and {free / GIB:.1f} GiB are free",
        f"close other programs that use the GPU{smaller}",
    )


def fit_to_memory(
    options: "DiffusionOptions",
    weights: Path | str,  # folder or name
    device: str,  # cuda or cpu
    dtype: str,  # as lcvd.model.dtype_from_name takes it
    free: Callable[[str], int] | None = None,  # bytes on a device
) -> "DiffusionOptions":
    """`options` with the batch that fits. Raises EngineUnavailable on a GPU; a CPU swaps: there it is only logged."""
    from lcvd.model import dtype_from_name
    from lcvd.weights.convert import describe
    from lcvd.weights.load import find_weights

    found, bytes_each = find_weights(weights), dtype_from_name(dtype).itemsize
    stays = sum(part.parameters for part in describe(found)) * bytes_each
    unet, vae = found.parts["unet"].config, found.parts["vae"].config

    def need(size: int, batch: int) -> MemoryNeed:
        return memory_need(stays, unet, vae, size, 2 * batch, bytes_each)

    left = (free or free_memory)(device)
    if device != "cpu":
        return replace(options, batch=fitting_batch(need, options.size, options.batch, left))
    if (total := need(options.size, options.batch).total) > left:
        log.warning("LCVD needs some %.1f GiB, and %.1f GiB of memory are free", total / GIB, left / GIB)
    return options


def free_memory(device: str) -> int:
    """Bytes that can still be had on `device`; what torch holds in reserve counts."""
    if device == "cpu":
        return int(psutil.virtual_memory().available)
    import torch

    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + reserve
