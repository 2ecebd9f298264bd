"""WHIP (RFC 9725): programs publish their camera by HTTP and WebRTC, without a WebSocket, and are relit.

OBS, GStreamer and FFmpeg do. Light, engine and the rest come in the query, or later by the control socket
`/ws?session=`; viewers take the picture by WHEP (`server.http.whep`).
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
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
from server.protocol import AnyClientMessage, Mirror, SetBackground, SetEngine, SetLight, SetStrength
from server.session.publication import Publication, PublishRequest
from server.session.state import Server
from server.session.viewers import NAME_LENGTH

router = APIRouter(tags=["WHIP and WHEP"])


class Wishes(BaseModel):
    """The query of a publisher; each field is what the control message of the same kind says."""

    model_config = ConfigDict(extra="forbid")

    light: str | None = Field(None, min_length=1, max_length=64, description="A preset of /api/lights.")
    strength: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="0: the camera as it is.")
    engine: str | None = Field(None, min_length=1, max_length=64, description="As in `welcome.engines`.")
    background: Literal["auto", "keep", "dim", "lit"] | None = None
    gain: float | None = Field(None, ge=0.3, le=1, allow_inf_nan=False, description="Of the background.")
    mirror: bool | None = None
    view: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="The viewing name: /whep/{view}; not of 16 characters."
    )

    @field_validator("view")
    @classmethod
    def _not_of_a_page(cls, view: str | None) -> str | None:
        """Keeps publishers off the links of pages that are away: such a name says nothing of whose it is."""
        if view is not None and len(view) == NAME_LENGTH:
            raise ValueError(
                f"names of {NAME_LENGTH} characters are the links of pages; take a shorter or a longer one"
            )
        return view

    def messages(self) -> list[AnyClientMessage]:
        """Returns the control messages that say the same, in the order in which to carry them out."""
        found: list[AnyClientMessage] = []
        if self.engine is not None:
            found.append(SetEngine(type="set_engine", engine=self.engine))
        if self.light is not None:
            found.append(SetLight(type="set_light", preset=self.light))
        if self.strength is not None:
            found.append(SetStrength(type="set_strength", value=self.strength))
        if self.background is not None or self.gain is not None:
            gain = {} if self.gain is None else {"gain": self.gain}
            found.append(SetBackground(type="set_background", mode=self.background or "dim", **gain))
        if self.mirror is not None:
            found.append(Mirror(type="mirror", on=self.mirror))
        return found


@router.post(
    "/whip",
    summary="Publish",
    status_code=201,
    response_class=Response,  # of a type of its own where it is an answer; errors are JSON
    response_description="The answer. Headers: Location, ETag, Link (ICE servers), Relight-View.",
    openapi_extra=body_of(SDP, "An offer that sends video (VP8, H.264) and maybe Opus."),
    responses=ANSWERED
    | errors(
        s400="The offer is not SDP.",
        s401="The server asks for a token.",
        s409="The viewing name is taken, or kept for a page that lost its connection.",
        s413="The body is over 64 KiB.",
        s415="The content type is not application/sdp.",
        s422="The offer, or a field of the query, cannot be used.",
        s503="All places are taken.",
    ),
)
@needs("publish")
async def publish(server: TheServer, request: Request, wishes: Annotated[Wishes, Query()]) -> Response:
    """Publish a camera: the answer of WebRTC to an offer, and where to end it."""
    sdp = await read_text(request, SDP)
    publication, answer = await server.publish(PublishRequest(sdp, wishes.messages(), wishes.view or "", near(request)))
    session = publication.session
    response = created(answer, f"/whip/{session.id}", publication.ice, ice_servers(server.settings, session.label))
    response.headers["relight-view"] = f"/view/{session.view}"
    return response


@router.patch(
    "/whip/{session}",
    summary="Trickle candidates of a publisher, or restart ICE",
    status_code=204,
    openapi_extra=body_of(FRAGMENT, "Candidates of the publisher."),
    response_class=Response,  # of a type of its own where ICE restarts
    responses=RESTARTED
    | errors(
        s400="A candidate, or the name and password of a restart, cannot be read.",
        s404="Nothing of that name is published.",
        s412="If-Match is another ICE session.",
        s415="The content type is another one.",
        s409="ICE cannot be restarted before it is connected.",
        s413="The body is over 64 KiB.",
        s422="ICE cannot be restarted: the sections are not bundled.",
        s428="If-Match is missing.",
    ),
)
@needs("publish")
async def trickle(
    server: TheServer, request: Request, session: str, if_match: Annotated[str | None, Header()] = None
) -> Response:
    """Add candidates, or restart ICE where the fragment has another ice-ufrag: the picture goes on meanwhile."""
    publication = _publication(server, session)
    return await patched(request, if_match, publication.ice, publication)


@router.delete(
    "/whip/{session}",
    summary="End publishing",
    response_class=Response,
    responses=errors(s404="Nothing of that name is published.", s422=WRONG_PART),
)
@needs("publish")
async def unpublish(server: TheServer, session: str) -> Response:
    """End the connection and free its place."""
    await server.end(_publication(server, session).session)
    return Response()


@router.options("/whip", include_in_schema=False)
@needs(None)
async def whip_options() -> Response:
    """Says what may be posted."""
    return options("accept-post", SDP)


@router.options("/whip/{session}", include_in_schema=False)
@needs(None)
async def session_options(session: str) -> Response:
    """Says what may be patched."""
    return options("accept-patch", FRAGMENT)


@router.api_route("/whip", methods=["GET", "HEAD", "PUT", "PATCH", "DELETE"], include_in_schema=False)
@needs("publish")
async def whip_others() -> Response:
    """Refuses the methods that RFC 9725 reserves."""
    raise HTTPException(405, "use POST with an offer", headers={"allow": "POST, OPTIONS"})


@router.api_route("/whip/{session}", methods=["GET", "HEAD", "PUT", "POST"], include_in_schema=False)
@needs("publish")
async def session_others(session: str) -> Response:
    """Refuses the methods that RFC 9725 reserves."""
    raise HTTPException(
        405, "use PATCH or DELETE; to publish, POST to /whip", headers={"allow": "PATCH, DELETE, OPTIONS"}
    )


def _publication(server: Server, name: str) -> Publication:
    publication = server.publications.get(name)
    if publication is None:
        raise NoSession(f"session={name[:80]!r} is not published", "it may have ended; POST an offer to /whip")
    session_id.set(publication.session.id)
    return publication
