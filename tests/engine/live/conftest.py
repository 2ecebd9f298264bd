"""Fixtures of the live core: every test gives its threads back."""

from collections.abc import Iterator

import pytest

from tests.engine.fakes import lanes_and_devices, until
from tests.engine.live.room import Room


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Every test gives its threads back."""
    before = set(lanes_and_devices())
    yield
    until(lambda: not set(lanes_and_devices()) - before)


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.close()
