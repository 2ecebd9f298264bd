"""The sessions that a front knows: which worker has them, under which name they are viewed, what was chosen there.

Choices and portraits are in memory only. Those of a participant whose socket was lost are kept for a while, bounded in
bytes: the oldest make room.
"""

import asyncio
from dataclasses import dataclass, field

from server.cluster.state_message import PICTURES, Message, merged
from server.cluster.worker import Worker
from server.session.lost_sessions import MAX_BYTES

LARGE_BYTES = 2**16  # a message with a portrait: read beside the event loop


@dataclass(slots=True, eq=False)
class Known:
    """One session."""

    name: str
    worker: Worker
    view: str
    published: bool = False  # by WHIP: no relay tells its end
    moving: bool = False  # was told to go on in another worker
    state: Message | None = None
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)

    async def update(self, message: bytes) -> None:
        """Takes the worker's message of a changed state. Raises ValueError."""
        if len(message) > LARGE_BYTES:
            self.state = await asyncio.to_thread(merged, self.state, message)
        else:
            self.state = merged(self.state, message)
        self.view = str(self.state["view"])

    @property
    def nbytes(self) -> int:
        """The bytes that its pictures take here."""
        return sum(len(self.state[name]["rgb"]) for name in PICTURES if self.state and self.state[name])


class Directory:
    """The sessions by name. Everything on the event loop."""

    def __init__(self, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        """Keeps a lost session for `keep_s` seconds."""
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._known: dict[str, Known] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._known)

    def add(self, name: str, worker: Worker, view: str, published: bool = False) -> Known:
        """Returns a new entry."""
        known = self._known[name] = Known(name, worker, view, published)
        worker.sessions.add(name)
        return known

    def get(self, name: str) -> Known | None:
        """Returns the session of this name."""
        return self._known.get(name)

    def find(self, name: str) -> Known | None:
        """Returns the session of this name, or the newest of this viewing name that a worker still has."""
        if (known := self._known.get(name)) is not None:
            return known
        seen = [known for known in self._known.values() if known.view == name and not known.worker.gone.is_set()]
        return next((known for known in reversed(seen) if known.expiry is None), seen[-1] if seen else None)

    def take(self, name: str) -> Known | None:
        """Returns the session of this name, which nobody else then gets: it goes on as another one."""
        if (known := self._known.pop(name, None)) is not None and known.expiry is not None:
            known.expiry.cancel()
        return known

    def put_back(self, known: Known) -> None:
        """Keeps a session that was taken in vain, as one that was lost."""
        self._known[known.name] = known
        self.leave(known, lost=True)

    def prune(self, worker: Worker, before: set[str]) -> None:
        """Forgets the publications of a worker that it has no more: of `before` it was asked after they began."""
        alive = () if worker.gone.is_set() else worker.status.sessions
        for known in list(self._known.values()):
            if known.published and known.worker is worker and known.name in before and known.name not in alive:
                self.forget(known.name)

    def leave(self, known: Known, lost: bool) -> None:
        """Notes that a session's socket is gone; the choices of one that was lost are kept for a while."""
        known.worker.sessions.discard(known.name)
        if self._known.get(known.name) is not known:
            return
        if not lost or self._keep_s <= 0:
            self.forget(known.name)
            return
        known.expiry = asyncio.get_running_loop().call_later(self._keep_s, self.forget, known.name)
        lost_ones = [each for each in self._known.values() if each.expiry is not None]
        while lost_ones and sum(each.nbytes for each in lost_ones) > self._max_bytes:
            self.forget(lost_ones.pop(0).name)

    def forget(self, name: str) -> None:
        """Forgets a session, if it is known."""
        if (known := self._known.pop(name, None)) is not None:
            known.worker.sessions.discard(name)
            if known.expiry is not None:
                known.expiry.cancel()
