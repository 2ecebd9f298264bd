"""Fixtures of the tests of several folders."""

import pytest

from tests.server.camera.fake_backend import FakeBackend


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> type[FakeBackend]:
    """Makes FakeBackend the only virtual camera that pyvirtualcam knows."""
    import pyvirtualcam

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"fake": FakeBackend})
    monkeypatch.setattr(FakeBackend, "sent", [])
    return FakeBackend
