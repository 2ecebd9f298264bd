"""server.rtc.transport.srtp: pylibsrtp's results, with the interpreter's lock held."""

import os

import pylibsrtp
import pytest
from pylibsrtp import Policy, Session

from server.rtc.transport.srtp import LiveSession

PROFILES = {
    "AES-128 GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AES-256 GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
    "AES-128 CM": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
}


def packet(number: int, size: int = 900) -> bytes:
    """An RTP packet."""
    return bytes((0x80, 96)) + number.to_bytes(2, "big") + bytes(8) + os.urandom(size)


def report() -> bytes:
    """A receiver report of RTCP."""
    return bytes((0x81, 201, 0, 7)) + os.urandom(28)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_bytes_are_pylibsrtps(profile: str) -> None:
    """What ours protects is what pylibsrtp's makes of it, and either opens the other's, RTP and RTCP."""
    number, length = PROFILES[profile]
    key = os.urandom(length)

    def policy(kind: int) -> Policy:
        return Policy(key=key, ssrc_type=kind, srtp_profile=number)

    theirs, ours = (make(policy(Policy.SSRC_ANY_OUTBOUND)) for make in (Session, LiveSession))
    their_ear, our_ear = (make(policy(Policy.SSRC_ANY_INBOUND)) for make in (Session, LiveSession))
    for index in range(20):
        plain = packet(index, index * 60)
        sealed = theirs.protect(plain)
        assert ours.protect(plain) == sealed != plain
        assert our_ear.unprotect(sealed) == their_ear.unprotect(sealed) == plain
        plain = report()
        sealed = theirs.protect_rtcp(plain)
        assert ours.protect_rtcp(plain) == sealed
        assert our_ear.unprotect_rtcp(sealed) == their_ear.unprotect_rtcp(sealed) == plain


def test_what_is_forged_or_repeated_is_refused_alike() -> None:
    """The same errors as pylibsrtp's, and the session goes on."""
    key = os.urandom(28)
    sender = Session(
        Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    )
    policy = Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    sealed = sender.protect(packet(1))
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    told = []
    for session in (Session(policy), LiveSession(policy)):
        with pytest.raises(pylibsrtp.Error) as first:
            session.unprotect(forged)
        session.unprotect(sealed)
        with pytest.raises(pylibsrtp.Error) as second:
            session.unprotect(sealed)
        told.append((str(first.value), str(second.value)))
    assert told[0] == told[1]


def test_what_is_no_packet_is_refused() -> None:
    """Neither something else than bytes nor more than a datagram gets as far as the library."""
    session = LiveSession(Policy(key=os.urandom(30), ssrc_type=Policy.SSRC_ANY_OUTBOUND))
    with pytest.raises(TypeError):
        session.protect("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too long"):
        session.protect(packet(1, 5000))
