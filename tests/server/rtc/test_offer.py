"""server.rtc.offer: offers as RFC 8843, 8866 and 3264 allow them are answered; what cannot be used is named."""

import re

import pytest
from aiortc.mediastreams import AudioStreamTrack

from server.errors import BadOffer
from server.rtc.offer import checked_offer, completed, rejected_sections, with_rejected
from tests.server.client import Participant, running
from tests.server.rtc.test_bad_input import VIDEO_OFFER

TRANSPORT = re.compile(r"a=(ice-|fingerprint|setup|rtcp-mux|candidate|end-of-candidates)")


def sections(sdp: str) -> list[list[str]]:
    """Lines of the session, then of each media section."""
    return [part.splitlines() for part in re.split(r"(?m)^(?=m=)", sdp.replace("\r\n", "\n"))]


def joined(parts: list[list[str]]) -> str:
    return "".join(f"{line}\r\n" for part in parts for line in part)


def max_bundle(sdp: str) -> str:
    """The shape of RFC 8843, section 7.2: sections after the first have port 0, bundle-only, and no transport."""
    session, first, *others = sections(sdp)
    thin = [[line for line in section if not TRANSPORT.match(line)] for section in others]
    return joined([session, first, *([re.sub(r" \d+ ", " 0 ", s[0], count=1), *s[1:], "a=bundle-only"] for s in thin)])


def session_level(sdp: str) -> str:
    """ICE credentials and the fingerprint stand once, above all sections."""
    session, first, *others = sections(sdp)
    moved = re.compile(r"a=(ice-ufrag|ice-pwd|fingerprint|setup)")
    above = [line for line in first if moved.match(line)]
    return joined([session + above, *([line for line in s if not moved.match(line)] for s in (first, *others))])


def without_direction(sdp: str) -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if line.strip() != "a=sendrecv")


def direction_above(sdp: str) -> str:
    """The direction stands once, above all sections."""
    return without_direction(sdp).replace("t=0 0", "t=0 0\r\na=sendrecv", 1)


def stale_bundle(sdp: str) -> str:
    """The BUNDLE group names, first of all, a section that is not there, and one twice."""
    return sdp.replace("a=group:BUNDLE 0", "a=group:BUNDLE 7 0 0", 1)


def named_twice(sdp: str) -> str:
    """A section has a second, empty name."""
    return sdp.replace("a=mid:0", "a=mid:0\r\na=mid:", 1)


def impossible_port(sdp: str) -> str:
    """One of the candidates has a port that UDP does not have: sending to it would end the socket."""
    return sdp.replace("a=mid:0", "a=mid:0\r\na=candidate:9 1 udp 2130706432 127.0.0.1 99999 typ host", 1)


def named_with_a_tab(sdp: str) -> str:
    """White space at the end of a line is not part of a name."""
    return sdp.replace("a=mid:0", "a=mid:0\t", 1)


REWRITES = (
    max_bundle,
    session_level,
    without_direction,
    direction_above,
    stale_bundle,
    named_twice,
    impossible_port,
    named_with_a_tab,
)


@pytest.mark.parametrize("rewrite", REWRITES)
async def test_an_offer_as_the_rfcs_allow_it_is_answered(rewrite) -> None:
    """Picture and sound come back, as from the offer that a browser writes."""
    async with running() as server, Participant(server.ws) as tab:
        reply = await tab.offer(sound=AudioStreamTrack(), rewrite=rewrite)
        assert reply["type"] == "answer", reply
        assert len(await tab.pictures(3)) >= 3
        await tab.until(lambda: tab.sounds > 3, what="sound")


async def test_an_unused_section_is_answered_with_port_0() -> None:
    """A microphone that is offered with port 0 stays unused, outside the bundle; the picture comes."""

    def mute(sdp: str) -> str:
        session, video, audio = sections(sdp)
        thin = [line for line in audio if not TRANSPORT.match(line) and line != "a=sendrecv"]
        session = [re.sub(r"^(a=group:BUNDLE \S+) .*", r"\1", line) for line in session]
        return joined([session, video, [re.sub(r" \d+ ", " 0 ", thin[0], count=1), *thin[1:], "a=inactive"]])

    async with running() as server, Participant(server.ws) as tab:
        reply = await tab.offer(sound=AudioStreamTrack(), rewrite=mute)
        assert reply["type"] == "answer", reply
        _, video, audio = sections(reply["sdp"])
        assert video[0].split()[1] != "0"
        assert audio[0].split()[1] == "0"
        assert len(await tab.pictures(3)) >= 3


def test_what_is_written_stays_as_it_is() -> None:
    """A whole offer is not changed but for its line ends."""
    assert completed(VIDEO_OFFER).splitlines() == VIDEO_OFFER.splitlines()
    assert rejected_sections(VIDEO_OFFER) == []
    assert with_rejected(VIDEO_OFFER, []) == VIDEO_OFFER


def test_a_direction_above_all_sections_may_refuse_to_send() -> None:
    """`a=recvonly` for the session brings no video; a section's own direction counts more."""
    above = VIDEO_OFFER.replace("t=0 0", "t=0 0\na=recvonly")
    with pytest.raises(BadOffer, match="sends no video"):
        checked_offer(above.replace("a=sendrecv\n", ""))
    assert "a=sendrecv" in checked_offer(above)


def test_credentials_that_stand_nowhere_are_missed() -> None:
    """Nothing is made up: without them anywhere the offer is refused as before."""
    with pytest.raises(BadOffer, match="no ICE credentials"):
        checked_offer(VIDEO_OFFER.replace("a=ice-pwd:0123456789012345678901\n", ""))


@pytest.mark.parametrize(
    ("codecs", "named"),
    [
        (["VP9/90000"], "VP9"),
        (["AV1/90000", "H265/90000"], "AV1, H265"),
        (["H264/90000;profile-level-id=640028;packetization-mode=1"], "profile-level-id=640028, packetization-mode=1"),
        (["H264/90000;profile-level-id=42e01f"], "profile-level-id=42e01f, packetization-mode=0"),
    ],
)
def test_codecs_that_cannot_be_used_are_named_beside_those_that_can(codecs: list[str], named: str) -> None:
    """Neither in the library's words nor without a remedy."""
    lines = []
    for number, codec in enumerate(codecs, 97):
        name, *parameters = codec.split(";")
        lines.append(f"a=rtpmap:{number} {name}")
        lines += [f"a=fmtp:{number} {';'.join(parameters)}"] * bool(parameters)
    offer = VIDEO_OFFER.replace("a=rtpmap:97 VP8/90000", "\n".join(lines))
    offer = offer.replace("SAVPF 97", f"SAVPF {' '.join(str(97 + i) for i in range(len(codecs)))}")
    with pytest.raises(BadOffer, match="codecs cannot be used") as refused:
        checked_offer(offer)
    assert named in refused.value.message
    assert "VP8" in refused.value.hint


def test_sound_that_cannot_be_used_is_named_too() -> None:
    """The audio section is judged like the video's."""
    audio = VIDEO_OFFER[VIDEO_OFFER.index("m=") :].replace("m=video", "m=audio").replace("mid:0", "mid:1")
    with pytest.raises(BadOffer, match="audio codecs cannot be used: iLBC") as refused:
        checked_offer(VIDEO_OFFER + audio.replace("VP8/90000", "iLBC/8000"))
    assert "opus" in refused.value.hint
