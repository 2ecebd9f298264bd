"""The state that the routes and sessions of one application share: engines, sessions, metrics, the upload thread."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from engine import make_engine
from engine.live.stream import LiveSnapshot
from engine.protocols import Engine
from server.errors import Busy, Conflict, NoSession, NotReady
from server.freed_memory import FreedMemory, malloc_trim
from server.logs import session_id
from server.metrics import Load, Metrics
from server.session.engines import Engines
from server.session.ice_session import IceSession, ufrag_of
from server.session.lost_sessions import LostSession, LostSessions
from server.session.places import Places
from server.session.publication import Publication, PublishRequest
from server.session.session import Session
from server.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

ENGINE_CLOSE_S = 1.0


class Server:
    """Holds engines, sessions and metrics, and the thread that keeps uploads off the event loop."""

    def __init__(self, settings: Settings, make: Callable[[str], Engine] | None = None) -> None:
        self.settings = settings
        config = settings.engine_config()
        self.engines = Engines(settings.engine, make or partial(make_engine, config=config), config, self._streams)
        self.sessions: dict[str, Session] = {}
        self.publications: dict[str, Publication] = {}  # of the sessions, those that came by WHIP
        self._ending: set[asyncio.Task[None]] = set()
        self.metrics = Metrics(self._snapshots, self._load)
        self.places = Places(settings)
        self.admission = self.places.admission
        self.lost = LostSessions(settings.resume_s, settings.max_sockets)
        self.freed_memory = FreedMemory(malloc_trim())
        self.stopping = False
        # One upload at a time: a second of numpy must not starve the pictures.
        self._uploads = ThreadPoolExecutor(1, "relight-upload")
        self._waiting = 0

    def _streams(self, engine: str) -> int:
        """Returns how many participants `engine` serves, or is to serve."""
        return sum(session.runs == engine for session in list(self.sessions.values()))

    def _snapshots(self) -> list[LiveSnapshot]:
        return [s for session in self.sessions.values() if (s := session.snapshot) is not None]

    def _load(self) -> Load:
        queues = Counter({"mailbox": 0, "device": 0, "pacer": 0, "messages": 0})
        for session in self.sessions.values():
            queues.update(session.queues)
        return Load(
            ready=self.engines.ready and not self.stopping,
            capacity=self.admission.limit,
            waiting=self.admission.waiting,
            places=self.places.table,
            frame_cpu_s=self.places.frame_cpu_s,
            level=self.places.steps.level,
            publishers=len(self.publications),
            waiting_uploads=self._waiting,
            queues=dict(queues),
        )

    def measure(self) -> None:
        """Measures what a participant costs here, with the engine that is warm; takes some seconds, not on the loop."""
        device = self.engines.device(self.engines.camera_engine)
        self.places.measure(device.engine, of_fallback=bool(self.engines.degraded_reason))

    def adapt(self) -> None:
        """Corrects the capacity by what the process needed since the last call; chooses size and rate of pictures."""
        sources = [session.peer.source_pixels for session in self.sessions.values() if session.peer is not None]
        self.places.adapt(sources, self.engines.avatar_places())

    def new_session(self, view: str = "", on_ended: Callable[[], None] | None = None) -> Session:
        """Returns a session that has begun; whoever asked for it ends it by `end`."""
        session = Session(
            self.settings,
            self.engines,
            self.metrics,
            self.admission,
            view=view,
            on_ended=on_ended,
            on_picture=self.places.capacity.sent,
            cap=lambda: self.places.steps.cap,
            take_over=None if on_ended is not None else self.take_over,  # what WHIP published ends with its connection
        )
        self.sessions[session.id] = session
        session_id.set(session.id)  # before its tasks begin: they inherit it
        session.start()
        return session

    def find(self, name: str) -> Session | None:
        """Returns the session of this name, or the newest of this viewing name, or None.

        A page that reconnects brings its viewing name to a new session while the old one may still be there.
        """
        return self.sessions.get(name) or next((s for s in reversed(self.sessions.values()) if s.view == name), None)

    async def publish(self, request: PublishRequest) -> tuple[Publication, str]:
        """Makes a session of a WHIP offer; returns it with its answer.

        Raises NotReady, Busy, Conflict, BadOffer and what the wishes raise; then there is no session.
        """
        if self.stopping or not self.engines.ready:
            raise NotReady("the engine is not warm", "try again in a few seconds")
        if len(self.sessions) >= self.settings.max_sockets:
            raise Busy(f"{len(self.sessions)} sessions are open already", "close some, or try again later")
        if request.view and (self.find(request.view) is not None or self.lost.keeps_view(request.view)):
            raise Conflict(
                f"view={request.view!r} is being published already", "end the other publisher, or choose another name"
            )
        session = self.new_session(request.view, lambda: self._end_soon(session))
        try:
            for wish in request.wishes:
                await session.carry_out(wish)
            answer = await session.connect(request.sdp, request.near)
        except BaseException:
            await self.end(session)
            raise
        publication = Publication(session, IceSession(ufrag_of(request.sdp)))
        if session.id in self.sessions:  # its connection may have ended meanwhile
            self.publications[session.id] = publication
        return publication, answer

    async def lose(self, session: Session) -> None:
        """Ends a session whose socket was lost; its choices and viewers are kept for a while."""
        if self.sessions.get(session.id) is session and not (self.stopping or session.ending):
            had_place = self.admission.lose(session.id) if self.settings.resume_s else False
            lost = LostSession(session.save(), session.release_viewers(), had_place)
            if not self.lost.keep(session.id, lost):
                await lost.viewers.close()
        await self.end(session)

    async def take_over(self, name: str, heir: str) -> LostSession:
        """Ends the session of this name, whose socket may seem alive still, and returns what goes on of it in `heir`.

        Raises NoSession where there is none, or it came by WHIP.
        """
        lost, session = self.lost.take(name), self.sessions.get(name)
        if lost is None:
            if session is None or name in self.publications or session.ending:
                raise NoSession("that session is not known any more", "send the choices and the portrait again")
            lost = LostSession(session.save(), session.release_viewers())
            session.hang_up(1008, "resumed on another socket")
        self.admission.hand_over(name, heir, lost.had_place)
        if session is not None:
            await self.end(session)
        return lost

    async def give_up(self, name: str) -> None:
        """Ends the session of this name, or what is kept of it, since it goes on in another process."""
        lost, session = self.lost.take(name), self.sessions.get(name)
        if lost is not None:
            await lost.viewers.close()
        if session is not None and name not in self.publications:
            session.hang_up(1008, "resumed on another socket")
            await self.end(session)

    async def end(self, session: Session) -> None:
        """Ends a session and frees its place. Again: waits for the same end."""
        self.publications.pop(session.id, None)
        try:
            await session.close()
        finally:
            self.sessions.pop(session.id, None)
            self.freed_memory.note()

    def _end_soon(self, session: Session) -> None:
        task = asyncio.ensure_future(self.end(session))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Runs an upload's work on its own thread. Raises Busy when too many wait."""
        if self._waiting >= 4:
            raise Busy("other uploads are being read", "try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._uploads, work)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Ends every session within the time allowed, then frees the engines."""
        self.stopping = True
        closing = [asyncio.ensure_future(session.close()) for session in list(self.sessions.values())]
        if closing:
            _, late = await asyncio.wait(closing, timeout=self.settings.shutdown_timeout_s)
            if late:
                logger.warning("%d sessions did not end in time", len(late))
        await self.lost.close()
        self._uploads.shutdown(wait=False, cancel_futures=True)
        freeing = threading.Thread(target=self.engines.close, name="relight-free", daemon=True)
        freeing.start()
        deadline_s = time.monotonic() + ENGINE_CLOSE_S
        while freeing.is_alive() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
