"""Keeps the choices and the viewers of sessions whose socket was lost, for the participant who comes back.

They are in memory only, bounded in number, bytes and time: the oldest make room, and an expired one is gone, its
viewers with it.
"""

import asyncio
from dataclasses import dataclass

from server.session.saved_state import SavedState
from server.session.viewers import Viewers

MAX_BYTES = 256 * 2**20  # of portraits; one takes at most some 12 MB


@dataclass(frozen=True, slots=True)
class LostSession:
    """Everything that goes on in the session that takes over."""

    state: SavedState
    viewers: Viewers
    had_place: bool = False  # to come before those who never had one


class LostSessions:
    """Lost sessions by name. Everything on the event loop."""

    def __init__(self, keep_s: float, limit: int, max_bytes: int = MAX_BYTES) -> None:
        """Keeps at most `limit` for `keep_s` seconds each; 0 keeps none."""
        self._keep_s = keep_s
        self._limit = limit
        self._max_bytes = max_bytes
        self._kept: dict[str, tuple[LostSession, asyncio.TimerHandle]] = {}  # the oldest first
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The bytes that the portraits of all of them take."""
        return sum(lost.state.nbytes for lost, _ in self._kept.values())

    def keep(self, name: str, lost: LostSession) -> bool:
        """Keeps a session; returns False where it may not be kept, and whoever asked ends its viewers."""
        if self._keep_s <= 0 or self._limit < 1 or lost.state.nbytes > self._max_bytes:
            return False
        timer = asyncio.get_running_loop().call_later(self._keep_s, self._expire, name)
        self._kept[name] = lost, timer
        while len(self._kept) > self._limit or self.nbytes > self._max_bytes:
            self._expire(next(iter(self._kept)))
        return True

    def take(self, name: str) -> LostSession | None:
        """Returns the session of this name, which is then nobody else's; None where there is none."""
        if (kept := self._kept.pop(name, None)) is None:
            return None
        kept[1].cancel()
        return kept[0]

    def keeps_view(self, view: str) -> bool:
        """Returns True where a kept session has this viewing name, which nobody else may then take."""
        return any(lost.state.view == view for lost, _ in self._kept.values())

    async def close(self) -> None:
        """Forgets all of them."""
        for name in list(self._kept):
            self._expire(name)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _expire(self, name: str) -> None:
        if (lost := self.take(name)) is not None:
            task = asyncio.ensure_future(lost.viewers.close())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
