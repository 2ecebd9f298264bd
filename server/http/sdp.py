"""Parts that WHIP (RFC 9725) and WHEP share: offers and fragments in, answers out, with the headers they ask for."""

from collections.abc import Iterable
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response

from server.errors import TooLarge, WrongType
from server.protocol import IceCandidate
from server.session.ice_session import IceSession, SdpFragment
from server.settings import IceServer

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_BYTES = 64 * 1024  # as of an offer on the WebSocket


class SdpResponse(Response):
    """A session description."""

    media_type = SDP


ANSWER = {"type": "string", "description": "A session description (RFC 8866) with all of the server's candidates."}
RESTARTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "ICE restarts: the server's side. Header: ETag.",
        "content": {FRAGMENT: {"schema": {"type": "string", "description": "A fragment of SDP (RFC 8840)."}}},
    }
}
ANSWERED: dict[int | str, dict[str, Any]] = {201: {"content": {SDP: {"schema": ANSWER}}}}


def body_of(media_type: str, description: str) -> dict[str, Any]:
    """Returns OpenAPI's description of a request's body of text."""
    content = {media_type: {"schema": {"type": "string", "description": description}}}
    return {"requestBody": {"required": True, "content": content}}


async def read_text(request: Request, media_type: str) -> str:
    """Returns the body of a request. Raises WrongType unless it is of `media_type`, TooLarge over MAX_BYTES."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise WrongType(f"Content-Type={given[:80]!r} cannot be used here", f"send {media_type}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise TooLarge(f"the body is over {MAX_BYTES // 1024} KiB", f"send {media_type} as your library made it")
    return body.decode(errors="replace")


def near(request: Request) -> str:
    """Returns our own address at which this request came in, "" where it is not known."""
    server = request.scope.get("server")
    return str(server[0]) if server else ""


def created(answer: str, location: str, ice: IceSession, servers: Iterable[IceServer]) -> SdpResponse:
    """Returns 201 with the answer, where it may be changed and ended, its ICE session and STUN and TURN `servers`."""
    response = SdpResponse(answer, 201, headers={"location": location, "etag": ice.etag})
    for link in ice_links(servers):
        response.headers.append("link", link)
    return response


def ice_links(servers: Iterable[IceServer]) -> list[str]:
    """Returns the ICE servers as Link headers (RFC 9725, section 4.6)."""
    links = []
    for server in servers:
        urls = server["urls"]
        for url in [urls] if isinstance(urls, str) else urls:
            link = f'<{url}>; rel="ice-server"'
            if "username" in server:
                link += f"; username={_quoted(server['username'])}; credential={_quoted(server.get('credential', ''))}"
                link += '; credential-type="password"'
            links.append(link)
    return links


class Restartable(Protocol):
    """What has an ICE session: a published session, or a viewer."""

    async def add_candidate(self, candidate: IceCandidate | None) -> None: ...

    async def restart_ice(self, ufrag: str, password: str, candidates: list[IceCandidate | None]) -> str: ...


async def patched(request: Request, if_match: str | None, ice: IceSession, target: Restartable) -> Response:
    """Carries out a PATCH: 204 for candidates, 200 with our side of a restart and the new ETag (RFC 9725, 4.3).

    Raises WrongType, TooLarge, BadMessage, Conflict, UnusableOffer; the media then go on as they are.
    """
    fragment = SdpFragment.parse(await read_text(request, FRAGMENT))
    if ice.check(if_match, fragment):
        ufrag, password = fragment.ufrag or "", fragment.password or ""  # both are there, or check had raised
        ours = await target.restart_ice(ufrag, password, fragment.candidates)
        ice.restarted(ufrag)
        return Response(ours, 200, headers={"etag": ice.etag}, media_type=FRAGMENT)
    for candidate in fragment.candidates:
        await target.add_candidate(candidate)
    return Response(status_code=204)


def options(accept: str, media_type: str) -> Response:
    """Returns the answer to OPTIONS; `accept` is accept-post or accept-patch."""
    return Response(status_code=204, headers={accept: media_type})


def _quoted(text: Any) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
