"""The ICE session behind an HTTP resource of WHIP or WHEP, and the fragments of SDP that are patched into it."""

import re
import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from server.errors import BadMessage, Conflict, UnusableOffer
from server.protocol import IceCandidate

MAX_CANDIDATES = 64  # of a fragment: each is paired with every address of ours
TRICKLE_ONLY = "this server trickles candidates; to restart ICE, connect anew"


class SdpFragment(NamedTuple):
    """A fragment of SDP with ICE candidates (RFC 8840, section 9)."""

    ufrag: str | None
    candidates: list[IceCandidate | None]  # None: there are no more

    @classmethod
    def parse(cls, text: str) -> "SdpFragment":
        """Returns what `text` holds; each candidate belongs to the section it stands in. Raises BadMessage."""
        ufrag: str | None = None
        mid: str | None = None
        section = -1
        found: list[IceCandidate | None] = []
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if line.startswith("m="):
                section, mid = section + 1, None
            elif key == "a=ice-ufrag":
                ufrag = ufrag or value.strip()
            elif key == "a=mid":
                mid = value.strip()
            elif key == "a=candidate":
                place = None if mid is not None else max(section, 0)
                found.append(IceCandidate(candidate=f"candidate:{value}", sdpMid=mid, sdpMLineIndex=place))
            elif line.strip() == "a=end-of-candidates":
                found.append(None)
            elif line.strip() and not re.match(r"[a-z]=", line):
                raise BadMessage(f"{line[:80]!r} is no line of SDP", "send application/trickle-ice-sdpfrag (RFC 8840)")
        if len(found) > MAX_CANDIDATES:
            raise BadMessage(f"the fragment has {len(found)} candidates", f"send at most {MAX_CANDIDATES} at once")
        return cls(ufrag, found)


def ufrag_of(sdp: str) -> str:
    """Returns the ICE user name fragment of an offer, "" where it has none."""
    found = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)
    return found.group(1) if found else ""


@dataclass
class IceSession:
    """The ICE session of one HTTP resource, of a publisher or a viewer; it is never restarted (aiortc cannot)."""

    ufrag: str
    etag: str = field(default_factory=lambda: f'"{secrets.token_hex(8)}"')

    def check(self, if_match: str | None, fragment: SdpFragment) -> None:
        """Raises Conflict (412, 428) unless a PATCH is of this ICE session, UnusableOffer (422) for a restart.

        RFC 9725, section 4.3: a restart that cannot be is refused, and the session goes on as it is.
        """
        if if_match is None:
            raise Conflict("the If-Match header is missing", "send the ETag of the answer to POST", 428)
        restarts = fragment.ufrag is not None and fragment.ufrag != self.ufrag
        if restarts:
            raise UnusableOffer("ICE cannot be restarted here", TRICKLE_ONLY)
        if if_match.strip() not in ("*", self.etag) and self.etag not in if_match:
            raise Conflict(f"If-Match={if_match[:80]!r} is another ICE session", "send the newest ETag", 412)
