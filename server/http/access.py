"""Decides who may use the server: holders of a token, or, where none is asked for, our own page and programs.

Tokens are shared secrets (`RELIGHT_TOKEN`), which admit to everything, or signed ones (`server.security.tokens`), which
admit to the scopes they name until they expire. With a token any page may send a request: it is nothing that a browser
adds by itself, so there is nothing to forge. Where no token is asked for, Origin decides.
"""

import base64
import hmac
import logging
import time
from collections.abc import Callable, Mapping

from server.errors import Unauthorized
from server.http.guesses import GuessLimit
from server.http.origin import check_local, check_origin
from server.security.grant import EVERYTHING, GRANTABLE, WORDS, Grant, Scope
from server.security.secret import signing_key
from server.security.tokens import SignedToken, TokenSigner
from server.settings import Settings

logger = logging.getLogger(__name__)

SUBPROTOCOL = "relight.v1"
TOKEN_PROTOCOL = "bearer."
HINT = "send `Authorization: Bearer TOKEN` with a token of this server; pages take it as #token=TOKEN"
ENTRY_S = 3600  # the link printed at the start waits so long for its one use
SESSION_S = 12 * 3600  # for which it is exchanged


class AccessControl:
    """Decides on every request and signs the tokens of one server. Raises StateError where its key cannot be kept."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.guesses = GuessLimit()
        self._settings = settings
        self._clock = clock
        self._signer = TokenSigner(signing_key(settings))
        self._entries: set[str] = set()  # ids of the links that were made for one use and had none yet

    @property
    def asks(self) -> bool:
        """True where a request needs a token."""
        return self._settings.asks_for_tokens

    def check(self, headers: Mapping[str, str], scope: Scope, *, address: str = "", view: str | None = None) -> Grant:
        """Returns what the request with these headers may do, once it is clear that it may do what `scope` names.

        `address` is where it comes from; `view` the viewing name it is about, if any. Raises Unauthorized, Forbidden,
        TooFast, ForeignOrigin, and for `operate` Forbidden from another machine without a token.
        """
        if not self.asks:
            check_origin(headers, self._settings)
            if scope == "operate":
                check_local(headers, address)
            return EVERYTHING
        given = presented_token(headers)
        if given is None:
            raise Unauthorized(f"a token is needed to {WORDS[scope]}", HINT)
        signed = self._signer.read(given)
        if signed is None:
            return self._shared(given, scope, address)
        grant, id = signed
        grant.require(scope, view)
        if scope == "join":
            self._enter(id)
        return grant

    def issue(self, scopes: tuple[Scope, ...], for_s: float, *, view: str | None = None) -> SignedToken:
        """Returns a signed token that this server admits for `for_s` seconds."""
        return self._signer.issue(scopes, for_s, view=view)

    def entry_token(self) -> str:
        """Returns a token that is exchanged, once, for one of all scopes (`POST /api/token`)."""
        token = self.issue(("join",), ENTRY_S)
        self._entries.add(token.id)
        return token.text

    def session_token(self) -> SignedToken:
        """Returns the token that is given for such a link."""
        return self.issue(GRANTABLE, SESSION_S)

    def _shared(self, given: str, scope: Scope, address: str) -> Grant:
        now_s = self._clock()
        self.guesses.check(address, now_s)
        tokens = [token.get_secret_value().encode() for token in self._settings.token]
        # Every token is compared, so that the time taken says nothing about which one was nearly right.
        if any([hmac.compare_digest(given.encode(), token) for token in tokens]):
            return EVERYTHING
        if self.guesses.wrong(address, now_s):
            logger.warning("%s sent too many wrong tokens", address or "somebody")
        raise Unauthorized(f"the token does not admit you to {WORDS[scope]}", HINT)

    def _enter(self, id: str) -> None:
        if id not in self._entries:
            raise Unauthorized(
                "this link was used already", "start the server again, or run `relight token`, for another one"
            )
        self._entries.discard(id)


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
    except ValueError:  # no base64, no ASCII, or no UTF-8 in it
        return ""  # no token is empty, so it is refused as a wrong one


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """Returns the subprotocols that a WebSocket's client offers."""
    return [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",") if each.strip()]


def chosen_subprotocol(headers: Mapping[str, str]) -> str | None:
    """Returns the subprotocol that the server answers; a browser that offered some closes where none is chosen."""
    return SUBPROTOCOL if SUBPROTOCOL in subprotocols(headers) else None
