"""An offer as it comes (SDP of any browser or library) → an offer that aiortc 1.16 can answer, or a BadOffer in words.

aiortc wants every media section whole, as browsers write it. RFC 8843 lets an offerer with max-bundle write a section
with port 0 and `a=bundle-only`, and the lines of the transport only in the first section of the bundle; RFC 8866
(section 6.7) lets it leave the direction out, or write it once for all sections; RFC 3264 (section 5.1) lets it offer a
section with port 0 that is to stay unused. What was left out is written out here.
"""

import re

from aiortc.codecs import CODECS, is_rtx
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import DIRECTIONS, MediaDescription, SessionDescription

from server.errors import BadOffer, UnusableOffer
from server.rtc.candidates import is_port

KINDS = (*CODECS, "application")  # of sections: what aiortc can answer
MAX_SECTIONS = 8
MID = "a=mid:"
# RFC 8843, section 7.1.3: of a bundle these stand in the section of the first mid alone (categories of RFC 8859).
TRANSPORT = ("ice-ufrag", "ice-pwd", "ice-options", "fingerprint", "setup", "rtcp-mux")
UNDERSTOOD = {"video": "VP8, or H264 Baseline with packetization-mode 1", "audio": "opus, G722, PCMU or PCMA"}

Section = list[str]  # lines, the first is m=


def checked_offer(sdp: str) -> str:
    """Returns a participant's offer for aiortc, without candidates that are no use. Raises BadOffer, UnusableOffer."""
    return _checked(sdp, "sends", ("sendrecv", "sendonly"), "make the video transceiver sendrecv or sendonly")


def checked_viewer_offer(sdp: str) -> str:
    """Returns a viewer's offer for aiortc, without candidates that are no use. Raises BadOffer, UnusableOffer."""
    return _checked(sdp, "receives", ("sendrecv", "recvonly"), "make the video transceiver recvonly")


def _checked(sdp: str, verb: str, directions: tuple[str, ...], remedy: str) -> str:
    """Returns `sdp` completed, with a video section of one of `directions` and a codec of ours.

    TCP is not spoken by aiortc; mDNS names would cost a second each to resolve, and the peer's own checks, which come
    from its real address, do the same job. For their sake the end of candidates is no end either.
    """
    sdp = completed("\n".join(line for line in sdp.splitlines() if not _useless(line)))
    try:
        if not sdp.startswith("v="):  # aiortc takes any text for a description without sections
            raise ValueError
        description = SessionDescription.parse(sdp)
    except Exception as error:  # aiortc's parser has no error of its own
        raise BadOffer("the offer is not SDP", "send RTCSessionDescription.sdp unchanged") from error
    used = [media for media in description.media if media.port != 0]
    video = [media for media in used if media.kind == "video"]
    if not video:
        raise UnusableOffer("the offer has no video", "add a video section (transceiver) before createOffer")
    if not any(media.direction in directions for media in video):
        raise UnusableOffer(f"the offer {verb} no video", remedy)
    if len(description.media) > MAX_SECTIONS:
        raise UnusableOffer(
            f"the offer has {len(description.media)} media sections", "offer one video and at most one audio"
        )
    unknown = next((media.kind for media in description.media if media.kind not in KINDS), None)
    if unknown is not None:
        raise UnusableOffer(f"the offer has a section m={unknown[:40]!r}", "offer one video and at most one audio")
    mids = [media.rtp.muxId for media in description.media if media.rtp.muxId]
    if len(set(mids)) < len(mids):
        raise BadOffer(f"two sections of the offer have the same a=mid ({', '.join(mids)})", "name each differently")
    for media in description.media:
        if media.ice is None or media.ice.usernameFragment is None or media.ice.password is None:
            raise BadOffer("the offer has no ICE credentials", "send RTCSessionDescription.sdp unchanged")
        if media.dtls is None or not media.dtls.fingerprints:
            raise BadOffer("the offer has no DTLS fingerprint", "send RTCSessionDescription.sdp unchanged")
        _check_codecs(media)
    return sdp


def completed(sdp: str) -> str:
    """Returns `sdp` with every section's transport, direction and port written out; what is not SDP stays as it is."""
    session, sections = _sections(sdp)
    for section in sections:
        _keep_one_mid(section)
    session = _bundle_of_present(session, sections)
    first = _first_of_bundle(session, sections)
    direction = next((name for name in DIRECTIONS if f"a={name}" in session), "sendrecv")
    for section in sections:
        if not any(f"a={name}" in section for name in DIRECTIONS):
            section.append("a=inactive" if _rejected(section) else f"a={direction}")
        if first is not None and (_mid(section) in _bundle(session) or _rejected(section)):
            section += _missing_transport(session, section, first)
        if "a=bundle-only" in section:
            section.remove("a=bundle-only")
            section[0] = re.sub(r"^(m=\S+) 0 ", r"\1 9 ", section[0])
    return _joined(session, sections)


