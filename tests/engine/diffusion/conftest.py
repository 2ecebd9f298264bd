"""All streams of these tests have one portrait, so its light is estimated once."""

import pytest

from lcvd.lighting.estimate import estimate_lighting
from lcvd.types import Lighting


@pytest.fixture(autouse=True)
def _light_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams here have one portrait; its light takes 0.2 s to estimate, more than a window takes."""
    monkeypatch.setattr("engine.reference.estimate_lighting", _estimated)


_ESTIMATES: dict[bytes, Lighting] = {}


def _estimated(rgb, face) -> Lighting:
    key = rgb.tobytes() + face.vertices_px.tobytes()
    if key not in _ESTIMATES:
        _ESTIMATES[key] = estimate_lighting(rgb, face)
    return _ESTIMATES[key]
