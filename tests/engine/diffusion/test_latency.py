"""engine.diffusion.latency against the pacer itself, run for ten minutes of a clock that is only a number."""

from dataclasses import dataclass

import numpy as np
import pytest

from engine.diffusion.latency import DEFAULT_QUALITY, QUALITIES, RuntimeCalibration, nearest_preset, predicted
from engine.diffusion.window import DEFAULT_STRIDE
from engine.live.pacer import Pacer
from lcvd.networks.guidance import OMEGA


@dataclass
class Timed:
    t_s: float


def played(fps: float, fresh: int, window_s: float, seconds: float) -> np.ndarray:
    """Delay [N] in seconds of every frame that left; window k is done `window_s` (±10 %) after its last frame came."""
    rng = np.random.default_rng(0)
    pacer: Pacer[Timed] = Pacer()
    busy, delays = 0.0, []
    done: list[tuple[float, list[Timed]]] = []
    for k in range(int(seconds * fps / fresh)):
        frames = [Timed((k * fresh + i) / fps) for i in range(fresh)]
        busy = max(busy, frames[-1].t_s) + window_s * rng.uniform(0.9, 1.0)
        done.append((busy, frames))
    now, done = 0.0, done[::-1]
    while now < seconds - 2:
        if done and done[-1][0] <= now:
            pacer.put(done.pop()[1], now)
        frame, wait_s = pacer.take(now)
        if frame is not None:
            delays.append(now - frame.t_s)
            continue
        now = min(now + wait_s + 1e-6, done[-1][0]) if done else now + wait_s + 1e-6
    return np.array(delays)


@pytest.mark.parametrize(("fresh", "window_s"), [(10, 0.25), (8, 0.3), (4, 0.1)])
def test_ten_minutes_keep_the_predicted_delay(fresh: int, window_s: float) -> None:
    """Every frame leaves, the last minute is no later than the first, and both are as predicted."""
    delays = played(25.0, fresh, window_s, 600.0)
    told = predicted(25.0, fresh, window_s)
    assert told.keeps_up
    assert told.fps == 25
    assert len(delays) >= 25 * 600 - 200
    first, last = delays[:1500], delays[-1500:]
    assert np.median(last) <= np.median(first) + 0.01
    assert delays.max() <= told.delay_s + 0.01
    assert np.median(last) >= told.delay_s - 0.1 * window_s - 0.02


def test_too_slow_a_device_is_told_before() -> None:
    """10 frames in 0.8 s are 12.5 a second; two participants halve it and wait for one another."""
    alone, together = predicted(25.0, 10, 0.8), predicted(10.0, 10, 0.8, streams=2)
    assert (alone.fps, alone.keeps_up) == (12.5, False)
    assert alone.delay_s == pytest.approx(0.02 + 2 * 0.8)
    assert (together.fps, together.keeps_up) == (6.25, False)
    assert together.delay_s == pytest.approx(0.05 + 2 * 1.6)


@pytest.mark.parametrize(("fresh", "window_s"), [(4, 0.18), (10, 0.45), (10, 0.8)])
def test_the_delay_of_a_slow_device_is_what_a_simulation_gives(fresh: int, window_s: float) -> None:
    """One frame waits in the mailbox, one window for the device (engine.live.lane): the median, within a frame."""
    fps, count = 25.0, 4000
    mailbox: float | None = None
    filling: list[float] = []
    waiting: list[float] | None = None
    running: tuple[float, list[float]] | None = None
    delays: list[float] = []
    for number in range(count):
        now = number / fps
        while running is not None and running[0] <= now:
            ended, frames = running
            delays.append(ended - frames[0])
            running, waiting = ((ended + window_s, waiting), None) if waiting else (None, None)
        if waiting is not None:
            mailbox = now  # the newest wins
            continue
        for t_s in (t for t in (mailbox, now) if t is not None):
            filling.append(t_s)
        mailbox = None
        if len(filling) >= fresh:
            waiting, filling = filling[:fresh], filling[fresh:]
            if running is None:
                running, waiting = (now + window_s, waiting), None
    assert np.median(delays[-100:]) == pytest.approx(predicted(fps, fresh, window_s).delay_s, abs=1 / fps)


def test_impossible_values_are_refused() -> None:
    """The message shows them."""
    with pytest.raises(ValueError, match="source_fps=0"):
        predicted(0, 10, 0.1)


def test_the_calibration_follows_what_windows_take() -> None:
    """1 before the first; then measured over expected, older windows fading, within bounds."""
    calibration = RuntimeCalibration()
    assert calibration.ratio == 1.0
    for i in range(50):
        calibration.add(i * 1.0, i * 1.0 + 0.3, expected_s=0.2)
    assert calibration.ratio == pytest.approx(1.5)
    for i in range(50, 80):
        calibration.add(i * 1.0, i * 1.0 + 0.2, expected_s=0.2)
    assert 1.0 <= calibration.ratio < 1.03
    for i in range(80, 200):
        calibration.add(i * 100.0, i * 100.0 + 50.0, expected_s=0.2)
    assert calibration.ratio == 4.0


def test_late_windows_set_the_delay() -> None:
    """Three of 20 windows take twice as long: the delay goes by those, the rate by the mean; one counts little."""
    calibration = RuntimeCalibration()
    assert calibration.late_ratio == 1.0
    for i in range(20):
        calibration.add(i * 1.0, i * 1.0 + (0.4 if i % 7 == 3 else 0.2), expected_s=0.2)
    assert calibration.late_ratio == pytest.approx(2.0)
    assert calibration.ratio < 1.3
    for i in range(20, 60):
        calibration.add(i * 1.0, i * 1.0 + (0.8 if i == 50 else 0.2), expected_s=0.2)
    assert calibration.late_ratio == pytest.approx(calibration.ratio)
    told = predicted(25.0, 10, 0.2, late_window_s=0.3)
    assert (told.delay_s, told.fps, told.keeps_up) == (pytest.approx(0.36 + 0.3), 25.0, True)


def test_windows_that_overlap_count_once() -> None:
    """Two windows in one shared call of 0.4 s, expected 0.2 s each: the cost model is right."""
    calibration = RuntimeCalibration()
    for i in range(50):
        calibration.add(i * 1.0, i * 1.0 + 0.4, expected_s=0.2)
        calibration.add(i * 1.0, i * 1.0 + 0.4, expected_s=0.2)
    assert calibration.ratio == pytest.approx(1.0, abs=0.06)
    assert calibration.late_ratio == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("preset", QUALITIES, ids=lambda preset: preset.name)
def test_a_preset_is_nearest_to_itself(preset) -> None:
    """Whoever has a preset's settings is shown at it."""
    assert nearest_preset(preset.steps, preset.omega, preset.stride) == preset.name


def test_steps_count_first_then_guidance() -> None:
    """One unguided step in long windows is shown as instant; two guided ones as balanced; the engine's own as fine."""
    assert nearest_preset(1, 1.0, DEFAULT_STRIDE) == "instant"
    assert nearest_preset(2, 1.0, DEFAULT_STRIDE) == "quick"
    assert nearest_preset(2, 2.0, 4) == "balanced"
    assert nearest_preset(4, OMEGA, DEFAULT_STRIDE) == DEFAULT_QUALITY
