"""Stats for a session's client: twice a second, and at once with a connection's first relit picture."""

import asyncio
from contextlib import suppress
from dataclasses import asdict

from engine.live.stream import LiveSnapshot, OutputFrame
from server.protocol import Cap, Stats
from server.rtc.peer import Peer
from server.rtc.pictures.picture_cap import PictureCap

STATS_EVERY_S = 0.5


class StatsClock:
    """One session. On the event loop."""

    def __init__(self) -> None:
        self._due = asyncio.Event()
        self._told: Peer | None = None  # whose first relit picture the client hears of

    def sent(self, frame: OutputFrame, peer: Peer | None) -> None:
        """A picture left. An avatar's owner shows none of a connection before stats tell which are the avatar's."""
        if frame.relit and peer is not None and self._told is not peer and peer.sync() is not None:
            self._told = peer
            self._due.set()

    async def tick(self) -> None:
        """Waits until the next stats are due."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), STATS_EVERY_S)
        self._due.clear()


def stats_message(snapshot: LiveSnapshot, peer: Peer, cap: PictureCap | None) -> Stats:
    """Returns what the client gets."""
    told = Cap(width=cap.width, height=cap.height, fps=cap.fps) if cap else None
    return Stats(**asdict(snapshot), sync=peer.sync(), cap=told)
