"""Reads a sound at positions between its samples: a windowed sinc of 16 taps, from a table of phases.

PyAV's resampler has a fixed ratio and keeps samples back; here the ratio changes from frame to frame, and the position
of every sample that comes out must be known.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

TAPS = 16
BEFORE = TAPS // 2 - 1  # samples needed before the first position
PHASES = 256
BETA = 8.0  # of the Kaiser window: images below -80 dB


@cache
def _kernels(cutoff: float) -> NDArray[np.float32]:
    """Returns [PHASES + 1, TAPS]: the weights of the taps for each fraction of a sample; each row sums to 1."""
    fractions = np.arange(PHASES + 1)[:, None] / PHASES
    distance = np.arange(TAPS)[None, :] - BEFORE - fractions
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / (TAPS / 2)) ** 2, 0, 1)))
    kernels = np.sinc(cutoff * distance) * window
    return np.asarray(kernels / kernels.sum(axis=1, keepdims=True), np.float32)


def needed(fraction: float, step: float, count: int) -> int:
    """Returns how many samples `interpolate` reads, the first of them BEFORE samples ahead of the first position."""
    return int(fraction + step * (count - 1)) + TAPS


def interpolate(samples: NDArray[np.float32], fraction: float, step: float, count: int) -> NDArray[np.float32]:
    """Returns float32 [count, channels] at positions BEFORE + fraction + step·k of `samples` [n, channels].

    `step` is input samples per output sample; above 1 the top of the spectrum is taken off first.
    """
    at = fraction + step * np.arange(count)
    whole = np.floor(at).astype(np.int64)
    phase = (at - whole) * PHASES
    row = phase.astype(np.int64)
    part = (phase - row).astype(np.float32)[:, None]
    kernels = _kernels(1.0 if step < 1.01 else round(1 / step, 3))
    weights = kernels[row] * (1 - part) + kernels[row + 1] * part
    windows = np.lib.stride_tricks.sliding_window_view(samples, TAPS, axis=0)[whole]  # [count, channels, TAPS]
    return np.asarray(np.einsum("nct,nt->nc", windows, weights), np.float32)
