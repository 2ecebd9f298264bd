"""Durations of tokens, and what is no token at all."""

import base64

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.errors import BadMessage, TooFast, Unauthorized
from server.http.access import AccessControl
from server.security.grant import GRANTABLE
from server.security.tokens import MAX_LENGTH, TokenSigner, seconds_of
from server.settings import Settings

KEY = b"0123456789abcdef0123456789abcdef"
CLAIMS = {"aud": "relight", "jti": "x", "iat": 0, "exp": 2**33, "scope": "view"}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), (" 7d ", 604800)])
def test_durations_are_read(text: str, seconds: int) -> None:
    """A number and its unit."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "h", "-1h", "0s", "1.5h", "367d", "9999999999s", "1h1m", "١h" * 2])
def test_other_durations_are_errors(text: str) -> None:
    """The text and the remedy are named."""
    with pytest.raises(BadMessage, match="is no duration") as found:
        seconds_of(text)
    assert "30m" in found.value.hint


@pytest.mark.parametrize(
    "change",
    [{"aud": "other"}, {"aud": None}, {"jti": None}, {"iat": None}, {"exp": None}, {"scope": None}, {"view": 5}],
)
def test_a_token_without_its_claims_is_none_of_ours(change: dict) -> None:
    """Also where the signature is right; one that has all is read."""
    signer = TokenSigner(KEY)
    whole = signer.read(jwt.encode(CLAIMS, KEY, "HS256"))
    assert whole is not None
    assert whole[0].scopes == {"view"}
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    assert signer.read(jwt.encode(claims, KEY, "HS256")) is None


def test_other_algorithms_keys_and_lengths_are_none_of_ours() -> None:
    """HS256 alone; a token of megabytes is not even decoded."""
    signer = TokenSigner(KEY)
    assert signer.read(jwt.encode(CLAIMS, KEY * 2, "HS512")) is None
    assert signer.read(jwt.encode(CLAIMS, None, "none")) is None
    assert signer.read(jwt.encode({**CLAIMS, "sub": "x" * MAX_LENGTH}, KEY, "HS256")) is None
    for text in ("", "..", "a.b.c", "é.é.é"):
        assert signer.read(text) is None


def test_scopes_that_nobody_knows_admit_to_nothing() -> None:
    """A token of a later version does not reach further here."""
    signer = TokenSigner(KEY)
    found = signer.read(jwt.encode({**CLAIMS, "scope": "admin view viewer"}, KEY, "HS256"))
    assert found is not None
    assert found[0].scopes == {"view"}
    assert "join" not in GRANTABLE


ASKING = AccessControl(Settings(secret=KEY.decode(), token=["shared"]))


@given(st.one_of(st.text(st.characters(max_codepoint=255)), st.lists(st.binary(), min_size=3, max_size=3)))
@example("\udc80".encode("utf-8", "surrogatepass").decode("latin-1"))
def test_no_header_does_more_than_be_refused(given: str | list[bytes]) -> None:
    """Whatever stands in the headers, as text of latin-1 or as three parts of base64: an error in words."""
    encoded = (
        given
        if isinstance(given, str)
        else ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in given)
    )
    for headers in (
        {"authorization": f"Bearer {encoded}"},
        {"authorization": encoded},
        {"sec-websocket-protocol": f"relight.v1, bearer.{encoded}"},
    ):
        with pytest.raises((Unauthorized, TooFast)):
            ASKING.check(headers, "control")
