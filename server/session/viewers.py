"""The viewers of one session: at most RELIGHT_MAX_VIEWERS, each with a connection of its own to the session's Hub."""

import asyncio
import base64
import hashlib
import logging
import secrets
from dataclasses import dataclass

from server.errors import Busy, NotReady
from server.metrics import Metrics
from server.rtc.hub import Hub
from server.rtc.viewer import Viewer
from server.session.ice_session import IceSession, ufrag_of
from server.settings import Settings

logger = logging.getLogger(__name__)

NAME_BYTES = 12  # 96 bit: nobody guesses a name
NAME_LENGTH = NAME_BYTES * 4 // 3  # in characters


def viewing_name(key: str) -> str:
    """Returns the viewing name of an owner's key: the same for every session that has it, and no way back to the key.

    A link thus outlives its session (a reload, a lost connection), and no viewer can put another picture under it.
    """
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()[:NAME_BYTES]).decode()


@dataclass(frozen=True, slots=True)
class Viewing:
    """One viewer by the secret name under which it may be changed and ended."""

    id: str
    viewer: Viewer
    answer: str  # SDP
    ice: IceSession


class Viewers:
    """Admits viewers and ends them. Everything on the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.hub = Hub(on_coded=metrics.observe_coding)
        self._settings = settings
        self._metrics = metrics
        self._inside: dict[str, Viewing | None] = {}  # None: its offer is being answered
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._inside)

    def get(self, id: str) -> Viewing | None:
        """Returns the viewer of this name, or None."""
        return self._inside.get(id)

    def all(self) -> list[Viewer]:
        """Returns the viewers whose offer was answered."""
        return [viewing.viewer for viewing in self._inside.values() if viewing is not None]

    async def admit(self, sdp: str, near: str = "") -> Viewing:
        """Answers a viewer's offer. Raises Busy, BadOffer, NotReady."""
        limit = self._settings.max_viewers
        if len(self._inside) >= limit:
            raise Busy(f"{limit} are viewing this session already", "try again later, or raise RELIGHT_MAX_VIEWERS")
        id = secrets.token_urlsafe(16)
        viewer = Viewer(self.hub, self._settings, lambda viewer, reason: self._ended(id, reason))
        self._inside[id] = None
        try:
            viewing = Viewing(id, viewer, await viewer.answer(sdp, near), IceSession(ufrag_of(sdp)))
            if self._closed:
                raise NotReady("the session has ended", "connect again when it is back")
        except BaseException:
            self._inside.pop(id, None)
            await self._free(viewer)
            raise
        self._inside[id] = viewing
        self._metrics.viewers.inc()
        self._metrics.viewings.inc()
        logger.info("viewer %d of %d connects", len(self._inside), limit)
        return viewing

    async def end(self, id: str) -> None:
        """Ends one viewer, if there is one of this name."""
        if (viewing := self._inside.pop(id, None)) is not None:
            self._metrics.viewers.dec()
            await self._free(viewing.viewer)

    async def end_all(self) -> None:
        """Ends every viewer; others may come."""
        await asyncio.gather(*(self.end(id) for id in list(self._inside)))

    async def close(self) -> None:
        """Ends every viewer and the hub."""
        self._closed = True
        await self.end_all()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self.hub.close()

    def _ended(self, id: str, reason: str) -> None:
        logger.info("a viewer's connection ended: %s", reason)
        task = asyncio.ensure_future(self.end(id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _free(self, viewer: Viewer) -> None:
        """Closes `viewer` even if whoever asked is cancelled meanwhile."""
        closing = asyncio.ensure_future(viewer.close())
        self._ending.add(closing)
        closing.add_done_callback(self._ending.discard)
        await asyncio.shield(closing)
