"""Links that let people in and expire: a participant's link for viewers, and the exchange of the operator's own."""

import io
from urllib.parse import quote, urljoin

import segno
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from server.errors import NoSession
from server.http.access import AccessControl
from server.http.error_body import WRONG_PART, errors
from server.http.routes import TheServer
from server.http.scopes import needs

router = APIRouter(tags=["links"])

LONGEST_S = 7 * 86400
REFUSED = {"s401": "The token is missing, wrong or was used already.", "s403": "The token does not reach so far."}


class LinkRequest(BaseModel):
    """The link that a participant wants for viewers."""

    model_config = ConfigDict(extra="forbid")

    session: str = Field(max_length=64, description="The session's name, from its welcome.")
    for_s: int = Field(3600, ge=60, le=LONGEST_S, description="How long viewers may come in by it, in seconds.")
    base: str | None = Field(
        None,
        max_length=200,
        pattern=r"^https?://[^\s#?]+$",
        description="The page's own address, where a proxy gives it another one than this request has.",
    )


class LinkBody(BaseModel):
    """A link for viewers."""

    url: str
    qr: str = Field(description="The link as a QR code, SVG.")
    token: str | None = Field(description="In the link's fragment; null where the server asks for none.")
    expires_s: int | None = Field(description="Unix time; null where the link lasts as long as the viewing name.")


class TokenBody(BaseModel):
    """A token of its own for whoever opened the operator's link."""

    token: str
    expires_s: int = Field(description="Unix time.")


@router.post(
    "/api/links",
    summary="Link for viewers",
    responses=errors(**REFUSED, s400="The body is no JSON.", s404="There is no such session.", s422=WRONG_PART),
)
@needs("control")
async def make_link(server: TheServer, request: Request, wanted: LinkRequest) -> LinkBody:
    """Make a link that shows this session's picture to whoever has it, until it expires."""
    # The name is as secret as the socket: nobody shares a picture that is not theirs.
    if (session := server.sessions.get(wanted.session)) is None:
        raise NoSession("there is no session of this name", "send the name in the welcome of your WebSocket")
    access: AccessControl = request.app.state.access
    token = access.issue(("view",), wanted.for_s, view=session.view) if access.asks else None
    url = link_to(wanted.base or str(request.base_url), token.text if token else "", session.view)
    return LinkBody(
        url=url, qr=qr_code(url), token=token.text if token else None, expires_s=token.expires_s if token else None
    )


@router.post("/api/token", summary="Exchange of the link printed at the start", responses=errors(**REFUSED))
@needs("join")
async def join(request: Request) -> TokenBody:
    """Exchange the token of the link that the server printed, once, for one that lasts twelve hours."""
    access: AccessControl = request.app.state.access
    token = access.session_token()
    return TokenBody(token=token.text, expires_s=token.expires_s)


def link_to(base: str, token: str = "", view: str | None = None) -> str:
    """Returns the address of the page at `base`, or of a viewer's page, with a token in the fragment."""
    page = base if base.endswith("/") else f"{base}/"
    if view is not None:
        page = urljoin(page, f"view/{quote(view, safe='')}")
    return f"{page}#token={quote(token, safe='')}" if token else page


def qr_code(url: str) -> str:
    """Returns a link as a QR code: SVG, black on white, with its quiet zone (ISO/IEC 18004)."""
    drawn = io.BytesIO()
    segno.make_qr(url, error="m").save(
        drawn,
        kind="svg",
        border=4,
        dark="#000",
        light="#fff",
        xmldecl=False,
        omitsize=True,
        svgclass=None,
        lineclass=None,
    )
    return drawn.getvalue().decode()
