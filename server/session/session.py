"""One session is one participant: control messages in, replies and stats out, at most one Peer alive, any viewers.

A page's session lives as long as its WebSocket, one that is published by WHIP as long as its connection; a control
socket may come and go there. Every message is answered; a bad one changes nothing and never ends the session. What
cannot be foreseen is caught at the session boundary (`handle`): logged once, sent to the client. Closing frees the
peer, its threads and its stream, and ends the viewers.
"""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.live.stream import LiveSnapshot, OutputFrame
from server import protocol
from server.errors import BadMessage, Busy, Problem, ServerError, explain
from server.light_message import Light
from server.logs import log_name
from server.metrics import Metrics
from server.rtc.peer import Peer
from server.rtc.pictures.picture_cap import CapSource, uncapped
from server.session.admission import Admission
from server.session.avatar_settings import DEFAULT_FPS, NO_PORTRAIT
from server.session.connection import Connection
from server.session.control import Control
from server.session.engines import Engines, Running
from server.session.lost_sessions import LostSession
from server.session.notices import Notices
from server.session.requested import Requested
from server.session.saved_state import SavedState
from server.session.stats_clock import StatsClock, stats_message
from server.session.tasks import Tasks
from server.session.turn import Turn
from server.session.viewers import Viewers, viewing_name
from server.session.welcome import welcome
from server.settings import Settings

logger = logging.getLogger(__name__)


