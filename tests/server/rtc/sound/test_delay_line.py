"""server.rtc.sound: the delay line in simulated time: no clicks, no gaps, no drift, whatever arrives."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from server.rtc.sound.delay_line import FRAME, FRAME_S, JUMP_S, MAX_DELAY_S, OUT_RATE, DelayLine

LEVEL = 8000.0
TONE_HZ = 440.0
WAY_S = 0.045  # from a packet's first sample to its arrival, without waiting

Sound = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def tone(t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return LEVEL * np.sin(2 * np.pi * TONE_HZ * t_s)


def clock(t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A signal whose value tells the time within eight seconds: a slow ramp that int16 resolves to 0.25 ms."""
    return (t_s % 8.0) * 4000.0 - 16000.0


def uneasy(rng: np.random.Generator, mean_s: float) -> Callable[[int], float]:
    """Returns the waiting of packet k in the network."""
    return lambda k: float(rng.exponential(mean_s))


class Run:
    """A source, a network and a delay line on one simulated clock; keeps all that left."""

    def __init__(
        self,
        sound: Sound = tone,
        *,
        rate: int = 48_000,
        channels: int = 2,
        packet_s: float = 0.02,
        drift: float = 0.0,  # how much faster the source's clock runs
        waiting: Callable[[int], float] = lambda k: 0.0,
        lost: Callable[[int], bool] = lambda k: False,
        start_s: float = 1000.0,
    ) -> None:
        self.line = DelayLine()
        self.sound, self.rate, self.channels, self.drift = sound, rate, channels, drift
        self.packet = round(packet_s * rate)
        self.waiting, self.lost = waiting, lost
        self.start_s = self.now_s = start_s
        self.sent = 0
        self._arriving: list[tuple[float, int]] = []
        self.frames: list[tuple[float, NDArray[np.int16]]] = []

    def position_time(self, k: int) -> float:
        """When packet k's first sample was taken, on our clock."""
        return self.start_s + k * self.packet / self.rate / (1 + self.drift)

    def until(self, end_s: float) -> "Run":
        while self.now_s < self.start_s + end_s:
            while self.position_time(self.sent) < self.now_s:
                if not self.lost(self.sent):
                    arrival = self.position_time(self.sent) + WAY_S + self.waiting(self.sent)
                    if self._arriving:  # the jitter buffer keeps the order
                        arrival = max(arrival, self._arriving[-1][0])
                    self._arriving.append((arrival, self.sent))
                self.sent += 1
            while self._arriving and self._arriving[0][0] <= self.now_s:
                self._write(*self._arriving.pop(0))
            if self.line.started:
                self.frames.append((self.now_s, self.line.read(self.now_s)))
            self.now_s += FRAME_S
        return self

    def _write(self, arrival: float, k: int) -> None:
        t_s = (k * self.packet + np.arange(self.packet)) / self.rate
        mono = np.rint(self.sound(t_s)).astype(np.int16)
        self.line.write(k * self.packet, np.repeat(mono[:, None], self.channels, axis=1), self.rate, arrival)

    def out(self, from_s: float = 0.0, to_s: float = 1e9) -> NDArray[np.float64]:
        """All that left in this time of the run, one channel."""
        frames = [f[:, 0] for t, f in self.frames if from_s <= t - self.start_s < to_s]
        return np.concatenate(frames).astype(np.float64)

    def delays(self, from_s: float = 0.0) -> NDArray[np.float64]:
        """Of each frame that left: how long before that its first sample was taken (the sound must be `clock`)."""
        found = []
        for t, frame in self.frames:
            if t - self.start_s >= from_s:
                taken = (float(frame[0, 0]) + 16000.0) / 4000.0 / (1 + self.drift)
                found.append((t - self.start_s - taken + 1.0) % 8.0 - 1.0)
        return np.array(found)


def greatest_step(samples: NDArray[np.float64]) -> float:
    """Relative to the greatest of the undisturbed tone."""
    return float(np.abs(np.diff(samples)).max() / (LEVEL * 2 * np.pi * TONE_HZ / OUT_RATE))


