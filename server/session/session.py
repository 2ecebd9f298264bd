"""One WebSocket is one session: control messages in, replies and stats out, at most one Peer alive.

Every message is answered; a bad one changes nothing and never ends the session. What cannot be foreseen is caught at
the session door (`handle`): logged once, told to the client. Closing frees the peer, its threads and its stream.
"""

import asyncio
import dataclasses
import logging
import time
import uuid
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from engine.live.overlay import View
from engine.live.stream import LiveSnapshot, OutputFrame
from engine.protocols import Avatar
from lcvd.lighting.presets import preset
from lcvd.types import Background
from server import protocol
from server.errors import BadMessage, Busy, NotReady, Problem, ServerError, TooFast, TooLarge, explain
from server.light_message import Light, Wish
from server.metrics import Metrics
from server.rtc.peer import Peer
from server.session.admission import Admission, TokenBucket
from server.session.avatar_settings import DEFAULT_FPS, NO_PORTRAIT, AvatarWish
from server.session.engines import Engines, Running
from server.session.outbox import Outbox, Socket
from server.settings import Settings

logger = logging.getLogger(__name__)

STATS_EVERY_S = 0.5
NOTICE_EVERY_S = 5.0  # the same notice at most this often
FLOOD_LIMIT = 200  # messages refused before the socket is closed …
FLOOD_MEMORY_S = 5.0  # … unless there was peace this long in between
FALLBACK_HINT = "it comes back by itself once it can; run `relight doctor` on the server"
DEFAULT_PRESET = "original"

try:
    VERSION = version("relight-live")
except PackageNotFoundError:  # run from a bare checkout
    VERSION = "0"


