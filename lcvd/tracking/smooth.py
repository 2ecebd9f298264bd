"""One-Euro jitter filter: noisy points at times t become steady points that do not lag (Casiez, Roussel, Vogel 2012).

A first-order low pass whose cut-off grows with speed: f_c = min_cutoff + beta · |speed| (eq. 5), smoothing factor
α = 1 / (1 + 1 / (2π f_c Δt)) (eqs. 3–4). Δt comes from timestamps, so any frame rate gives the same curve.
Speed is in units of `scale` per second (face widths), so that near and far faces are treated alike, and it is one
number per point: x, y and z of a point share their cut-off, else a diagonal motion would bend.
"""

import math
from dataclasses import dataclass

import numpy as np

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
            raw = (value - self._value) / np.float32(dt * scale)
            self._speed = self._speed + np.float32(alpha(s.derivative_cutoff_hz, dt)) * (raw - self._speed)
            rate = np.sqrt(np.einsum("nd,nd->n", self._speed, self._speed))
            cutoff = s.min_cutoff_hz + s.beta * rate
            self._value = self._value + (alpha(cutoff, dt)[:, None]).astype(np.float32) * (value - self._value)
        self._t_s = t_s
        return self._value.copy()


def alpha(cutoff_hz, dt_s):  # type: ignore[no-untyped-def]  # a float or an array, alike
    """Smoothing factor of a first-order low pass at this cut-off and time step, in (0, 1)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * dt_s))