def longest_silence_s(samples: NDArray[np.float64]) -> float:
    """The longest time that stays under a hundredth of the tone's level."""
    loud = np.flatnonzero(np.abs(samples) > LEVEL / 100)
    return float(np.diff(loud, prepend=0, append=len(samples)).max()) / OUT_RATE


def test_what_leaves_is_what_came_sample_for_sample() -> None:
    """At a constant delay nothing is resampled: the bits are the same, `delay_s` after they arrived."""
    noise = np.random.default_rng(1).integers(-20_000, 20_000, 48_000 * 10)
    run = Run(lambda t: noise[np.rint(t * 48_000).astype(int)].astype(float))
    run.line.delay_s = 0.5
    run.until(4.0)
    out = run.out(1.0)
    first = round((1.0 - 0.5 - WAY_S) * 48_000)
    lag = min(range(-FRAME, FRAME + 1, 48), key=lambda k: float(np.abs(out - noise[first + k :][: len(out)]).sum()))
    assert np.array_equal(out, noise[first + lag :][: len(out)])
    assert abs(lag) <= FRAME  # `until` starts a frame after the grid


@pytest.mark.parametrize("delay_s", [0.1, 0.5, 3.0, 4.0])
def test_the_delay_is_the_one_asked_for(delay_s: float) -> None:
    """From arrival (without waiting) to leaving, within the quarter of a millisecond that the signal resolves."""
    run = Run(clock)
    run.line.delay_s = delay_s
    assert np.abs(run.until(9.5).delays(9.0) - WAY_S - delay_s).max() < 0.0005
    assert run.line.actual_delay_s == pytest.approx(delay_s, abs=0.0005)


def test_a_delay_under_the_possible_waits_for_whole_frames() -> None:
    """What has not arrived cannot leave: one frame and the resampler's reach is the least."""
    run = Run(clock)
    run.line.delay_s = 0.0
    delays = run.until(3.0).delays(1.0) - WAY_S
    assert delays.max() < FRAME_S + 0.002
    assert run.line.starved == 0


def test_a_delay_beyond_the_limit_is_cut() -> None:
    """A minute of delay would be a minute of memory."""
    run = Run(clock)
    run.line.delay_s = 60.0
    assert np.abs(run.until(6.0).delays(5.5) - WAY_S - MAX_DELAY_S).max() < 0.0005


def test_jumps_do_not_click_and_leave_no_gap() -> None:
    """0.05 → 3 → 0.5 → 1 s: each one crossfade; no step beyond what two tones of full power have, no silence."""
    run = Run()
    run.line.delay_s = 0.05
    run.until(5.0)
    before = run.line.jumps
    for end_s, delay_s in ((10.0, 3.0), (15.0, 0.5), (20.0, 1.0)):
        run.line.delay_s = delay_s
        run.until(end_s)
    assert run.line.jumps - before == 3
    out = run.out(0.2)
    assert greatest_step(out) < 2**0.5 * 1.05
    assert longest_silence_s(out) < 0.003


def test_a_jump_is_over_within_a_frame() -> None:
    """The frame after the crossfade has the new delay."""
    run = Run(clock)
    run.line.delay_s = 0.1
    run.until(5.0)
    run.line.delay_s = 2.0
    delays = run.until(5.2).delays(4.9) - WAY_S
    changed = int(np.argmax(delays > 1.0))
    assert np.abs(delays[: changed - 1] - 0.1).max() < 0.0005
    assert np.abs(delays[changed + 1 :] - 2.0).max() < 0.0005


