"""CORS: which pages of other origins may read an answer (Fetch, section 3.3). No cookie is ever used."""

from collections.abc import Mapping

from server.errors import ForeignOrigin
from server.http.origin import check_origin
from server.settings import Settings

# What programs of other sites may read beside the page's own files: nothing in it depends on who asks.
PUBLIC = ("/sdk/", "/api/lights")
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, if-match",
    "access-control-max-age": "600",
}
EXPOSED = "location, link, etag, relight-view, www-authenticate, accept-post, accept-patch"


def cors_headers(headers: Mapping[str, str], path: str, settings: Settings) -> dict[str, str]:
    """Returns the headers that let a page of another origin read the answer.

    With tokens any page may, for whoever has one; refusals are readable as well.
    """
    origin = headers.get("origin")
    if origin is None:
        return {}
    if any(path.startswith(public) for public in PUBLIC):
        return {"access-control-allow-origin": "*"}
    if not settings.asks_for_tokens:
        try:
            check_origin(headers, settings)
        except ForeignOrigin:
            return {"vary": "origin"}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED, "vary": "origin"}


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """True for the question a browser asks before a request of another origin (Fetch, section 3.3.4)."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
