"""ICE candidates: those a peer trickles, and the order of our own in an answer."""

from collections.abc import Iterable
from itertools import pairwise

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from server.errors import BadMessage
from server.protocol import IceCandidate

CANDIDATE = "a=candidate:"


def is_port(port: int) -> bool:
    """True for a number that can be a port of UDP."""
    return 0 < port < 65536


def parsed_candidate(candidate: IceCandidate | None) -> RTCIceCandidate | None:
    """Returns a trickled candidate for aiortc; None for one that is no use, and for the end of candidates.

    TCP and mDNS are none: see `server.rtc.offer`. The end is not passed on either, since a peer whose candidates are
    all unusable here still reaches us by its own checks. Raises BadMessage.
    """
    if candidate is None or not candidate.candidate:
        return None
    try:
        parsed = candidate_from_sdp(candidate.candidate.removeprefix("candidate:").removeprefix(CANDIDATE))
    except (ValueError, IndexError, AssertionError) as error:
        raise BadMessage(
            f"candidate={candidate.candidate[:80]!r} is not an ICE candidate", "send it as it came"
        ) from error
    if not is_port(parsed.port):
        raise BadMessage(
            f"candidate={candidate.candidate[:80]!r} has no port between 1 and 65535", "send it as it came"
        )
    parsed.sdpMid, parsed.sdpMLineIndex = candidate.sdpMid, candidate.sdpMLineIndex
    if parsed.sdpMid is None and parsed.sdpMLineIndex is None:
        parsed.sdpMLineIndex = 0
    return None if parsed.protocol.lower() != "udp" or parsed.ip.endswith(".local") else parsed


def parsed_candidates(candidates: Iterable[IceCandidate | None]) -> list[RTCIceCandidate]:
    """Returns those of a fragment that are of use. Raises BadMessage."""
    return [parsed for each in candidates if (parsed := parsed_candidate(each)) is not None]


def with_first_candidate(answer: str, host: str) -> str:
    """Returns the answer with the candidates at address `host` before the others.

    FFmpeg's WHIP muxer tries only the first one: it should be the address at which the peer reached us over HTTP.
    """
    lines = answer.splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith(CANDIDATE)]
    sections = [place for place, line in enumerate(lines) if line.startswith("m=")] + [len(lines)]
    for start, end in pairwise(sections):
        own = [place for place in places if start < place < end]
        found = sorted((lines[place] for place in own), key=lambda line: line.split()[4] != host)
        for place, line in zip(own, found, strict=True):
            lines[place] = line
    return "".join(f"{line}\r\n" for line in lines)
