"""server.cluster.relay: a participant whose socket has broken disturbs neither drain nor balance."""

import pytest
from fastapi import WebSocketDisconnect

from server.cluster.directory import Directory
from server.cluster.relay import Relay
from tests.server.cluster.test_parts import worker


class Broken:
    """A socket whose other side is gone."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def send_text(self, text: str) -> None:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("closed"), WebSocketDisconnect(1006)], ids=["closed", "torn off"])
async def test_who_has_left_cannot_be_asked_to_move(error: Exception) -> None:
    """Nothing is raised, or whoever asks would stop with the first of them."""
    relay = Relay(Broken(error), worker(), Directory(keep_s=60))
    relay._known = relay._directory.add("a", relay.worker, "view")
    await relay.ask_to_move()
    assert relay.moving