def _keep_one_mid(section: Section) -> None:
    """Removes all but the first name of a section."""
    named = [line for line in section if line.startswith(MID)]
    for line in reversed(named[1:]):
        del section[len(section) - 1 - section[::-1].index(line)]


def _bundle_of_present(session: list[str], sections: list[Section]) -> list[str]:
    """Returns the session's lines with those mids alone in the BUNDLE group that a section has (RFC 9143, 7.2)."""
    present = [_mid(section) for section in sections]
    kept = [mid for mid in dict.fromkeys(_bundle(session)) if mid in present]
    lines = [line for line in session if not line.startswith("a=group:BUNDLE")]
    return [*lines, f"a=group:BUNDLE {' '.join(kept)}"] if kept else lines


def is_ffmpeg(sdp: str) -> bool:
    """True for an offer of FFmpeg's WHIP muxer.

    Its certificate may be of a curve that OpenSSL 4 does not know, and it answers no checks once it is connected.
    """
    return "s=FFmpegPublishSession" in sdp


def rejected_sections(sdp: str) -> list[int]:
    """Returns the places of the sections that a completed offer leaves unused (port 0)."""
    return [place for place, section in enumerate(_sections(sdp)[1]) if _rejected(section)]


def with_rejected(answer: str, places: list[int]) -> str:
    """Returns the answer with port 0 in the sections at `places`, outside the bundle (RFC 3264 section 6)."""
    if not places:
        return answer
    session, sections = _sections(answer)
    unused = {_mid(sections[place]) for place in places if place < len(sections)}
    for place in places:
        if place < len(sections):
            sections[place][0] = re.sub(r"^(m=\S+) \d+ ", r"\1 0 ", sections[place][0])
    kept = ["BUNDLE", *(mid for mid in _bundle(session) if mid not in unused)]
    session = [f"a=group:{' '.join(kept)}" if line.startswith("a=group:BUNDLE") else line for line in session]
    return _joined(session, sections)


def _check_codecs(media: MediaDescription) -> None:
    """Raises BadOffer, with what was offered and what is understood, where no codec of a used section fits."""
    if media.port == 0 or media.kind not in CODECS or find_common_codecs(CODECS[media.kind], media.rtp.codecs):
        return
    offered = ", ".join(dict.fromkeys(_codec_name(codec) for codec in media.rtp.codecs if not is_rtx(codec)))
    raise UnusableOffer(
        f"the offer's {media.kind} codecs cannot be used: {offered or 'none'}", f"offer {UNDERSTOOD[media.kind]}"
    )


def _codec_name(codec: RTCRtpCodecParameters) -> str:
    name = codec.mimeType.partition("/")[2]
    if name.upper() != "H264":
        return name
    profile, mode = (codec.parameters.get(key) for key in ("profile-level-id", "packetization-mode"))
    return f"{name} (profile-level-id={profile or 'none'}, packetization-mode={mode or 0})"


def _sections(sdp: str) -> tuple[list[str], list[Section]]:
    """Lines of the session, and of each media section."""
    session: list[str] = []
    sections: list[Section] = []
    for line in map(str.rstrip, sdp.splitlines()):
        if line.startswith("m="):
            sections.append([line])
        elif line:
            (sections[-1] if sections else session).append(line)
    return session, sections


def _joined(session: list[str], sections: list[Section]) -> str:
    return "".join(f"{line}\r\n" for line in [*session, *(line for section in sections for line in section)])


def _bundle(session: list[str]) -> list[str]:
    """The mids of the BUNDLE group."""
    return next((line.split()[1:] for line in session if line.startswith("a=group:BUNDLE")), [])


def _mid(section: Section) -> str:
    return next((line.removeprefix(MID).strip() for line in section if line.startswith(MID)), "")


def _rejected(section: Section) -> bool:
    """True for port 0 without `a=bundle-only`: the section is to stay unused."""
    return re.match(r"m=\S+ 0 ", section[0]) is not None and "a=bundle-only" not in section


def _first_of_bundle(session: list[str], sections: list[Section]) -> Section | None:
    """The section whose transport the bundle uses; without a bundle the first one that is used."""
    mids = _bundle(session)
    named = [section for section in sections if mids and _mid(section) == mids[0]]
    return next(iter([*named, *(section for section in sections if not _rejected(section))]), None)


def _missing_transport(session: list[str], section: Section, first: Section) -> list[str]:
    """Lines of the transport that `first` has and neither `section` nor the session."""
    given = {_attribute(line) for line in [*session, *section]}
    return [line for line in first if _attribute(line) in TRANSPORT and _attribute(line) not in given]


def _attribute(line: str) -> str:
    return line[2:].partition(":")[0].strip() if line.startswith("a=") else ""


def _useless(line: str) -> bool:
    """True for a candidate that is not UDP, has an mDNS name or an impossible port, and for the end of candidates."""
    if not line.startswith("a=candidate:"):
        return line.strip() == "a=end-of-candidates"
    fields = line.split()
    if len(fields) < 6 or fields[2].lower() != "udp" or fields[4].endswith(".local"):
        return True
    return fields[5].isdecimal() and not is_port(int(fields[5]))
