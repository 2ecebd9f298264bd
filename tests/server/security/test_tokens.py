"""Durations of tokens, and what is no token at all."""

import jwt
import pytest

from server.errors import BadMessage
from server.security.grant import GRANTABLE
from server.security.tokens import MAX_LENGTH, TokenSigner, seconds_of

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
