"""odd_offer draws an SDP offer: what browsers, OBS, GStreamer and FFmpeg send, with lines lost, doubled and bent."""

import random

from tests.server.fuzz.damage import damaged

PRINT = "AA:" * 31 + "AA"
SECURITY = f"a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {PRINT}\na=setup:actpass\n"
SESSION = "v=0\no=- 4611731400430051336 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n"
VIDEO = (
    "a=mid:0\na=sendrecv\na=rtcp-mux\na=rtcp-rsize\na=rtpmap:96 VP8/90000\na=rtcp-fb:96 goog-remb\na=rtcp-fb:96 nack\n"
    "a=rtcp-fb:96 nack pli\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\na=rtpmap:102 H264/90000\n"
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\na=ssrc-group:FID 1 2\n"
    "a=ssrc:1 cname:x\na=ssrc:2 cname:x\n"
)
AUDIO = (
    "a=mid:1\na=sendrecv\na=rtcp-mux\na=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\n"
    "a=ssrc:3 cname:x\n"
)
CANDIDATE = "a=candidate:1 1 udp 2130706431 127.0.0.1 50001 typ host\n"
EXTENSIONS = (
    "a=extmap-allow-mixed\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n"
    "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n"
)
CHROME = (
    SESSION + "a=group:BUNDLE 0 1\na=msid-semantic: WMS s\n"
    + "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\nc=IN IP4 0.0.0.0\na=rtcp:9 IN IP4 0.0.0.0\n"
    + SECURITY + EXTENSIONS + VIDEO
    + "m=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\n" + SECURITY + AUDIO
)  # fmt: skip
MAX_BUNDLE = (
    SESSION + "a=group:BUNDLE 0 1\n" + "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\nc=IN IP4 0.0.0.0\n" + SECURITY + VIDEO
    + "m=audio 0 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\na=bundle-only\n" + AUDIO
)  # fmt: skip
FIREFOX = (
    SESSION + f"a=fingerprint:sha-256 {PRINT}\na=group:BUNDLE 0\na=ice-options:trickle\na=msid-semantic:WMS *\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 120 126\nc=IN IP4 0.0.0.0\na=sendrecv\na=ice-pwd:0123456789012345678901\n"
    "a=ice-ufrag:abcd\na=mid:0\na=rtpmap:120 VP8/90000\na=rtpmap:126 H264/90000\n"
    "a=fmtp:126 profile-level-id=42e01f;packetization-mode=1\na=rtcp-mux\na=setup:actpass\na=ssrc:5 cname:{x}\n"
)  # fmt: skip
FFMPEG = (
    "v=0\no=FFmpeg 1 2 IN IP4 127.0.0.1\ns=FFmpegPublishSession\nt=0 0\na=group:BUNDLE 0 1\na=extmap-allow-mixed\n"
    "a=msid-semantic: WMS\nm=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\na=ice-ufrag:abcd\n"
    f"a=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {PRINT}\na=setup:passive\n"
    "a=mid:0\na=sendonly\na=rtcp-mux\n"
    "a=rtpmap:111 opus/48000/2\nm=video 9 UDP/TLS/RTP/SAVPF 106\nc=IN IP4 0.0.0.0\na=ice-ufrag:abcd\n"
    f"a=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {PRINT}\na=setup:passive\n"
    "a=mid:1\na=sendonly\na=rtcp-mux\n"
    "a=rtpmap:106 H264/90000\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f\n"
)  # fmt: skip
OBS = (
    "v=0\no=- 1169736 0 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\na=group:LS 0 1\na=msid-semantic:WMS *\n"
    "a=setup:actpass\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=ice-options:ice2,trickle\n"
    f"a=fingerprint:sha-256 {PRINT}\nm=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\na=mid:0\na=sendonly\n"
    "a=ssrc:11 cname:a\na=rtcp-mux\na=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;maxaveragebitrate=96000\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:1\na=sendonly\na=ssrc:12 cname:a\na=rtcp-mux\n"
    "a=rtpmap:96 H264/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\n"
    "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\n"
)  # fmt: skip
BASES = (CHROME, MAX_BUNDLE, FIREFOX, FFMPEG, OBS, CHROME + CANDIDATE)
LINES = (
    "a=candidate:x", "a=candidate:1 1 udp 1 10.0.0.1 99999 typ host",
    "a=candidate:1 1 tcp 1 ::1 9 typ host tcptype active",
    "a=candidate:1 2 udp 99999999999999999999 1.2.3.4 5 typ relay raddr x rport y", "a=sendonly", "a=recvonly",
    "a=inactive", "a=mid:", "a=mid:0", "a=mid:" + "m" * 300, "a=group:BUNDLE", "a=group:BUNDLE 9", "a=group:",
    "a=setup:holdconn",
    "a=setup:", "a=fingerprint:md5 00", "a=fingerprint:sha-256", "a=fingerprint:sha-1 00:11",
    "a=ssrc:99999999999 cname:x",
    "a=ssrc:x", "a=ssrc-group:FID 1", "a=ssrc-group:SIM", "a=rtpmap:300 VP8/90000", "a=rtpmap:96 VP8",
    "a=rtpmap:96 /0",
    "a=rtpmap:96 VP8/0", "a=rtpmap: ", "a=fmtp:96", "a=fmtp:96 apt=x", "a=fmtp:97 apt=97", "a=fmtp:x y",
    "a=extmap:0 urn:x",
    "a=extmap:99 urn:ietf:params:rtp-hdrext:sdes:mid", "a=extmap:x", "a=rtcp-fb:* nack", "a=rtcp-fb:", "a=rtcp:",
    "a=rtcp:x",
    "a=ice-ufrag:", "a=ice-ufrag:ab", "a=ice-pwd:short", "a=ice-pwd:" + "p" * 300, "a=ice-options:", "a=ice-lite",
    "a=sctp-port:5000", "a=simulcast:send 1;2", "a=rid:1 send", "a=msid:", "a=msid:- -", "b=AS:0", "b=AS:x",
    "c=IN IP6 ::",
    "c=", "k=x", "m=", "m=video", "m=video 0 UDP/TLS/RTP/SAVPF 96", "m=audio 9 RTP/AVP 0", "m=text 9 TCP x",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=video 65536 UDP/TLS/RTP/SAVPF", "v=1", "s=", "t=",
    "t=x y", "o=",
    "a=", "a", "=", "a=\x00", "a=ü写😀", "a=" + "x" * 5000, "a=end-of-candidates", "a=bundle-only", "a=identity:x",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "a=rtcp-mux-only", "a=msid-semantic:", "a=extmap-allow-mixed:1",
)  # fmt: skip
NUMBERS = ("0", "-1", "1", "255", "65535", "65536", "4294967296", "99999999999999999999", "", "x", "1.5", "１")


