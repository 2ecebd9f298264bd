"""The lip sync bench through a real server and WebRTC, and its arithmetic."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.bench.beeps import RATE, beeps
from engine.errors import EngineError
from server.cli.main import app
from server.rtc.bench import loopback_av
from server.rtc.bench.loopback_av import FRAME, Picture, Sound, offsets_of, pairs_of, recorded


def sounds_of(seconds: float, late_s: float, lost: range = range(0)) -> list[Sound]:
    """What comes back of the beeps, `late_s` after the pictures of the same moment."""
    return [
        Sound(7 * FRAME + k * FRAME, 100.0 + k * 0.02, 50.0 + late_s + k * 0.02, beeps(k * FRAME, FRAME))
        for k in range(round(seconds * RATE / FRAME))
        if k not in lost
    ]


def test_an_offset_is_found_with_its_sign() -> None:
    """Sound 30 ms late is +30, early is −30; a picture whose beep was lost is counted."""
    pictures = [Picture(n, 100.0 + n / 30, 50.0 + n / 30) for n in range(150)]
    for late_s in (0.03, -0.03):
        offsets = offsets_of("x", pairs_of(pictures, recorded(sounds_of(5.0, late_s, range(50, 60)))))
        assert offsets.p50_ms == pytest.approx(1e3 * late_s, abs=0.2)
        assert offsets.max_ms == pytest.approx(30, abs=0.5)
        assert offsets.arrival_p50_ms == pytest.approx(0, abs=0.2)
        assert (offsets.beeps, offsets.alone) == (9, 1)


def test_drift_is_told_of_long_runs() -> None:
    """Sound that falls back by 10 ms in 150 s: the medians of the first and the last minute say so."""
    pairs = pairs_of(
        [Picture(n, 100.0 + n / 30, 50.0 + n / 30) for n in range(0, 150 * 30, 15)],
        recorded([s._replace(heard_s=50.0 + k * 0.02 * (1 + 0.01 / 150)) for k, s in enumerate(sounds_of(150.0, 0.0))]),
    )
    offsets = offsets_of("x", pairs)
    assert offsets.first_minute_ms == pytest.approx(10 / 150 * 30, abs=0.3)
    assert offsets.last_minute_ms == pytest.approx(10 / 150 * 120, abs=0.3)


def test_nothing_heard_is_an_error() -> None:
    """Silence in place of beeps is said in words."""
    silent = [s._replace(samples=np.zeros(FRAME, np.int16)) for s in sounds_of(3.0, 0.0)]
    pairs = pairs_of([Picture(n, 100.0 + n / 30, 50.0 + n / 30) for n in range(60)], recorded(silent))
    with pytest.raises(EngineError, match="no beep"):
        offsets_of("x", pairs)


def test_sound_and_picture_come_back_together_through_webrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two delays and a switch between: beeps are heard with their pictures, well inside what BT.1359 accepts."""
    monkeypatch.setattr(loopback_av, "SETTLE_S", 1.0)
    monkeypatch.setattr(loopback_av, "HOLD_S", 1.5)
    arguments = ["bench", "--loopback", "--av", "--delays", "0.1,0.6", "--seconds", "2", "--size", "320x240"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout.strip().splitlines()[-1])
    assert [phase["name"] for phase in document["offsets"]] == ["0.1 s", "0.6 s", "switching"]
    for phase in document["offsets"]:
        assert phase["beeps"] >= 1
        assert abs(phase["p50_ms"]) < 90  # a busy machine is late, but a delay that is not followed is 500 ms off
    assert document["sound_s"] > 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--av"], "--loopback"),
        (["--loopback", "--av", "--delays", "9"], "0.03 to 4"),
        (["--loopback", "--av", "--delays", "a"], "0.03 to 4"),
        (["--loopback", "--av", "--delays", "1,1"], "each once"),
        (["--loopback", "--av", "--sessions", "2"], "--av does not read it"),
        (["--loopback", "--delays", "1"], "--loopback --av"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], told: str) -> None:
    """Before anything is measured, with what is legal."""
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert told in result.output
