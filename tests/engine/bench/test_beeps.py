"""engine.bench.beeps and delayed: what is sent is found again, and what is wrong with it too."""

import numpy as np
import pytest

from engine.bench.beeps import PERIOD_S, PITCHES, RATE, beeps, clicks, find_beeps, silences
from engine.bench.delayed import DelayedEngine
from engine.frames import Frame
from engine.protocols import StreamConfig
from lcvd.lighting.presets import preset


def test_every_beep_is_found_where_it_is() -> None:
    """In order, with its number, to a tenth of a millisecond; also across the pieces that are looked through."""
    found = find_beeps(beeps(0, 25 * RATE))
    assert [beep.pitch for beep in found] == [k % PITCHES for k in range(50)]
    begins = np.arange(50) * PERIOD_S * RATE
    assert np.abs(np.array([beep.position for beep in found]) - begins).max() < 5  # samples: a tenth of a ms


def test_a_piece_from_anywhere_is_the_same_sound() -> None:
    """A microphone that asks for 20 ms at a time gets what one that asks for all does."""
    whole = beeps(0, RATE)
    assert np.array_equal(np.concatenate([beeps(k * 960, 960) for k in range(50)]), whole)


def test_beeps_survive_noise_and_half_the_level() -> None:
    """What a codec and a microphone do."""
    rng = np.random.default_rng(3)
    sound = (beeps(0, 5 * RATE) * 0.6 + rng.normal(0, 300, 5 * RATE)).astype(np.int16)
    assert [beep.pitch for beep in find_beeps(sound)] == list(range(10))


@pytest.mark.parametrize("gap_s", [0.03, 0.5])
def test_a_gap_is_told_with_its_length(gap_s: float) -> None:
    """Silence over 20 ms; less is none."""
    sound = beeps(0, 3 * RATE)
    sound[RATE : RATE + round(gap_s * RATE)] = 0
    (found,) = silences(sound)
    assert found == pytest.approx(gap_s, abs=0.01)
    sound = beeps(0, 3 * RATE)
    sound[RATE : RATE + RATE // 100] = 0
    assert silences(sound) == []


def test_a_click_is_told_and_a_crossfade_is_none() -> None:
    """Two places of the sound put together bluntly click; faded into each other they do not."""
    sound = beeps(0, 4 * RATE)
    assert clicks(sound) == []
    assert clicks(sound[10_100:]) == []  # a recording begins and ends anywhere
    blunt = np.concatenate([sound[: RATE + 10_000], sound[2 * RATE + 10_100 :]])
    assert len(clicks(blunt)) == 1
    angle = np.linspace(0, np.pi / 2, 960)
    mixed = sound[60_000:60_960] * np.cos(angle) + sound[110_100:111_060] * np.sin(angle)
    soft = np.concatenate([sound[:60_000], np.rint(mixed).astype(np.int16), sound[111_060:]])
    assert clicks(soft) == []


def test_the_delayed_engine_holds_frames_for_its_delay() -> None:
    """A frame comes out with the first one that arrives `delay_s` after it, none is lost, none comes twice."""
    engine = DelayedEngine(0.2)
    stream = engine.open(StreamConfig(preset("original").lighting))
    picture = np.zeros((4, 4, 3), np.uint8)
    out = []
    for k in range(60):
        for frame in stream.push(Frame(k, k / 30, picture, 7.0 + k / 30)):
            out.append(frame.index)
            assert k - frame.index == 6
    assert out == list(range(len(out)))
    assert len(out) == 54
    stream.close()
    assert engine.name == "delay-0.2"
    assert engine.traits.stall_s > 0.2