def test_a_small_change_glides() -> None:
    """20 ms are made up by at most 0.5 % of speed, without a crossfade, within ten seconds."""
    run = Run(clock)
    run.line.delay_s = 0.3
    run.until(4.0)
    run.line.delay_s = 0.32
    jumps = run.line.jumps
    run.until(4.5)
    assert 0.3 < run.line.actual_delay_s < 0.32  # under way
    assert run.line.actual_delay_s == pytest.approx(run.delays(4.4)[-1] - WAY_S, abs=0.0005)
    delays = run.until(15.0).delays(3.9)
    assert run.line.jumps == jumps
    assert np.abs(np.diff(delays[np.abs(delays) < 1])).max() <= 0.005 * FRAME_S + 0.0005
    assert abs(delays[-1] - WAY_S - 0.32) < 0.001
    tones = Run()
    tones.line.delay_s = 0.3
    tones.until(4.0)
    tones.line.delay_s = 0.32
    assert greatest_step(tones.until(12.0).out(0.2)) < 1.02


@pytest.mark.parametrize("drift", [300e-6, -300e-6])
def test_clocks_that_part_do_not_move_the_delay(drift: float) -> None:
    """Two clocks 300 ppm apart part by 54 ms in three minutes: the delay stays, by glides alone."""
    run = Run(clock, drift=drift, rate=8000, channels=1)
    run.line.delay_s = 0.2
    run.until(20.0)
    jumps, worst = run.line.jumps, 0.0
    for minutes in (1, 2, 3):
        run.frames.clear()
        run.until(60.0 * minutes)
        ahead = run.frames[-500:]
        at = np.array([t - run.start_s for t, _ in ahead])
        taken = np.array([(float(f[0, 0]) + 16000) / 4000 for _, f in ahead])
        source = (at - 0.2 - WAY_S) * (1 + drift)
        worst = max(worst, float(np.abs((taken - source + 4) % 8 - 4)[(taken > 0.5) & (taken < 7.5)].max()))
    assert worst < 0.007  # the glide's own threshold, and what the window of arrivals lags by
    assert run.line.jumps == jumps
    assert run.line.starved == 0


@pytest.mark.parametrize(
    ("rate", "channels", "packet_s"), [(8000, 1, 0.02), (16_000, 1, 0.02), (44_100, 2, 0.02), (48_000, 1, 0.06)]
)
def test_other_rates_and_layouts_come_out_at_48_khz(rate: int, channels: int, packet_s: float) -> None:
    """The tone keeps its pitch and level, and its layout, at the delay asked for."""
    run = Run(rate=rate, channels=channels, packet_s=packet_s)
    run.line.delay_s = 0.25
    out = run.until(3.0).out(1.0)
    assert run.frames[-1][1].shape == (FRAME, channels)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    assert abs(np.argmax(spectrum) * OUT_RATE / len(out) - TONE_HZ) < 1
    assert np.abs(out).max() == pytest.approx(LEVEL, rel=0.01)
    assert greatest_step(out) < 1.02
    told = Run(clock, rate=rate, channels=channels, packet_s=packet_s)
    told.line.delay_s = 0.25
    assert np.abs(told.until(3.0).delays(1.0) - WAY_S - 0.25).max() < 0.001


def test_lost_packets_leave_time_where_it_was() -> None:
    """Every tenth packet is lost, once five in a row: what is after a hole is where it belongs, and nothing clicks."""

    def lost(k: int) -> bool:
        return k % 10 == 3 or 100 <= k < 105

    run = Run(clock, lost=lost)
    run.line.delay_s = 0.3
    delays = run.until(6.0).delays(1.0) - WAY_S - 0.3
    # A mirrored hole of 20 ms tells times up to 20 ms off; the frames between are exact.
    assert np.median(np.abs(delays)) < 0.0005
    tones = Run(lost=lost)
    tones.line.delay_s = 0.3
    out = tones.until(6.0).out(1.0)
    assert greatest_step(out) < 2**0.5 * 1.05
    assert longest_silence_s(tones.out(3.0)) < 0.02


def test_bursts_do_not_move_the_sound() -> None:
    """A network that hands on everything in bursts of 200 ms: at a delay above that, nothing is heard of it."""
    run = Run(clock, waiting=lambda k: (10 - k % 10) * 0.02)
    run.line.delay_s = 0.4
    run.until(3.0)
    jumps = run.line.jumps
    delays = run.until(7.5).delays(3.0)
    assert np.ptp(delays) < 0.001
    assert run.line.jumps == jumps