class Session:
    """One participant. Everything on the event loop."""

    def __init__(
        self,
        socket: Socket,
        settings: Settings,
        engines: Engines,
        metrics: Metrics,
        admission: Admission,
        *,
        clock: Callable[[], float] = time.monotonic,
        make_peer: Callable[..., Peer] = Peer,
    ) -> None:
        self.over = asyncio.Event()  # the socket was closed from here: nobody needs to read it further
        self.id = uuid.uuid4().hex[:12]
        self._settings = settings
        self._engines = engines
        self._metrics = metrics
        self._admission = admission
        self._clock = clock
        self._make_peer = make_peer
        self._bucket = TokenBucket(settings.messages_per_s, settings.message_burst)
        self._refused, self._refused_s = 0, float("-inf")
        self._wish = Wish(preset(DEFAULT_PRESET).lighting)
        self._engine = engines.default
        self._avatar: Avatar | None = None
        self._look: NDArray[np.uint8] | None = None  # of the portrait, what stands in for the avatar
        self._avatar_wish = AvatarWish()
        self._running = ""  # the engine of the connection: not the one chosen, while that waits for a portrait
        self._fallback_told = False
        self._view, self._mirror, self._paused = View(), False, False
        self._peer: Peer | None = None
        self._counted_in = self._counted_drops = 0
        self._noticed: dict[str, float] = {}
        self._outbox = Outbox(socket)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()  # one offer or end at a time
        self._settling = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._idle_since_s = clock()
        self._closing = self._hung_up = False
        self._end: asyncio.Task[None] | None = None

    # ---- life

    async def start(self) -> None:
        """Say welcome; start the writer and the stats."""
        self._task(self._outbox.run())
        self._task(self._tell_stats())
        self._say(
            protocol.Welcome(
                session=self.id,
                version=VERSION,
                engines=self._engines.menu(),
                engine=self._engine,
                ice_servers=self._settings.ice_servers,
                lighting=Light.of(self._wish.lighting),
            )
        )
        if self._engines.reason:
            self.notice("fallback", self._engines.reason, "run `relight doctor` on the server")
            self._fallback_told = True
        logger.info("session opened")

    async def handle(self, text: str) -> None:
        """One message. Never raises: the session door."""
        message: protocol.AnyClientMessage | None = None
        if not await self._outbox.room():
            logger.info("the client does not read its messages")
            self.hang_up(1008, "not reading")
            return
        try:
            self._check_flood(text)
            message = protocol.parse(text)
            self._metrics.messages.labels(message.type).inc()
            await self._obey(message)
        except Exception as error:  # the session door
            problem = explain(error)
            if problem.status >= 500 and not isinstance(error, ServerError):  # not the client's mistake: ours to see
                logger.exception("message %s failed", message.type if message else "?")
            self._refuse(text, problem, message)

    async def close(self) -> None:
        """Free everything, even if whoever asked is cancelled meanwhile. Again: waits for the same end."""
        if self._end is None:
            self._closing = True
            self._end = asyncio.ensure_future(self._close())
        await asyncio.shield(self._end)

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leave(None)
        # One that ended by itself may still be closing.
        await asyncio.gather(*self._ending, return_exceptions=True)
        logger.info("session closed")

    def hang_up(self, code: int, reason: str) -> None:
        """Close the socket after what is waiting has been sent, then set `over`; who reads the socket calls `close`."""
        if not self._hung_up:
            self._hung_up = True
            self._task(self._hang_up(code, reason))

    async def _hang_up(self, code: int, reason: str) -> None:
        await self._outbox.hang_up(code, reason)
        self.over.set()

    @property
    def snapshot(self) -> LiveSnapshot | None:
        return self._peer.live.snapshot() if self._peer is not None else None

    @property
    def runs(self) -> str:
        """The engine of the connection; "" without one."""
        return self._running if self._peer is not None else ""

    async def set_portrait(self, rgb: NDArray[np.uint8], look: NDArray[np.uint8] | None = None) -> None:
        """The portrait [H,W,3] that an avatar engine animates from now on, as wished so far, and its head alone."""
        self._look = look
        self._avatar = self._avatar_wish.of(rgb)
        await self._settle()

    # ---- messages

    def _check_flood(self, text: str) -> None:
        if len(text) > self._settings.max_message_bytes:
            raise TooLarge(
                f"the message has {len(text)} characters", f"send at most {self._settings.max_message_bytes}"
            )
        now_s = self._clock()
        if self._bucket.take(now_s):
            return
        self._refused = self._refused + 1 if now_s - self._refused_s < FLOOD_MEMORY_S else 1
        self._refused_s = now_s
        if self._refused == FLOOD_LIMIT:
            self.hang_up(1008, "flood")
        raise TooFast("messages come too fast", f"send at most {self._settings.messages_per_s} a second")

    def _refuse(self, text: str, problem: Problem, message: protocol.AnyClientMessage | None) -> None:
        self._metrics.errors.labels(problem.code).inc()
        about = message if message is not None else protocol.envelope(text[: self._settings.max_message_bytes])
        self._say(protocol.ErrorReply.about(problem, id=about.id, of=about.type))
        if problem.code == Busy.code:
            self._metrics.refused.labels(problem.code).inc()
            self.hang_up(1013, "busy")

    async def _obey(self, message: protocol.AnyClientMessage) -> None:
        match message:
            case protocol.Offer():
                self._say(protocol.Answer(id=message.id, sdp=await self._connect(message.sdp)))
            case protocol.Ping():
                self._say(protocol.Pong(id=message.id, t=message.t, server_s=round(time.time(), 3)))
            case protocol.SetLight():
                base = message.lighting.lighting() if message.lighting else preset(message.preset or "").lighting
                self._relight(dataclasses.replace(self._wish, base=base, adjust=message.adjust))
                self._say(protocol.Ack(id=message.id, of=message.type, lighting=Light.of(self._wish.lighting)))
            case protocol.SetAvatar():
                self._say(protocol.AvatarAck(id=message.id, predicted=await self._set_avatar(message)))
            case _:
                await self._apply(message)
                self._say(protocol.Ack(id=message.id, of=message.type))

    async def _apply(self, message: protocol.AnyClientMessage) -> None:
        live = self._peer.live if self._peer is not None else None
        match message:
            case protocol.Candidate():
                if self._peer is None:
                    raise BadMessage("there is no connection for this candidate", "send an offer first")
                await self._peer.add_candidate(message.candidate)
            case protocol.SetStrength():
                self._relight(dataclasses.replace(self._wish, strength=message.value))
            case protocol.SetBackground():
                background = None if message.mode == "auto" else Background(message.mode, message.gain)
                self._relight(dataclasses.replace(self._wish, background=background))
            case protocol.SetEngine():
                await self._set_engine(message.engine)
            case protocol.SetView():
                self._view = View(message.hint, message.split)
                if live:
                    live.set_view(self._view)
            case protocol.Mirror():
                self._mirror = message.on
                if live:
                    live.set_mirror(message.on)
            case protocol.Pause():
                self._paused = message.on
                if live:
                    live.set_paused(message.on)

    def _relight(self, wish: Wish) -> None:
        lighting = wish.lighting  # raises before anything changed
        self._wish = wish
        if self._peer is not None:
            self._peer.live.set_lighting(lighting)

    async def _set_avatar(self, message: protocol.SetAvatar) -> protocol.Predicted | None:
        """Merge what was asked into the wish; returns what it is going to cost."""
        wish = self._avatar_wish.merged(message)
        fps = self._peer.live.snapshot().fps_in if self._peer is not None else 0.0
        try:
            prediction = self._engines.predict(wish.of(NO_PORTRAIT), fps or DEFAULT_FPS)
        except ValueError as error:  # of an engine that knows what its model can do
            raise BadMessage(str(error), "docs/lcvd.md says what each mode needs") from error
        self._avatar_wish = wish
        if self._avatar is not None:
            self._avatar = wish.of(self._avatar.portrait_rgb)
            await self._settle()
        return protocol.Predicted.of(prediction)

    async def _set_engine(self, name: str) -> None:
        menu = {choice.name: choice for choice in self._engines.menu()}
        choice = menu.get(name)
        if choice is None:
            raise BadMessage(f"engine={name!r} does not exist", f"choose one of {', '.join(menu)}")
        if not choice.available:
            raise BadMessage(f"engine={name!r} cannot run here: {choice.reason}", "run `relight doctor` on the server")
        host = await asyncio.to_thread(self._engines.host, name)
        if self._avatar is None and host.engine.traits.shows_avatar:
            raise BadMessage(f"engine={name!r} needs a portrait", "upload one first: POST /api/portrait")
        self._engine = name
        await self._settle()

    async def _settle(self) -> None:
        """Bring the connection, if there is one, to the engine and the avatar that are wished for now."""
        async with self._settling:  # who comes later wishes the same or more
            if (peer := self._peer) is None:
                return
            running = await self._choose()
            live, avatar, look = peer.live, self._avatar, self._look

            def change() -> None:  # a portrait is scaled: not on the event loop
                live.set_avatar(avatar, look)
                live.switch(running.host, running.standby)

            await asyncio.to_thread(change)
            self._running = running.name

    async def _choose(self) -> Running:
        return await asyncio.to_thread(self._engines.run, self._engine, self._avatar is not None)

    # ---- the connection

    async def _connect(self, sdp: str) -> str:
        async with self._changing:
            self._admission.enter(self.id)
            try:
                peer = await self._new_peer()
                try:
                    answer = await peer.answer(sdp)
                    if self._closing:
                        raise NotReady("the session is closing", "connect again")
                    await self._end_peer()  # only now: an offer that fails costs nothing
                except BaseException:
                    await self._free(peer)
                    raise
            except BaseException:
                if self._peer is None:
                    self._admission.leave(self.id)
                raise
            self._peer = peer
            await self._settle()  # a portrait may have come meanwhile
            self._counted_in = self._counted_drops = 0
            self._metrics.sessions.inc()
            self._metrics.connections.inc()
        logger.info("connection answered")
        return answer

    async def _new_peer(self) -> Peer:
        """A connection as the controls want it."""
        running = await self._choose()
        peer: Peer = self._make_peer(
            running.host,
            self._wish.lighting,
            self._settings,
            on_end=lambda reason: self._peer_ended(peer, reason),
            on_bad_size=self._bad_size,
            on_sent=self._sent,
            avatar=self._avatar,
            standby=running.standby,
            look=self._look,
        )
        self._running = running.name
        peer.live.set_view(self._view)
        peer.live.set_mirror(self._mirror)
        peer.live.set_paused(self._paused)
        return peer

    async def _end_peer(self) -> None:
        """The present connection, if any, ends; the place stays."""
        peer, self._peer = self._peer, None
        self._idle_since_s = self._clock()
        if peer is not None:
            self._count(peer, peer.live.snapshot())
            self._metrics.sessions.dec()
            await self._free(peer)

    async def _free(self, peer: Peer) -> None:
        """Close it even if whoever asked is cancelled meanwhile."""
        ending = asyncio.ensure_future(peer.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _leave(self, peer: Peer | None) -> None:
        """`peer` ends (None: whichever there is) and its place is free, unless a newer one took it over."""
        async with self._changing:
            if peer is None or peer is self._peer:
                await self._end_peer()
                self._admission.leave(self.id)

    def _peer_ended(self, peer: Peer, reason: str) -> None:
        if self._closing or peer is not self._peer:
            return
        logger.info("connection ended: %s", reason)
        self.notice("connection_ended", f"The video connection ended: {reason}.", "send a new offer")
        self._task(self._leave(peer))

    def _bad_size(self, width: int, height: int) -> None:
        limits = self._settings.frame_limits
        self.notice(
            "frame_size",
            f"The picture of {width} × {height} cannot be used.",
            f"send sides of {limits.min_side_px} to {limits.max_side_px} px, at most {limits.max_pixels / 1e6:.1f} MP",
        )

    def _sent(self, frame: OutputFrame, now_s: float) -> None:
        self._metrics.frames_out.labels("yes" if frame.relit else "no").inc()
        self._metrics.latency.observe(max(0.0, now_s - frame.arrived_s))

    # ---- what the client is told

    def notice(self, code: str, message: str, hint: str = "") -> None:
        """Something the participant should know; the same code not too often."""
        now_s = self._clock()
        if now_s - self._noticed.get(code, float("-inf")) >= NOTICE_EVERY_S:
            self._noticed[code] = now_s
            self._say(protocol.Notice(code=code, message=message, hint=hint))

    def _say(self, message: protocol.ServerMessage) -> None:
        if not self._outbox.say(message) and not self._closing:
            logger.info("the client does not read its messages")
            self.hang_up(1008, "not reading")

    async def _tell_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_EVERY_S)
            peer = self._peer
            if peer is None:
                idle_s = self._clock() - self._idle_since_s
                if self._settings.idle_timeout_s and idle_s > self._settings.idle_timeout_s:
                    self.hang_up(1001, "idle")
                    return
                continue
            snapshot = peer.live.snapshot()
            self._count(peer, snapshot)
            if peer.live.hides_camera:
                self._tell_fallback(snapshot.engine)
            peer.match_audio(snapshot.latency_ms.get("p50", 0.0) / 1e3)
            # A client that reads slowly gets fewer stats, not older ones.
            if peer.frames_in and self._outbox.empty:
                self._say(protocol.Stats(**dataclasses.asdict(snapshot)))

    def _tell_fallback(self, engine: dict[str, str]) -> None:
        """Say once that an avatar's engine does not run and what is shown instead; again after it was well."""
        if engine["state"] == "ok":
            self._fallback_told = False
        late = engine["state"] == "warming" and self._engines.reason
        if self._fallback_told or not (late or engine["state"] == "failed"):
            return
        self._fallback_told = True
        self.notice("fallback", f"{late}. {engine['message']}" if late else engine["message"], FALLBACK_HINT)

    def _count(self, peer: Peer, snapshot: LiveSnapshot) -> None:
        self._metrics.frames_in.inc(peer.frames_in - self._counted_in)
        self._metrics.drops.inc(max(0, snapshot.drops - self._counted_drops))
        self._counted_in, self._counted_drops = peer.frames_in, snapshot.drops

    def _task(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a session's task failed", exc_info=error)
            if not self._closing:
                self.notice("internal", "Something went wrong on the server.", "reload the page if the picture stops")
