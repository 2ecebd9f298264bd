"""The STUN and TURN servers that one participant, viewer or our own side is told to use.

Those of `RELIGHT_ICE_SERVERS` are handed on as they are. With `RELIGHT_TURN_URLS` each gets a password of its own that
expires, so that nobody relays for ever at the operator's cost: draft-uberti-behave-turn-rest-00, as coturn checks it
with `use-auth-secret` and the same `static-auth-secret`. No state is shared with the TURN server but the secret.
"""

import base64
import hashlib
import hmac
import time

from server.settings import IceServer, Settings


def ice_servers(settings: Settings, name: str, now_s: float | None = None) -> list[IceServer]:
    """Returns the ICE servers for `name`, which the TURN server's log shows; `now_s` is Unix time, now by default."""
    servers = list(settings.ice_servers)
    if settings.turn_urls and settings.turn_secret is not None:
        expiry_s = int((time.time() if now_s is None else now_s) + settings.turn_ttl_s)
        username = f"{expiry_s}:{name}"
        secret = settings.turn_secret.get_secret_value()
        servers.append(
            {"urls": settings.turn_urls, "username": username, "credential": turn_password(secret, username)}
        )
    return servers


def turn_password(secret: str, username: str) -> str:
    """Returns the password of `username`: base64(HMAC-SHA1(secret, username)), section 2.2 of the draft."""
    return base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()