def test_a_small_delay_makes_room_for_jitter() -> None:
    """Waiting of up to 60 ms with hardly any delay asked for: the line waits for the packets instead of starving."""
    run = Run(waiting=lambda k: 0.06 * ((k * 7919) % 100) / 100)
    run.line.delay_s = 0.02
    run.until(6.0)
    starved = run.line.starved
    out = run.until(20.0).out(3.0)
    assert run.line.starved == starved
    assert greatest_step(out) < 2**0.5 * 1.05


def test_what_waited_for_the_connection_does_not_hold_the_sound_back() -> None:
    """The first packets came 0.1 s late; after a second the delay is the one asked for, to half a millisecond."""
    run = Run(clock, waiting=lambda k: 0.1 if k < 15 else 0.0)
    run.line.delay_s = 0.04
    assert np.abs(run.until(4.0).delays(1.5) - WAY_S - 0.04).max() < 0.0005


def test_silence_and_a_source_that_pauses() -> None:
    """No packets for two seconds (a muted microphone, DTX): fades out, stays silent, comes back in time and softly."""
    run = Run(lost=lambda k: 100 <= k < 200)
    run.line.delay_s = 0.1
    out = run.until(6.0).out(0.2)
    assert greatest_step(out) < 2**0.5 * 1.05
    assert np.abs(run.out(2.5, 4.0)).max() == 0
    assert np.abs(run.out(4.5)).max() > 0.9 * LEVEL
    told = Run(clock, lost=lambda k: 100 <= k < 200)
    told.line.delay_s = 0.1
    assert np.abs(told.until(6.0).delays(4.5) - WAY_S - 0.1).max() < 0.0005


def test_a_source_whose_clock_stood_still_is_caught_up_with() -> None:
    """The sender slept for half a second and its timestamps did not count it: the delay is right again soon after."""
    run = Run(clock, waiting=lambda k: 0.5 if k >= 150 else 0.0)
    run.line.delay_s = 0.2
    delays = run.until(7.5).delays(5.0) - WAY_S - 0.5
    assert np.abs(delays - 0.2).max() < 0.0005


def test_a_source_whose_timestamps_leap_is_followed() -> None:
    """Another track with another origin: hours ahead, or back; the sound goes on without a click."""
    for leap in (48_000 * 7200, -48_000 * 7200):
        run = Run()
        run.line.delay_s = 0.2
        run.until(5.0)
        write = run.line.write
        run.line.write = lambda p, s, r, t, write=write, leap=leap: write(p + leap, s, r, t)  # type: ignore[method-assign]
        out = run.until(10.0).out(0.2)
        assert greatest_step(out) < 2**0.5 * 1.05
        assert greatest_step(run.out(8.0)) < 1.02
        assert np.abs(run.out(8.0)).max() > 0.9 * LEVEL


def test_memory_is_bounded() -> None:
    """At any delay, through bursts and leaps, a stereo line of 48 kHz holds under a megabyte."""
    run = Run(waiting=uneasy(np.random.default_rng(2), 0.05))
    run.line.delay_s = MAX_DELAY_S
    run.until(30.0)
    assert run.line.nbytes <= 5 * 48_000 * 2 * 2


def test_a_change_of_layout_goes_on() -> None:
    """A mono source takes over from stereo: the next frames are mono, without a click."""
    run = Run()
    run.line.delay_s = 0.1
    run.until(2.0)
    run.channels = 1
    out = run.until(4.0).out(0.2)
    assert run.frames[-1][1].shape == (FRAME, 1)
    assert greatest_step(out) < 2**0.5 * 1.05


def test_a_glide_is_slower_than_a_jump_would_be_late() -> None:
    """What is glided away is at most what a jump would have corrected."""
    run = Run(clock)
    run.line.delay_s = 0.5
    run.until(3.0)
    run.line.delay_s = 0.5 + JUMP_S * 1.2
    assert np.abs(run.until(3.3).delays(3.1) - WAY_S - run.line.delay_s).max() < 0.0005
