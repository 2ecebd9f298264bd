"""One-Euro jitter filter: noisy points at times t become steady points that do not lag (Casiez, Roussel, Vogel 2012).

A first-order low pass whose cut-off grows with speed: f_c = min_cutoff + beta · |speed| (eq. 5), smoothing factor
α = 1 / (1 + 1 / (2π f_c Δt)) (eqs. 3–4). Δt comes from timestamps, so any frame rate gives the same curve.
Speed is in units of `scale` per second (face widths), so that near and far faces are treated alike, and it is one
number per point: x, y and z of a point share their cut-off, else a diagonal motion would bend.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from lcvd.types import FloatArray


@dataclass(frozen=True, slots=True)
class OneEuroSettings:
    """Defaults from 192 px landmarks (docs/cpu_engine.md); derivative_cutoff 1 lagged 14–20 px in fast motion."""

    min_cutoff_hz: float = 0.5
    beta: float = 30.0  # Hz per (face width / s)
    derivative_cutoff_hz: float = 5.0


class OneEuro:
    """A One-Euro filter for points [N,D], with its state."""

    def __init__(self, settings: OneEuroSettings | None = None) -> None:
        self._settings = settings or OneEuroSettings()
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next sample passes unchanged."""
        self._t_s = -math.inf
        self._value: FloatArray | None = None
        self._speed: FloatArray | None = None

    def __call__(self, value: FloatArray, t_s: float, scale: float) -> FloatArray:
        """Return a smoothed copy of value [N,D] at time t_s. Time that runs back starts afresh."""
        if self._value is None or self._speed is None or t_s <= self._t_s:
            if t_s == self._t_s and self._value is not None:
                return self._value.copy()  # the same picture again
            self._value, self._speed = value.astype(np.float32), np.zeros_like(value, np.float32)
        else:
            dt = t_s - self._t_s
            s = self._settings
            rates = (
                np.float32(1 / (dt * scale)),
                np.float32(alpha(s.derivative_cutoff_hz, dt)),
                np.float32(2 * math.pi * dt),
            )
            given = np.ascontiguousarray(value, np.float32)
            _follow(self._value, self._speed, given, rates, np.float32(s.min_cutoff_hz), np.float32(s.beta))
        self._t_s = t_s
        return self._value.copy()


def alpha(cutoff_hz: float, dt_s: float) -> float:
    """Smoothing factor of a first-order low pass at this cut-off and time step, in (0, 1)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * dt_s))


@njit(cache=True, nogil=True, error_model="numpy")
def _follow(value, speed, given, rates, min_cutoff, beta):  # type: ignore[no-untyped-def]
    """Draw `value` [N,D] and `speed` [N,D] to `given` [N,D]; `rates` = 1 / (Δt scale), the speed's α, 2π Δt."""
    inverse, share, turns = rates
    one = np.float32(1.0)
    for i in range(value.shape[0]):
        square = np.float32(0.0)
        for c in range(value.shape[1]):
            raw = (given[i, c] - value[i, c]) * inverse
            speed[i, c] += share * (raw - speed[i, c])
            square += speed[i, c] * speed[i, c]
        step = turns * (min_cutoff + beta * np.sqrt(square))
        for c in range(value.shape[1]):
            value[i, c] += step / (one + step) * (given[i, c] - value[i, c])