class Session:
    """One participant. Everything on the event loop."""

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        metrics: Metrics,
        admission: Admission,
        *,
        view: str = "",
        on_ended: Callable[[], None] | None = None,
        on_picture: Callable[[int], None] = lambda pixels: None,
        cap: CapSource = uncapped,
        take_over: Callable[[str, str], Awaitable[LostSession]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        make_peer: Callable[..., Peer] = Peer,
    ) -> None:
        """`view` is the viewing name (default: a random one); `on_ended` hears of the connection's end (WHIP).

        `on_picture` hears of the pixels of each picture that leaves; `cap` says at which size they are handled.
        `take_over` ends the session of a name and returns what goes on in that of another, or raises NoSession.
        """
        self.id = uuid.uuid4().hex if on_ended is not None else uuid.uuid4().hex[:12]
        self.opened_s = clock()
        self.label = log_name(self.id)  # for logs and operators: the id itself is a secret
        self.view = view or secrets.token_urlsafe(9)
        self._settings = settings
        self._engines = engines
        self._metrics = metrics
        self._on_ended = on_ended
        self._on_picture = on_picture
        self._cap = cap
        self._take_over = take_over
        self._make_peer = make_peer
        self._requested = Requested(engines.default)
        self.changed = asyncio.Event()  # what `save` returns is another than before; whoever waits for it clears it
        self._resumed = False
        self._stats_clock = StatsClock()
        self._running = ""  # the engine of the connection: not the requested one, while that waits for a portrait
        self._connection = Connection(self.id, admission, metrics, clock)
        self.viewers = Viewers(settings, metrics)
        self._control: Control | None = None
        self._notices = Notices(self._send, clock)
        self._turn = Turn(self.id, admission, self._send, clock)
        self._tasks = Tasks("a session", self._task_failed)
        self._reconciling = asyncio.Lock()
        self.ending = False
        self._end: asyncio.Task[None] | None = None

    # ---- life

    def start(self) -> None:
        """Starts the stats, whose task also ends an idle session."""
        self._tasks.spawn(self._send_stats())
        logger.info("session opened")

    def attach(self, control: Control) -> None:
        """Sends the welcome to `control` and takes messages from it; one that was there before is hung up on."""
        self.hang_up(1008, "another socket controls this session now")
        self._control = control
        control.start()
        control.send(welcome(self.id, self.label, self.view, self._requested, self._engines, self._settings))
        if self._engines.degraded_reason:
            self._notices.fallback_at_start(self._engines.degraded_reason)

    def detach(self, control: Control) -> None:
        """Forgets a socket that is gone."""
        if self._control is control:
            self._control = None

    def hang_up(self, code: int, reason: str) -> None:
        """Closes the control socket, if there is one."""
        if self._control is not None:
            self._control.hang_up(code, reason)

    async def handle(self, text: str, control: Control) -> None:
        """Carries out and answers one message. Never raises: this is the session boundary."""
        message: protocol.AnyClientMessage | None = None
        if not await control.ready():
            return
        try:
            control.check(text)
            message = protocol.parse(text)
            self._metrics.messages.labels(message.type).inc()
            control.grant.require(message.scope)
            control.send(await self.carry_out(message))
        except Exception as error:  # the session boundary
            problem = explain(error)
            if problem.status >= 500 and not isinstance(error, ServerError):  # not the client's mistake: ours to see
                logger.exception("message %s failed", message.type if message else "?")
            self._refuse(text, problem, message, control)

    async def close(self) -> None:
        """Frees everything, even if whoever asked is cancelled meanwhile. Again: waits for the same end."""
        if self._end is None:
            self.ending = self._connection.closing = True
            self._end = asyncio.ensure_future(self._close())
        await asyncio.shield(self._end)

    async def _close(self) -> None:
        if self._on_ended is not None:
            self.hang_up(1000, "the publication has ended")
        await self._tasks.cancel()
        await self.viewers.close()
        await self._connection.close()
        logger.info("session closed")

    @property
    def peer(self) -> Peer | None:
        """The present connection, if there is one."""
        return self._connection.peer

    @property
    def requested(self) -> Requested:
        """The settings as the participant last asked for them."""
        return self._requested

    @property
    def snapshot(self) -> LiveSnapshot | None:
        """The live stream's numbers; None without a connection."""
        return self._connection.snapshot

    @property
    def controlled(self) -> bool:
        """True while a control socket is open."""
        return self._control is not None

    @property
    def queues(self) -> dict[str, int]:
        """The frames that wait, and the messages, by the name of their queue."""
        frames = self.peer.live.queues() if self.peer is not None else {}
        return {**frames, "messages": self._control.waiting if self._control is not None else 0}

    @property
    def runs(self) -> str:
        """The engine of the connection; "" without one."""
        return self._running if self.peer is not None else ""

    def save(self) -> SavedState:
        """Returns everything that the participant chose."""
        return SavedState(self._requested, self.view)

    async def restore(self, state: SavedState) -> None:
        """Takes over the choices of another session, in place of this one's."""
        self.view = state.view
        self._apply(state.requested)
        await self._reconcile()

    def release_viewers(self) -> Viewers:
        """Returns the viewers, who are another session's from now on; there are none here then."""
        viewers, self.viewers = self.viewers, Viewers(self._settings, self._metrics)
        return viewers

    async def set_portrait(self, rgb: NDArray[np.uint8], placeholder: NDArray[np.uint8] | None = None) -> None:
        """Gives the avatar a portrait [H,W,3], with the settings requested so far, and its placeholder crop."""
        self._request(self._requested.with_portrait(rgb, placeholder))
        await self._reconcile()

    # ---- messages

    async def carry_out(self, message: protocol.AnyClientMessage) -> protocol.ServerMessage:
        """Carries out one message; returns its answer. Raises what `explain` explains."""
        ack = protocol.Ack(id=message.id, of=message.type)
        match message:
            case protocol.Offer():
                if self._on_ended is not None:
                    raise BadMessage("this session's picture comes by WHIP", "offer it on a WebSocket of its own, /ws")
                return await self._turn.answer(message.id, self.connect(message.sdp))
            case protocol.Candidate():
                await self.add_candidate(message.candidate)
            case protocol.Resume():
                return await self._resume(message)
            case protocol.Ping():
                return protocol.Pong(id=message.id, t=message.t, server_s=round(time.time(), 6))
            case protocol.SetAvatar():
                return protocol.AvatarAck(id=message.id, predicted=await self._set_avatar(message))
            case protocol.SetViewingKey():
                return protocol.ViewAck(id=message.id, view=await self._rename(viewing_name(message.key)))
            case protocol.SetEngine():
                await self._set_engine(message.engine)
            case _:
                self._apply(self._requested.changed_by(message))
                if message.type == "set_light":
                    ack.lighting = Light.of(self._requested.light.lighting)
        return ack

    def _refuse(self, text: str, problem: Problem, message: protocol.AnyClientMessage | None, control: Control) -> None:
        self._metrics.errors.labels(problem.code).inc()
        about = message if message is not None else protocol.envelope(text[: self._settings.max_message_bytes])
        control.refused()
        control.send(protocol.ErrorReply.about(problem, id=about.id, of=about.type))
        if problem.code == Busy.code:
            self._metrics.refused.labels(problem.code).inc()
            control.hang_up(1013, "busy")

    async def _set_avatar(self, message: protocol.SetAvatar) -> protocol.Predicted | None:
        """Merges what was asked into the avatar's settings; returns what they are going to cost."""
        settings = self._requested.avatar_settings.merged(message)
        snapshot = self.snapshot
        fps = snapshot.fps_in if snapshot is not None else 0.0
        try:
            prediction = self._engines.predict(settings.avatar_of(NO_PORTRAIT), fps or DEFAULT_FPS)
        except ValueError as error:  # of an engine that knows what its model can do
            raise BadMessage(str(error), "docs/lcvd.md says what each mode needs") from error
        self._request(self._requested.with_avatar_settings(settings))
        if self._requested.avatar is not None:
            await self._reconcile()
        return protocol.Predicted.of(prediction)

    async def _rename(self, view: str) -> str:
        """Goes on under another viewing name; who views under the old one is ended."""
        if view != self.view:
            self.view = view
            self.changed.set()
            await self.viewers.end_all()
        return view

    async def _set_engine(self, name: str) -> None:
        self._engines.require(name)
        device = await asyncio.to_thread(self._engines.device, name)
        if self._requested.avatar is None and device.traits.shows_avatar:
            raise BadMessage(f"engine={name!r} needs a portrait", "upload one first: POST /api/portrait")
        self._request(replace(self._requested, engine=name))
        await self._reconcile()

    async def _resume(self, message: protocol.Resume) -> protocol.ResumeAck:
        """Goes on with the choices and the viewers of a session that was lost. Raises NoSession, BadMessage."""
        if self._take_over is None or self.peer is not None or message.session == self.id:
            raise BadMessage("this session cannot go on as another one", "resume on a new WebSocket, before the offer")
        lost = await self._take_over(message.session, self.id)
        previous, self.viewers = self.viewers, lost.viewers
        await previous.close()
        await self.restore(lost.state)
        self._resumed = True
        logger.info("session resumed")
        now = self._requested
        light, avatar = Light.of(now.light.lighting), now.avatar is not None
        return protocol.ResumeAck(id=message.id, view=self.view, lighting=light, engine=now.engine, avatar=avatar)

    # ---- requested settings → connection

    def _request(self, requested: Requested) -> None:
        self._requested = requested
        self.changed.set()

    def _apply(self, requested: Requested) -> None:
        """Takes over `requested` and brings the live stream's light, view, mirror and pause to it."""
        before, lighting = self._requested, requested.light.lighting  # raises before anything changed
        self._request(requested)
        if self.peer is not None:
            live = self.peer.live
            if requested.light is before.light:
                lighting = live.controls.lighting  # the very same: no transition begins
            view, mirror, paused = requested.view, requested.mirror, requested.paused
            live.apply(replace(live.controls, lighting=lighting, view=view, mirror=mirror, paused=paused))

    async def _reconcile(self) -> None:
        """Brings the connection, if there is one, to the engine and the avatar that are requested by now."""
        async with self._reconciling:  # who comes later requests the same or more
            if (peer := self.peer) is None:
                return
            running, live, fitted = await self._select_engine(), peer.live, None
            while fitted is not self._requested.placeholder:  # another portrait may come meanwhile
                fitted = self._requested.placeholder
                await asyncio.to_thread(live.fit, fitted, running.engine)  # scaling is not for the event loop
            avatar = self._requested.avatar
            live.apply(replace(live.controls, engine=running.engine, avatar=avatar, placeholder=fitted))
            self._running = running.name

    async def _select_engine(self) -> Running:
        return await asyncio.to_thread(self._engines.run, self._requested.engine, self._requested.avatar is not None)

    # ---- the connection

    async def connect(self, sdp: str, near: str = "") -> str:
        """Answers an offer; `near` is our address at which the peer reached us, "" unknown.

        Raises Busy, BadOffer, NotReady; the present connection then stays.
        """
        answer = await self._connection.open(sdp, self._new_peer, near)
        await self._reconcile()  # a portrait may have come meanwhile
        logger.info("connection answered")
        return answer

    async def add_candidate(self, candidate: protocol.IceCandidate | None) -> None:
        """Passes on a trickled candidate. Raises BadMessage."""
        await self._connection.add_candidate(candidate)

    async def _new_peer(self) -> Peer:
        """Makes a connection with the requested settings."""
        running = await self._select_engine()
        requested = self._requested
        peer: Peer = self._make_peer(
            requested.controls(running.engine),
            self._settings,
            on_end=lambda reason: self._peer_ended(peer, reason),
            on_bad_size=partial(self._notices.frame_size, limits=self._settings.frame_limits),
            on_sent=self._sent,
            hub=self.viewers.hub,
            ends_silent=self._on_ended is not None,
            on_coded=self._metrics.observe_coding,
            cap=self._cap,
            goes_on=self._resumed,
        )
        self._running = running.name
        return peer

    def _peer_ended(self, peer: Peer, reason: str) -> None:
        if self.ending or peer is not self.peer:
            return
        logger.info("connection ended: %s", reason)
        self._metrics.ended.labels("lost" if peer.was_connected else "never_connected").inc()
        self._notices.send("connection_ended", f"The video connection ended: {reason}.", "send a new offer")
        self._tasks.spawn(self._connection.end(peer))
        if self._on_ended is not None:
            self._on_ended()

    def _sent(self, frame: OutputFrame, now_s: float) -> None:
        self._stats_clock.sent(frame, self.peer)
        self._on_picture(frame.rgb.shape[0] * frame.rgb.shape[1])
        self._metrics.observe_frame(frame.showing, frame.relit, max(0.0, now_s - frame.arrived_s))

    # ---- to the client

    def _send(self, message: protocol.ServerMessage) -> None:
        if self._control is not None:
            self._control.send(message)

    async def _send_stats(self) -> None:
        """Sends stats while there is a connection; hangs up where there was none for too long."""
        while True:
            await self._stats_clock.tick()
            peer, control = self.peer, self._control
            if peer is None:
                if self._turn.update():
                    continue
                if self._settings.idle_timeout_s and self._connection.idle_s > self._settings.idle_timeout_s:
                    if control is not None:
                        control.hang_up(1001, "idle")
                    return
                continue
            snapshot = peer.live.snapshot()
            self._connection.count(snapshot)
            if peer.live.hides_camera:
                self._notices.avatar_state(snapshot.engine, self._engines.degraded_reason)
            # A client that reads slowly gets fewer stats, not older ones.
            if peer.frames_in and control is not None and control.idle:
                control.send(stats_message(snapshot, peer, self._cap()))

    def _task_failed(self) -> None:
        if not self.ending:
            self._notices.send("internal", "Something went wrong on the server.", "reload the page if it stops")
