"""WHEP (draft-ietf-wish-whep): any player takes a session's relit picture and matched sound by HTTP and WebRTC.

The player offers to receive, the server answers; `name` is a session's viewing name, or its own.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from server.errors import NoSession
from server.http.error_body import WRONG_PART, errors
from server.http.routes import TheServer
from server.http.scopes import needs
from server.http.sdp import (
    ANSWERED,
    FRAGMENT,
    RESTARTED,
    SDP,
    body_of,
    created,
    near,
    options,
    patched,
    read_text,
)
from server.ice_servers import ice_servers
from server.logs import session_id
from server.session.session import Session
from server.session.state import Server
from server.session.viewers import Viewing

router = APIRouter(tags=["WHIP and WHEP"])


@router.post(
    "/whep/{name}",
    summary="View",
    status_code=201,
    response_class=Response,  # of a type of its own where it is an answer; errors are JSON
    response_description="The answer. Headers: Location, ETag, Link (ICE servers).",
    openapi_extra=body_of(SDP, "An offer that receives video (VP8, H.264) and maybe Opus."),
    responses=ANSWERED
    | errors(
        s400="The offer is not SDP.",
        s401="The server asks for a token.",
        s404="Nothing of that name can be viewed.",
        s413="The body is over 64 KiB.",
        s415="The content type is not application/sdp.",
        s422="The offer cannot be used.",
        s503="The session has as many viewers as it may.",
    ),
)
@needs("view", view="name")
async def view(server: TheServer, request: Request, name: str) -> Response:
    """View a session: the answer of WebRTC to an offer, and where to end it."""
    sdp = await read_text(request, SDP)
    session = _session(server, name)
    viewing = await session.viewers.admit(sdp, near(request))
    servers = ice_servers(server.settings, session.label)
    return created(viewing.answer, f"/whep/{name}/{viewing.id}", viewing.ice, servers)


@router.patch(
    "/whep/{name}/{viewer}",
    summary="Trickle candidates of a viewer, or restart ICE",
    status_code=204,
    openapi_extra=body_of(FRAGMENT, "Candidates of the viewer."),
    response_class=Response,  # of a type of its own where ICE restarts
    responses=RESTARTED
    | errors(
        s400="A candidate, or the name and password of a restart, cannot be read.",
        s404="There is no such viewer.",
        s412="If-Match is another ICE session.",
        s415="The content type is another one.",
        s409="ICE cannot be restarted before it is connected.",
        s413="The body is over 64 KiB.",
        s422="ICE cannot be restarted: the sections are not bundled.",
        s428="If-Match is missing.",
    ),
)
@needs("view", view="name")
async def trickle(
    server: TheServer, request: Request, name: str, viewer: str, if_match: Annotated[str | None, Header()] = None
) -> Response:
    """Add candidates, or restart ICE where the fragment has another ice-ufrag: the picture goes on meanwhile."""
    viewing = _viewing(_session(server, name), viewer)
    return await patched(request, if_match, viewing.ice, viewing.viewer)


@router.delete(
    "/whep/{name}/{viewer}",
    summary="End viewing",
    response_class=Response,
    responses=errors(s404="There is no such viewer.", s422=WRONG_PART),
)
@needs("view", view="name")
async def leave(server: TheServer, name: str, viewer: str) -> Response:
    """End a viewer's connection."""
    session = _session(server, name)
    await session.viewers.end(_viewing(session, viewer).id)
    return Response()


@router.options("/whep/{name}", include_in_schema=False)
@needs(None)
async def whep_options(name: str) -> Response:
    """Says what may be posted."""
    return options("accept-post", SDP)


@router.options("/whep/{name}/{viewer}", include_in_schema=False)
@needs(None)
async def viewer_options(name: str, viewer: str) -> Response:
    """Says what may be patched."""
    return options("accept-patch", FRAGMENT)


@router.api_route("/whep/{name}", methods=["GET", "HEAD", "PUT", "PATCH", "DELETE"], include_in_schema=False)
@needs("view", view="name")
async def whep_others(name: str) -> Response:
    """Refuses the methods that the draft reserves."""
    raise HTTPException(405, "use POST with an offer", headers={"allow": "POST, OPTIONS"})


@router.api_route("/whep/{name}/{viewer}", methods=["GET", "HEAD", "PUT", "POST"], include_in_schema=False)
@needs("view", view="name")
async def viewer_others(name: str, viewer: str) -> Response:
    """Refuses the methods that the draft reserves."""
    raise HTTPException(405, "use PATCH or DELETE", headers={"allow": "PATCH, DELETE, OPTIONS"})


def _session(server: Server, name: str) -> Session:
    session = server.find(name)
    if session is None:
        raise NoSession(f"nothing is shown as {name[:80]!r}", "it may have ended; ask whoever gave you the link")
    session_id.set(session.id)
    return session


def _viewing(session: Session, name: str) -> Viewing:
    viewing = session.viewers.get(name)
    if viewing is None:
        raise NoSession(f"viewer={name[:80]!r} does not exist", "it may have ended; POST an offer again")
    return viewing
