"""The page that shows a session's relit picture and nothing else, and QR codes of its address.

Viewers get picture and sound by WHEP (docs/whip.md); this is the page around it, and says nothing about who is live.
"""

import io
from typing import Annotated, Any

import segno
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from server.errors import BadMessage
from server.http.error_body import WRONG_PART, errors
from server.http.scopes import needs

# A long link still makes a code that a phone reads from a screen: version 13, 69 × 69 modules.
MAX_LINK = 300
QUIET_ZONE = 4  # modules around the code (ISO/IEC 18004)

DRAWN: dict[int | str, dict[str, Any]] = {200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}}

viewing_router = APIRouter()


@viewing_router.get("/view/{name}", include_in_schema=False)
@needs(None)
async def view(request: Request, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]) -> FileResponse:
    """Serves the viewer's page; the page itself asks /whep/{name} whether anybody is live there."""
    page = request.app.state.server.settings.client_dir / "view.html"
    if not page.is_file():
        raise HTTPException(404, "this page has no view.html")
    return FileResponse(page, media_type="text/html", headers={"cache-control": "no-store"})


@viewing_router.get(
    "/api/qr",
    tags=["view"],
    summary="QR code of a link",
    response_class=Response,
    responses=DRAWN | errors(s400="The link is not of the kind that may be drawn.", s422=WRONG_PART),
)
@needs(None)
async def qr(
    url: Annotated[str, Query(max_length=MAX_LINK, description="http or https, without a token.")],
) -> Response:
    """Draw a link as a QR code: SVG, black on white, with its quiet zone."""
    if not url.startswith(("http://", "https://")):
        raise BadMessage(f"url is {url[:60]!r}, which is no http or https address", "send the link of a viewer's page")
    if "#" in url:
        raise BadMessage("url has a fragment, where tokens stand", "send the link alone: whoever sees the code has it")
    drawn = io.BytesIO()
    segno.make_qr(url, error="m").save(
        drawn, kind="svg", border=QUIET_ZONE, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    return Response(drawn.getvalue(), media_type="image/svg+xml", headers={"cache-control": "no-store"})