def odd_offer(rng: random.Random) -> str:
    """Draws an offer."""
    sdp = rng.choice(BASES)
    if rng.random() < 0.06:
        return damaged(rng, sdp.encode(), 3).decode("utf-8", "replace")
    if rng.random() < 0.03:
        return rng.choice(("", " ", "v=0", "v=0\r\n", "null", "\n" * 500, "m=" * 200, "v=" + "0" * 60000, "\x00", "{}"))
    lines = sdp.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        lines = _bent(rng, lines)
    return rng.choice(("\r\n", "\r\n", "\n", "\r")).join(lines) + rng.choice(("\r\n", "\r\n", ""))


def odd_viewer_offer(rng: random.Random) -> str:
    """Draws an offer to receive, most of the time."""
    sdp = odd_offer(rng)
    return sdp if rng.random() < 0.15 else sdp.replace("a=sendrecv", "a=recvonly").replace("a=sendonly", "a=recvonly")


def _bent(rng: random.Random, lines: list[str]) -> list[str]:
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(9)
    if kind == 0:
        return lines[:at] + lines[at + 1 :] or lines
    if kind == 1:
        return [*lines[:at], lines[other], *lines[at:]]
    if kind == 2:
        lines = list(lines)
        lines[at], lines[other] = lines[other], lines[at]
        return lines
    if kind in (3, 4):
        return [*lines[:at], rng.choice(LINES), *lines[at:]]
    if kind == 5:
        return [*lines[:at], rng.choice(LINES), *lines[at + 1 :]]
    if kind == 6:  # a number in it becomes another
        words = lines[at].replace(":", " : ").replace("=", " = ").split(" ")
        places = [k for k, word in enumerate(words) if word.isdigit()] or [rng.randrange(len(words))]
        words[rng.choice(places)] = rng.choice(NUMBERS)
        bent = " ".join(words).replace(" : ", ":").replace(" = ", "=")
        return [*lines[:at], bent, *lines[at + 1 :]]
    if kind == 7:  # a whole section, once more or no more
        starts = [k for k, line in enumerate(lines) if line.startswith("m=")] or [0]
        start = rng.choice(starts)
        end = next((k for k in starts if k > start), len(lines))
        return (
            lines + lines[start:end] * rng.choice((1, 1, 8))
            if rng.random() < 0.6
            else lines[:start] + lines[end:] or lines
        )
    line = lines[at]
    cut = rng.randrange(len(line) + 1)
    bent = rng.choice((line[:cut], line[cut:], line.upper(), line + line, line[:cut] + "\t" + line[cut:], " " + line))
    return [*lines[:at], bent, *lines[at + 1 :]]
