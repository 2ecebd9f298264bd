"""The slider's stops, and which one an engine's own settings are shown as."""

import pytest

from engine.diffusion.quality import DEFAULT_QUALITY, QUALITIES, nearest_quality
from engine.diffusion.window import DEFAULT_STRIDE
from lcvd.networks.guidance import OMEGA


@pytest.mark.parametrize("stop", QUALITIES, ids=lambda stop: stop.name)
def test_a_stop_is_nearest_to_itself(stop) -> None:
    """Whoever has a stop's settings is shown at it."""
    assert nearest_quality(stop.steps, stop.omega, stop.stride) == stop.name


def test_steps_count_first_then_guidance() -> None:
    """One unguided step in long windows is shown as instant; two guided ones as balanced; the engine's own as fine."""
    assert nearest_quality(1, 1.0, DEFAULT_STRIDE) == "instant"
    assert nearest_quality(2, 1.0, DEFAULT_STRIDE) == "quick"
    assert nearest_quality(2, 2.0, 4) == "balanced"
    assert nearest_quality(4, OMEGA, DEFAULT_STRIDE) == DEFAULT_QUALITY
