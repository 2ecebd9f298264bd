"""engine.diffusion.engine: what a window is predicted to take, before a participant chooses."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.eager import EagerBackend  # noqa: E402
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions  # noqa: E402
from engine.diffusion.latency import predicted  # noqa: E402
from engine.protocols import Avatar  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    SIZE,
    engine_of,
    opened,
    pushed,
)


def test_the_delay_is_predicted_from_what_was_measured(tiny_lcvd) -> None:
    """Steps, branches and stride of the participant at the warm-up's cost, corrected by the time real windows take."""
    cold = DiffusionEngine(lambda: EagerBackend(tiny_lcvd), DiffusionOptions(SIZE))
    assert cold.predict(None, 25.0) is None
    assert cold.backend == ""
    engine = engine_of(tiny_lcvd)
    assert engine.backend == "eager"
    assert engine.reasons == []
    own = engine.predict(None, 25.0)
    assert own == predicted(25.0, 10, 2 * 0.05 + 10 * 0.004)
    fine = engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), steps=4, omega=3.0, stride=8), 25.0, streams=2)
    # The plan's guidance is "none", which no ω brings back: one branch.
    assert fine == predicted(25.0, 8, 4 * 0.05 + 8 * 0.004, streams=2)
    staggered = engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), mode="staggered"), 25.0)
    assert staggered == predicted(25.0, 4, 0.05 + 4 * 0.004, flying=2)
    with pytest.raises(ValueError, match="steps=3"):
        engine.predict(Avatar(np.zeros((8, 8, 3), np.uint8), steps=3), 25.0)
    stream = opened(engine)
    pushed(stream, 10)
    assert engine.predict(None, 25.0) == own  # the first window also encodes the portrait
    for _ in range(30):
        stream.on_window(0.0, 3 * (2 * 0.05 + 10 * 0.004))
        engine._calibration._last_end_s = float("-inf")
    slower = engine.predict(None, 25.0)
    assert slower.delay_s == pytest.approx(2 * 3 * 0.14 + 0.02)  # 0.42 s for 10 frames of 25 fps: too slow
    assert slower.fps == pytest.approx(10 / 0.42)


def test_the_warm_up_measures(tiny_lcvd) -> None:
    """Real figures of the tiny model: both branches cost more than one, and nothing is free."""
    engine = DiffusionEngine(lambda: EagerBackend(tiny_lcvd), DiffusionOptions(SIZE))
    engine.warmup()
    prediction = engine.predict(None, 25.0)
    assert prediction is not None
    assert prediction.delay_s > 0.36


def test_the_engine_says_how_long_a_window_takes(tiny_lcvd) -> None:
    """The live core waits for a window and not for a frame before it calls the engine behind."""
    engine = engine_of(tiny_lcvd)
    assert engine.traits.output_size == (SIZE, SIZE)
    assert engine.traits.stall_s > engine.options.stride / 10
