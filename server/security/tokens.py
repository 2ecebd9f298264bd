"""Signed tokens that expire: JSON Web Tokens (RFC 7519) with HS256, by PyJWT.

Claims: `aud` (always relight), `jti`, `iat`, `exp`, `scope` (names with spaces between, RFC 8693), and optional `nbf`,
`view` (the one viewing name it is for) and `sub` (a person's name, for whoever reads the token).
"""

import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jwt

from server.errors import BadMessage, Unauthorized
from server.security.grant import SCOPES, Grant, Scope

ALGORITHM = "HS256"
AUDIENCE = "relight"
MAX_LENGTH = 2048  # of a token that is worth reading
LEEWAY_S = 10.0  # two machines' clocks may differ by so much
LONGEST_S = 366 * 86400
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that was made here."""

    text: str
    id: str
    expires_s: int  # Unix time


class TokenSigner:
    """Makes tokens with one key and knows its own again."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(
        self, scopes: Collection[Scope], for_s: float, *, view: str | None = None, name: str | None = None
    ) -> SignedToken:
        """Returns a token for `for_s` seconds from now."""
        now_s = int(time.time())
        id, expires_s = secrets.token_urlsafe(9), now_s + int(for_s)
        claims: dict[str, Any] = {
            "aud": AUDIENCE,
            "jti": id,
            "iat": now_s,
            "exp": expires_s,
            "scope": " ".join(sorted(scopes)),
        }
        claims |= {key: value for key, value in (("view", view), ("sub", name)) if value is not None}
        return SignedToken(jwt.encode(claims, self._key, ALGORITHM), id, expires_s)

    def read(self, token: str) -> tuple[Grant, str] | None:
        """Returns the grant and the id of a token of ours, None for any other text.

        Raises Unauthorized for one of ours that has expired or is not valid yet.
        """
        if token.count(".") != 2 or len(token) > MAX_LENGTH:
            return None
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "jti", "scope"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired", "ask whoever gave you the link for a new one") from None
        except jwt.ImmatureSignatureError:
            raise Unauthorized("the token is not valid yet", "wait, or set the clock of whoever made it") from None
        except jwt.InvalidTokenError:
            return None
        named = str(claims["scope"]).split()
        view = claims.get("view")
        if view is not None and not isinstance(view, str):
            return None
        return Grant(frozenset(scope for scope in SCOPES if scope in named), view), claims["jti"]


def seconds_of(text: str) -> int:
    """Returns the seconds of a duration such as `90s`, `30m`, `12h` or `7d`. Raises BadMessage."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    length_s = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= length_s <= LONGEST_S:
        raise BadMessage(f"{text[:40]!r} is no duration up to {LONGEST_S // 86400} days", "write 90s, 30m, 12h or 7d")
    return length_s
