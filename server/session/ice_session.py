"""The ICE session behind an HTTP resource of WHIP or WHEP, and the fragments of SDP that are patched into it."""

import re
import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from server.errors import BadMessage, Conflict
from server.protocol import IceCandidate

UFRAG = r"[A-Za-z0-9+/]{4,256}"
PASSWORD = r"[A-Za-z0-9+/]{22,256}"
MAX_CANDIDATES = 64  # of a fragment: each is paired with every address of ours


class SdpFragment(NamedTuple):
    """A fragment of SDP with ICE candidates (RFC 8840, section 9)."""

    ufrag: str | None
    password: str | None
    candidates: list[IceCandidate | None]  # None: there are no more

    @classmethod
    def parse(cls, text: str) -> "SdpFragment":
        """Returns what `text` holds; each candidate belongs to the section it stands in. Raises BadMessage."""
        ufrag: str | None = None
        password: str | None = None
        mid: str | None = None
        section = -1
        found: list[IceCandidate | None] = []
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if line.startswith("m="):
                section, mid = section + 1, None
            elif key == "a=ice-ufrag":
                ufrag = ufrag or value.strip()
            elif key == "a=ice-pwd":
                password = password or value.strip()
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
        return cls(ufrag, password, found)


def _new_etag() -> str:
    return f'"{secrets.token_hex(8)}"'


def ufrag_of(sdp: str) -> str:
    """Returns the ICE user name fragment of an offer, "" where it has none."""
    found = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)
    return found.group(1) if found else ""


@dataclass
class IceSession:
    """The ICE session of one HTTP resource, of a publisher or a viewer, until the other side restarts it."""

    ufrag: str
    etag: str = field(default_factory=_new_etag)

    def check(self, if_match: str | None, fragment: SdpFragment) -> bool:
        """Returns True where a PATCH asks for a restart, False where it brings candidates of this ICE session.

        Raises Conflict (412, 428) for one of another ICE session, BadMessage for a restart that cannot be read
        (RFC 9725, section 4.3).
        """
        if if_match is None:
            raise Conflict("the If-Match header is missing", "send the ETag of the answer to POST", 428)
        if if_match.strip() not in ("*", '"*"', self.etag) and self.etag not in if_match:
            raise Conflict(f"If-Match={if_match[:80]!r} is another ICE session", "send the newest ETag", 412)
        restarts = fragment.ufrag is not None and fragment.ufrag != self.ufrag
        if restarts:
            for name, value, pattern in (("ufrag", fragment.ufrag, UFRAG), ("pwd", fragment.password, PASSWORD)):
                if not re.fullmatch(pattern, value or ""):
                    raise BadMessage(
                        f"a=ice-{name}:{(value or '')[:80]} is none (RFC 8839, section 5.4)", "send both as they came"
                    )
        return restarts

    def restarted(self, ufrag: str) -> None:
        """Goes on as another ICE session, of the other side's user name fragment."""
        self.ufrag, self.etag = ufrag, _new_etag()
