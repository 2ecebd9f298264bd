"""Looks into one session, for the operator: what was asked for, what runs, how media travel, what waits.

Sessions are named as in the log, by a hash, since who has a session's id may change it. No answer has an id, a viewing
name, an address, or a picture.
"""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from server.errors import NoSession
from server.http.error_body import WRONG_PART, errors
from server.http.routes import TheServer
from server.http.scopes import needs
from server.rtc.report import ConnectionReport
from server.session.session import Session
from server.session.state import Server

router = APIRouter(prefix="/debug", tags=["operations"])
REFUSED = {
    "s401": "The server asks for a token.",
    "s403": "The token is not the operator's, or this is another machine.",
}


class SessionLine(BaseModel):
    """One session in the list."""

    session: str = Field(description="As in the log.")
    source: str = Field(description="socket or whip.")
    age_s: float
    engine: str = Field(description="That runs; empty without a connection.")
    connection: str = Field(description="connectionState; empty without one.")
    viewers: int


class RequestedReport(BaseModel):
    """What the participant asked for."""

    engine: str
    strength: float
    mirror: bool
    paused: bool
    portrait: bool = Field(description="One was uploaded.")


class EngineReport(BaseModel):
    """What runs."""

    name: str
    state: str
    message: str
    showing: str = Field(description="An engine's name, camera or portrait.")


class StatsReport(BaseModel):
    """As in the `stats` message."""

    fps_in: float
    fps_out: float
    drops: int
    width: int
    height: int
    face: str
    latency_ms: dict[str, float]
    stages: dict[str, dict[str, float]] = Field(description="Times of each stage in ms, by quantile.")


class ViewerReport(BaseModel):
    """One viewer (WHEP)."""

    connection: ConnectionReport
    packets: int = Field(description="Pictures and sounds handed to its sender.")
    waiting: int = Field(description="Packets that wait for its sender.")


class SessionReport(SessionLine):
    """One session."""

    controlled: bool = Field(description="A control socket is open.")
    requested: RequestedReport
    running: EngineReport | None = Field(description="Null without a connection, as are stats and media.")
    stats: StatsReport | None
    media: ConnectionReport | None
    pictures: int = Field(description="Received by this connection.")
    decode_ms: float = Field(description="From a picture's last packet to the picture, median of the last second.")
    queues: dict[str, int] = Field(description="What waits: frames in mailbox, device and pacer, and messages.")
    viewing: list[ViewerReport]


@router.get("/sessions", summary="Sessions", responses=errors(**REFUSED))
@needs("operate")
async def sessions(server: TheServer) -> list[SessionLine]:
    """List the sessions, the oldest first."""
    return [SessionLine(**_line(server, session)) for session in server.sessions.values()]


@router.get(
    "/session/{session}",
    summary="One session",
    responses=errors(**REFUSED, s404="There is no session of this name.", s422=WRONG_PART),
)
@needs("operate")
async def session(
    server: TheServer, session: Annotated[str, Path(max_length=64, description="As in the log.")]
) -> SessionReport:
    """Look into one session."""
    found = next((each for each in server.sessions.values() if each.label == session), None)
    if found is None:
        raise NoSession(f"session={session!r} does not exist", "GET /debug/sessions lists them, named as in the log")
    return _report(server, found)


def _line(server: Server, session: Session) -> dict[str, Any]:
    return {
        "session": session.label,
        "source": "whip" if session.id in server.publications else "socket",
        "age_s": round(time.monotonic() - session.opened_s, 1),
        "engine": session.runs,
        "connection": session.peer.state if session.peer is not None else "",
        "viewers": len(session.viewers),
    }


def _report(server: Server, session: Session) -> SessionReport:
    requested, snapshot, peer = session.requested, session.snapshot, session.peer
    stats = {} if snapshot is None else {name: getattr(snapshot, name) for name in StatsReport.model_fields}
    return SessionReport.model_validate(
        {
            **_line(server, session),
            "controlled": session.controlled,
            "requested": RequestedReport(
                engine=requested.engine,
                strength=requested.light.strength,
                mirror=requested.mirror,
                paused=requested.paused,
                portrait=requested.avatar is not None,
            ),
            "running": None if snapshot is None else snapshot.engine,
            "stats": stats or None,
            "media": None if peer is None else peer.report(),
            "pictures": 0 if peer is None else peer.frames_in,
            "decode_ms": 0.0 if peer is None else round(peer.decode_s * 1e3, 3),
            "queues": session.queues,
            "viewing": [
                ViewerReport(connection=each.report(), packets=each.packets, waiting=each.waiting)
                for each in session.viewers.all()
            ],
        }
    )
