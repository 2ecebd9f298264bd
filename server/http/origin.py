"""Checks the page a request comes from: the server's own pages and listed origins may use it, other sites may not.

A browser sends Origin with every WebSocket and POST; a program sends none and is admitted. Listening on loopback, the
Host must be a loopback name too: otherwise a foreign name pointed at 127.0.0.1 would count as our own page.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from server.errors import Forbidden, ForeignOrigin
from server.security.addresses import is_loopback
from server.settings import Settings

# Our browser extension's: the id follows from the `key` in client_web/extension/manifest.json. No page has this origin.
EXTENSION_ORIGIN = "chrome-extension://gfdfnmlibjgdahiafelbodlgannbjbcm"


def check_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """Raises ForeignOrigin unless the request comes from our page or extension, a listed origin or no page at all."""
    origin = headers.get("origin")
    if (
        origin is None
        or origin == EXTENSION_ORIGIN
        or "*" in settings.allowed_origins
        or origin in settings.allowed_origins
    ):
        return
    host = headers.get("host", "")
    # A proxy that ends TLS changes the scheme but not the host, so the scheme is not compared.
    own = urlsplit(origin).netloc.lower() == host.lower() != ""
    if not own or (is_loopback(settings.host) and not is_loopback(urlsplit(f"//{host}").hostname or "")):
        raise ForeignOrigin(
            f"pages of {origin[:100]} may not use this server",
            "list the origin in RELIGHT_ALLOWED_ORIGINS on the server",
        )


def check_local(headers: Mapping[str, str], address: str) -> None:
    """Raises Forbidden unless a request from `address` was made on this machine, to it by a name of its own.

    What a proxy passes on comes from elsewhere, whatever its address. The Host keeps out pages whose name leads here.
    """
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    passed_on = any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
    if passed_on or not is_loopback(address) or not is_loopback(host):
        raise Forbidden(
            "without a token only this machine may ask that",
            "ask http://127.0.0.1 on the server itself, or use a token",
        )
