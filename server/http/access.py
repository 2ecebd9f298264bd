"""Decides who may use the server: holders of a shared token, or, where none is set, our own page and programs.

With `RELIGHT_TOKEN` set every WebSocket, upload, WHIP and WHEP request carries one of its tokens, and then any page may
send it: a token is nothing a browser adds by itself, so there is nothing to forge. Without it, Origin decides.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Literal

from server.errors import ForeignOrigin, Unauthorized
from server.http.origin import check_origin
from server.settings import Settings

Scope = Literal["control", "view", "publish"]

SUBPROTOCOL = "relight.v1"
TOKEN_PROTOCOL = "bearer."
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# What programs of other sites may read beside the page's own files: nothing in it depends on who asks.
PUBLIC = ("/sdk/", "/api/lights")
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, if-match",
    "access-control-max-age": "600",
}
EXPOSED = "location, link, etag, relight-view, www-authenticate, accept-post, accept-patch"


def check_access(headers: Mapping[str, str], settings: Settings, scope: Scope) -> None:
    """Raises Unauthorized or ForeignOrigin unless the request with these headers may do what `scope` names.

    The shared tokens admit to every scope; tokens that do not are to be told apart here.
    """
    if not settings.token:
        check_origin(headers, settings)
        return
    given = presented_token(headers)
    if given is None:
        raise Unauthorized(f"a token is needed to {WORDS[scope]}", HINT)
    # Every token is compared, so that the time taken says nothing about which one was nearly right.
    if not any([hmac.compare_digest(given.encode(), token.get_secret_value().encode()) for token in settings.token]):
        raise Unauthorized(f"the token does not admit you to {WORDS[scope]}", HINT)


WORDS: dict[Scope, str] = {
    "control": "use this server",
    "view": "view on this server",
    "publish": "publish to this server",
}
HINT = "send `Authorization: Bearer TOKEN` with a token of the server's RELIGHT_TOKEN; pages take it as #token=TOKEN"


def presented_token(headers: Mapping[str, str]) -> str | None:
    """Returns the token a request carries: as Bearer (RFC 6750), or as a WebSocket's subprotocol; None without one."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    offered = next((each for each in subprotocols(headers) if each.startswith(TOKEN_PROTOCOL)), None)
    if offered is None:
        return None
    encoded = offered.removeprefix(TOKEN_PROTOCOL)
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""  # no token is empty, so it is refused as a wrong one


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """Returns the subprotocols that a WebSocket's client offers."""
    return [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",") if each.strip()]


def chosen_subprotocol(headers: Mapping[str, str]) -> str | None:
    """Returns the subprotocol that the server answers; a browser that offered some closes where none is chosen."""
    return SUBPROTOCOL if SUBPROTOCOL in subprotocols(headers) else None


def scope_needed(method: str, path: str) -> Scope | None:
    """Returns the scope that an HTTP request needs; None for what anybody may read.

    ICE servers are guarded too, since those of TURN come with a password.
    """
    if path == "/whep" or path.startswith("/whep/"):
        return "view" if method != "OPTIONS" else None
    if path == "/whip" or path.startswith("/whip/"):
        return "publish" if method != "OPTIONS" else None
    if path == "/api/ice":
        return "view"
    return None if method in SAFE_METHODS else "control"


def cors_headers(headers: Mapping[str, str], path: str, settings: Settings) -> dict[str, str]:
    """Returns the headers that let a page of another origin read the answer (Fetch, section 3.3).

    With tokens any page may, for whoever has one; refusals are readable as well. No cookie is ever used.
    """
    origin = headers.get("origin")
    if origin is None:
        return {}
    if any(path.startswith(public) for public in PUBLIC):
        return {"access-control-allow-origin": "*"}
    if not settings.token:
        try:
            check_origin(headers, settings)
        except ForeignOrigin:
            return {"vary": "origin"}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED, "vary": "origin"}


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """True for the question a browser asks before a request of another origin (Fetch, section 3.3.4)."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
