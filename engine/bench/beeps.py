"""A sound that tells when it was made: `beeps` makes it, `find_beeps`, `silences` and `clicks` judge what came back.

Every half second a beep of 60 ms, whose pitch numbers it (16 of them, so that a delay below 8 s is known); under it a
soft tone that never stops, so that a gap shows. A number tells the same of a picture (`engine.bench.timecode`).
Sound is int16 [n] at 48 kHz, positions are samples.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
PERIOD_S = 0.5
PITCHES = 16
LENGTH_S = 0.06
LEVEL, TONE_LEVEL, TONE_HZ = 9000.0, 1500.0, 250.0
GAP_S = 0.020  # silence longer than this is heard as a gap
CLICK_HZ, CLICK_LEVEL = 9000.0, 200.0  # neither beeps nor tone, nor a crossfade, reach up there
FOUND = 0.4  # of a beep's level: mono made stereo has 0.7 of it, half a beep in a crossfade less than that
SLOW = 6  # beeps are looked for at 8 kHz
CHUNK_S = 20.0


class Beep(NamedTuple):
    pitch: int
    position: float  # of its begin


def pitch_hz(pitch: int) -> float:
    return 800.0 + 140.0 * pitch


def beeps(first: int, count: int) -> NDArray[np.int16]:
    """Returns `count` samples from sample `first` on; beep k begins at k · PERIOD_S and has pitch k mod PITCHES."""
    t_s = np.arange(first, first + count) / RATE
    number = np.floor(t_s / PERIOD_S)
    into_s = t_s - number * PERIOD_S
    envelope = np.where(into_s < LENGTH_S, np.sin(np.pi * into_s / LENGTH_S) ** 2, 0.0)
    beep = LEVEL * envelope * np.sin(2 * np.pi * pitch_hz(0) * into_s)
    for pitch in np.unique(number.astype(int) % PITCHES):
        mine = number.astype(int) % PITCHES == pitch
        beep[mine] = (LEVEL * envelope * np.sin(2 * np.pi * pitch_hz(int(pitch)) * into_s))[mine]
    return np.rint(beep + TONE_LEVEL * np.sin(2 * np.pi * TONE_HZ * t_s)).astype(np.int16)


def find_beeps(sound: NDArray[np.int16]) -> list[Beep]:
    """Returns the beeps in `sound`, in order, each to a fraction of a millisecond."""
    slow = _filtered(sound.astype(np.float64), _low_pass(0.8 * RATE / SLOW / 2))[::SLOW]
    chunk, length = round(CHUNK_S * RATE / SLOW), round(LENGTH_S * RATE / SLOW)
    found: list[Beep] = []
    for start in range(0, len(slow), chunk):
        part = slow[max(0, start - length) : start + chunk + length]
        for beep in _beeps_in(part):
            position = (beep.position + max(0, start - length)) * SLOW
            if not found or position - found[-1].position > LENGTH_S * RATE:
                found.append(Beep(beep.pitch, position))
    return found


def _beeps_in(slow: NDArray[np.float64]) -> list[Beep]:
    """Returns the beeps of a piece at RATE / SLOW; positions in its samples."""
    rate = RATE / SLOW
    length = round(LENGTH_S * rate)
    if len(slow) <= length:
        return []
    t_s = np.arange(length) / rate
    window = np.sin(np.pi * t_s / LENGTH_S) ** 2
    scores = np.empty((PITCHES, len(slow) - length + 1))
    size = 1 << math.ceil(math.log2(len(slow) + length))
    spectrum = np.fft.rfft(slow, size)
    for pitch in range(PITCHES):
        wave = window * np.exp(2j * np.pi * pitch_hz(pitch) * t_s)
        parts = (np.fft.irfft(spectrum * np.conj(np.fft.rfft(w, size)), size) for w in (wave.real, wave.imag))
        scores[pitch] = np.hypot(*(part[: scores.shape[1]] for part in parts))
    # The score of a whole beep: half its level under the window squared.
    scores /= LEVEL / 2 * float((window**2).sum())
    best, pitches = scores.max(axis=0), scores.argmax(axis=0)
    found, reach = [], length
    for at in np.flatnonzero(best > FOUND):
        if best[at] == best[max(0, at - reach) : at + reach + 1].max():
            found.append(Beep(int(pitches[at]), at + _peak(scores[pitches[at]], int(at))))
    return found


def _peak(values: NDArray[np.float64], at: int) -> float:
    """Returns how far beside `at` the top of the parabola through it and its neighbours lies."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float((before - after) / (2 * bend)) if bend else 0.0


def silences(sound: NDArray[np.int16]) -> list[float]:
    """Returns the lengths (s) of the gaps in the tone: over GAP_S, or as long as they can be told."""
    step = RATE // 200
    level = np.sqrt((sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64) ** 2).mean(axis=1))
    quiet = np.concatenate([[False], level < TONE_LEVEL / 2**0.5 / 6, [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(int)))
    return [float(n) * step / RATE for n in edges[1::2] - edges[::2] if n * step / RATE > GAP_S]


def clicks(sound: NDArray[np.int16]) -> list[float]:
    """Returns the positions at which something sounds that is no beep, tone or crossfade of them."""
    samples = sound.astype(np.float64)
    kernel = _low_pass(CLICK_HZ)
    high = np.abs(samples - _filtered(samples, kernel))
    high[: len(kernel)] = high[-len(kernel) :] = 0  # cut off there, not clicking
    found: list[float] = []
    for at in np.flatnonzero(high > CLICK_LEVEL):
        if not found or at - found[-1] > RATE / 50:
            found.append(float(at))
    return found


def _low_pass(cutoff_hz: float) -> NDArray[np.float64]:
    taps = np.arange(-64, 65)
    kernel = np.sinc(2 * cutoff_hz / RATE * taps) * np.hamming(len(taps))
    return np.asarray(kernel / kernel.sum(), np.float64)


def _filtered(samples: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns `samples` filtered without delay, piece by piece."""
    half, piece = len(kernel) // 2, 1 << 16
    padded = np.pad(samples, half)
    size = 1 << math.ceil(math.log2(piece + 2 * len(kernel)))
    response = np.fft.rfft(kernel, size)
    out = np.empty(len(samples))
    for start in range(0, len(samples), piece):
        part = padded[start : start + piece + 2 * half]
        smooth = np.fft.irfft(np.fft.rfft(part, size) * response, size)
        out[start : start + piece] = smooth[2 * half : 2 * half + min(piece, len(samples) - start)]
    return out
