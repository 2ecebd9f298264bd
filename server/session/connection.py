"""The video connection of one session: at most one Peer alive, one place taken of those the server admits.

`open` replaces the present peer only once the new one has answered, so an offer that fails costs nothing. A peer is
freed, with its threads and its stream, even where whoever asked for it is cancelled meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable

from engine.live.stream import LiveSnapshot
from server.errors import BadMessage, NotReady
from server.metrics import Metrics
from server.protocol import IceCandidate
from server.rtc.peer import Peer
from server.session.admission import Admission


class Connection:
    """Owns the peer and the place of one session. Everything on the event loop."""

    def __init__(self, session: str, admission: Admission, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.peer: Peer | None = None
        self.closing = False  # set by the session: an offer under way is not taken over any more
        self._session = session
        self._admission = admission
        self._metrics = metrics
        self._clock = clock
        self._changing = asyncio.Lock()  # one offer or end at a time
        self._ending: set[asyncio.Task[None]] = set()
        self._counted_in = self._counted_drops = 0
        self._idle_since_s = clock()

    @property
    def snapshot(self) -> LiveSnapshot | None:
        """The live stream's numbers; None without a connection."""
        return self.peer.live.snapshot() if self.peer is not None else None

    @property
    def idle_s(self) -> float:
        """Seconds since the last connection ended, or since the session began."""
        return self._clock() - self._idle_since_s

    async def open(self, sdp: str, make_peer: Callable[[], Awaitable[Peer]], near: str = "") -> str:
        """Answers an offer with a new peer, which then replaces the present one; `near` as in `Peer.answer`.

        Raises Busy, BadOffer, NotReady and what `make_peer` raises; the present peer then stays.
        """
        async with self._changing:
            self._admission.enter(self._session)
            try:
                peer = await make_peer()
                try:
                    answer = await peer.answer(sdp, near)
                    if self.closing:
                        raise NotReady("the session is closing", "connect again")
                    await self._end_peer()
                except BaseException:
                    await self._free(peer)
                    raise
            except BaseException:
                if self.peer is None:
                    self._admission.leave(self._session)
                raise
            self.peer = peer
            self._counted_in = self._counted_drops = 0
            self._metrics.sessions.inc()
            self._metrics.connections.inc()
        return answer

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Passes on a trickled candidate. Raises BadMessage where there is no connection, or it is no candidate."""
        if self.peer is None:
            raise BadMessage("there is no connection for this candidate", "send an offer first")
        await self.peer.add_candidate(candidate)

    async def end(self, peer: Peer | None = None) -> None:
        """Ends `peer`, which was lost, unless a newer one took over: its place is kept for a while. None: all ends."""
        async with self._changing:
            if peer is None or peer is self.peer:
                await self._end_peer()
                (self._admission.leave if peer is None else self._admission.hold)(self._session)

    async def close(self) -> None:
        """Ends the present peer and waits for those that are still closing."""
        await self.end()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def count(self, snapshot: LiveSnapshot) -> None:
        """Adds the pictures received and dropped since the last call to the metrics."""
        if self.peer is not None:
            self._count(self.peer, snapshot)

    def _count(self, peer: Peer, snapshot: LiveSnapshot) -> None:
        self._metrics.frames_in.inc(peer.frames_in - self._counted_in)
        self._metrics.drops.inc(max(0, snapshot.drops - self._counted_drops))
        self._counted_in, self._counted_drops = peer.frames_in, snapshot.drops

    async def _end_peer(self) -> None:
        """Ends the present peer, if any; the place stays taken."""
        peer, self.peer = self.peer, None
        self._idle_since_s = self._clock()
        if peer is not None:
            self._count(peer, peer.live.snapshot())
            self._metrics.sessions.dec()
            await self._free(peer)

    async def _free(self, peer: Peer) -> None:
        """Closes `peer` even if whoever asked is cancelled meanwhile."""
        ending = asyncio.ensure_future(peer.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)
