"""Offers of programs that publish by WHIP, written after their published shapes, are answered."""

import asyncio
import textwrap

import pytest
from aiortc.sdp import SessionDescription

from engine.live.controls import Controls, EnginePair
from engine.live.device import DeviceThread
from engine.passthrough import PassthroughEngine
from lcvd.lighting.presets import preset
from server.rtc.peer import Peer
from server.settings import Settings

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["3F"] * 32)
ICE = "a=ice-ufrag:wKyN\na=ice-pwd:Ov6vgRcdGfcCvVNDVxFZhQ12"

# OBS 30 and newer (libdatachannel): transport and fingerprint once, above the sections; candidates gathered.
OBS = f"""
v=0
o=rtc 3169283460 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=setup:actpass
{ICE}
a=ice-options:ice2,trickle
{FINGERPRINT}
m=audio 50123 UDP/TLS/RTP/SAVPF 111
c=IN IP4 192.0.2.20
a=mid:0
a=sendonly
a=msid:obs-stream obs-audio
a=ssrc:1001 cname:obs
a=ssrc:1001 msid:obs-stream obs-audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=160000;stereo=1;sprop-stereo=1;useinbandfec=1
a=candidate:1 1 UDP 2122317823 192.0.2.20 50123 typ host
a=end-of-candidates
m=video 50123 UDP/TLS/RTP/SAVPF 96
c=IN IP4 192.0.2.20
a=mid:1
a=sendonly
a=msid:obs-stream obs-video
a=ssrc:1002 cname:obs
a=ssrc:1002 msid:obs-stream obs-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
"""

# GStreamer (whipclientsink, max-bundle): the second section has port 0 and bundle-only; nothing is gathered yet.
GSTREAMER = f"""
v=0
o=- 8125904336 0 IN IP4 0.0.0.0
s=-
t=0 0
a=ice-options:trickle
a=group:BUNDLE video0 audio1
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99
c=IN IP4 0.0.0.0
a=setup:actpass
{ICE}
a=rtcp-mux
a=rtcp-rsize
a=sendonly
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 transport-cc
a=extmap:1 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=rtpmap:97 H264/90000
a=rtcp-fb:97 nack pli
a=fmtp:97 packetization-mode=1;profile-level-id=42c01f;level-asymmetry-allowed=1
a=rtpmap:98 rtx/90000
a=fmtp:98 apt=96
a=rtpmap:99 VP9/90000
a=ssrc:2001 msid:user1@host-1 webrtctransceiver0
a=ssrc:2001 cname:user1@host-1
a=mid:video0
{FINGERPRINT}
a=rtcp-mux-only
m=audio 0 UDP/TLS/RTP/SAVPF 100
c=IN IP4 0.0.0.0
a=bundle-only
a=sendonly
a=rtpmap:100 OPUS/48000/2
a=fmtp:100 sprop-stereo=1;useinbandfec=1
a=ssrc:2002 msid:user1@host-1 webrtctransceiver1
a=ssrc:2002 cname:user1@host-1
a=mid:audio1
a=rtcp-mux-only
"""

# FFmpeg 8.1 (libavformat): no candidates, DTLS passive, level 1.3 of plain Baseline.
FFMPEG = f"""
v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
{ICE}
{FINGERPRINT}
a=setup:passive
a=mid:0
a=sendonly
a=msid:FFmpeg audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:3001 cname:FFmpeg
m=video 9 UDP/TLS/RTP/SAVPF 106 105
c=IN IP4 0.0.0.0
{ICE}
{FINGERPRINT}
a=setup:passive
a=mid:1
a=sendonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42000d
a=rtcp-fb:106 nack
a=rtpmap:105 rtx/90000
a=fmtp:105 apt=106
a=ssrc-group:FID 3002 3003
a=ssrc:3002 cname:FFmpeg
"""


@pytest.mark.parametrize(
    ("offer", "codecs", "setup"),
    [(OBS, ["opus", "H264"], "client"), (GSTREAMER, ["VP8", "opus"], "client"), (FFMPEG, ["opus", "H264"], "client")],
    ids=["OBS", "GStreamer", "FFmpeg"],
)
async def test_offers_of_known_publishers_are_answered(offer: str, codecs: list[str], setup: str) -> None:
    """Every section is taken, with the first codec that both know; one transport, ours is the DTLS client."""
    device = DeviceThread(PassthroughEngine())
    nothing = lambda *_: None  # noqa: E731
    peer = Peer(
        Controls(EnginePair(device), preset("original").lighting),
        Settings(),
        on_end=nothing,
        on_bad_size=nothing,
        on_sent=nothing,
    )
    try:
        answer = SessionDescription.parse(await peer.answer(textwrap.dedent(offer).strip() + "\n"))
        assert [media.rtp.codecs[0].name for media in answer.media] == codecs
        assert {media.direction for media in answer.media} == {"recvonly"}
        assert {media.dtls.role for media in answer.media} == {setup}
        assert all(media.ice_candidates for media in answer.media)
        assert len({media.ice.usernameFragment for media in answer.media}) == 1
        await asyncio.sleep(0)
    finally:
        await peer.close()
        device.close()
