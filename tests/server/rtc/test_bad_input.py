"""Hostile input gets a clear error or an undisturbed picture each time, and nobody else notices."""

import asyncio
import json

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamTrack

from server.errors import BadMessage, BadOffer
from server.rtc import peer, video_output
from server.rtc.peer import checked_offer
from server.session import outbox
from tests.server.client import CameraTrack, Participant, moving_square, running

VIDEO_OFFER = """v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0
m=video 9 UDP/TLS/RTP/SAVPF 97
c=IN IP4 0.0.0.0
a=sendrecv
a=mid:0
a=rtpmap:97 VP8/90000
a=rtcp-mux
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA
a=setup:actpass
"""

BAD_OFFERS = {
    "prose": "please relight me",
    "version only": "v=0\r\n",
    "binary": "\x00\x01\x02" * 50,
    "no video": VIDEO_OFFER.replace("m=video", "m=audio").replace("VP8/90000", "opus/48000/2"),
    "data channel only": VIDEO_OFFER[: VIDEO_OFFER.index("m=")]
    + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:0\n",
    "receives only": VIDEO_OFFER.replace("a=sendrecv", "a=recvonly"),
    "inactive": VIDEO_OFFER.replace("a=sendrecv", "a=inactive"),
    "unknown codec": VIDEO_OFFER.replace("VP8/90000", "THEORA/90000"),
    "broken rtpmap": VIDEO_OFFER.replace("a=rtpmap:97 VP8/90000", "a=rtpmap:x y"),
    "no credentials": VIDEO_OFFER.replace("a=ice-ufrag:abcd\n", ""),
    "no fingerprint": "\n".join(line for line in VIDEO_OFFER.splitlines() if "fingerprint" not in line),
    "port is a word": VIDEO_OFFER.replace("m=video 9", "m=video nine"),
    "hundred sections": VIDEO_OFFER
    + "".join(VIDEO_OFFER[VIDEO_OFFER.index("m=") :].replace("mid:0", f"mid:{i}") for i in range(1, 100)),
    "broken candidate": VIDEO_OFFER + "a=candidate:1 1 udp x y z typ host\n",
    "unknown kind": VIDEO_OFFER + "m=text 9 UDP/TLS/RTP/SAVPF 98\na=mid:1\na=rtpmap:98 t140/1000\n",
    "two of one name": VIDEO_OFFER + VIDEO_OFFER[VIDEO_OFFER.index("m=") :],
    "broken bundle": VIDEO_OFFER.replace("BUNDLE 0", "BUNDLE 7 8"),
}


@pytest.fixture
async def bystander():
    """Runs a server with another participant, whose picture must go on."""
    async with running(max_sessions=3) as server, Participant(server.ws) as other:
        await other.offer()
        await other.pictures(2)
        yield server
        await other.pictures(3, timeout_s=5)
        assert server.server.sessions


@pytest.mark.parametrize("name", [n for n in BAD_OFFERS if n != "broken bundle"])
async def test_malformed_offers_are_bad_offers(name: str) -> None:
    """Each is refused with `bad_offer` and a hint; the place is free, and a good offer then works."""
    async with running(max_sessions=1) as server, Participant(server.ws) as tab:
        reply = await tab.ask(type="offer", sdp=BAD_OFFERS[name])
        assert (reply["type"], reply["code"], reply["of"]) == ("error", "bad_offer", "offer"), reply
        assert reply["hint"]
        assert len(server.server.admission) == 0
        assert (await tab.offer())["type"] == "answer"
        await tab.pictures(2)


async def test_every_malformed_offer_leaves_the_others_alone(bystander) -> None:
    """All of them in a row, beside somebody's picture; no thread and no connection stays."""
    async with Participant(bystander.ws) as tab:
        for sdp in BAD_OFFERS.values():
            reply = await tab.ask(type="offer", sdp=sdp)
            assert reply["type"] in ("error", "answer")
        await tab.send(type="ping", t=1, id="alive")
        await tab.wait(type="pong")


def test_unusable_candidates_are_left_out_of_an_offer() -> None:
    """TCP and mDNS candidates go, UDP ones stay."""
    offer = VIDEO_OFFER + (
        "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\n"
        "a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\n"
        "a=candidate:3 1 udp 2130706431 0b5b.local 50001 typ host\n"
    )
    kept = [line for line in checked_offer(offer).splitlines() if line.startswith("a=candidate")]
    assert kept == ["a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host"]


def test_an_offer_of_nothing_is_a_bad_offer() -> None:
    """An empty string raises ours, not aiortc's."""
    with pytest.raises(BadOffer):
        checked_offer("")


@pytest.mark.parametrize(
    "candidate",
    [
        {"candidate": "candidate:nonsense", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp x 192.0.2.1 y typ host", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 65536 typ host", "sdpMid": "0"},
        {"candidate": "x" * 1000, "sdpMid": "0"},
    ],
)
async def test_broken_candidates_are_errors(bystander, candidate: dict) -> None:
    """A candidate that is none is an error; the connection goes on."""
    async with Participant(bystander.ws) as tab:
        early = await tab.ask(type="candidate", candidate={"candidate": "", "sdpMid": "0"})
        assert early["code"] == BadMessage.code
        await tab.offer()
        reply = await tab.ask(type="candidate", candidate=candidate)
        assert (reply["type"], reply["code"]) == ("error", "bad_message")
        await tab.pictures(2)


async def test_candidates_for_nowhere_are_harmless(bystander) -> None:
    """An unreachable address, a section that does not exist, mDNS, TCP, and null twice."""
    async with Participant(bystander.ws) as tab:
        await tab.offer()
        for text, mid in (
            ("candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host", "0"),
            ("candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host", "77"),
            ("candidate:1 1 udp 2130706431 beef.local 50000 typ host", "0"),
            ("candidate:1 1 tcp 2130706431 192.0.2.1 9 typ host tcptype active", "0"),
        ):
            reply = await tab.ask(type="candidate", candidate={"candidate": text, "sdpMid": mid})
            assert reply["type"] == "ack", reply
        for _ in range(2):
            assert (await tab.ask(type="candidate", candidate=None))["type"] == "ack"
        await tab.pictures(2)


async def test_wrong_messages_change_nothing_and_end_nothing(bystander) -> None:
    """Junk text, wrong types, values out of range: an error each, and the light stays as it was."""
    junk = ["", "{", "null", "[]", '{"type":"set_strength","value":7}', '{"type":"set_light","preset":"rim","id":NaN}']
    junk += [json.dumps({"type": "set_light", "lighting": {"directionals": [{"direction": [0, 0, 1]}] * 5}})]
    junk += ['{"type":"set_light","lighting":{"ambient_rgb":[1e999,0,0]}}', "\U0001f600"]
    async with Participant(bystander.ws) as tab:
        await tab.ask(type="set_light", preset="neon")
        for number, text in enumerate(junk, 1):
            await tab.socket.send(text)
            await tab.until(lambda n=number: sum(m["type"] == "error" for m in tab.inbox) == n, what=f"error {number}")
        session = bystander.server.sessions[(await tab.wait(type="welcome"))["session"]]
        assert session.requested.light.base.name == "neon"
        assert session.requested.light.strength == 1.0


async def test_binary_messages_are_errors(bystander) -> None:
    """The protocol is text."""
    async with Participant(bystander.ws) as tab:
        await tab.socket.send(b"\x00\xff" * 100)
        assert (await tab.wait(type="error"))["code"] == "bad_message"
        assert (await tab.ask(type="ping", t=1))["type"] == "pong"


async def test_an_oversized_message_ends_only_its_own_socket(bystander) -> None:
    """A megabyte of text closes with 1009."""
    async with Participant(bystander.ws) as tab:
        await tab.wait(type="welcome")
        await tab.socket.send("x" * 2**20)
        assert (await tab.wait(type="closed"))["code"] == 1009


async def test_a_flood_is_slowed_and_then_closed(bystander) -> None:
    """Beyond the burst each message is refused with `too_fast`; who goes on is closed with 1008."""
    async with Participant(bystander.ws) as tab:
        await tab.wait(type="welcome")
        for _ in range(600):
            await tab.socket.send('{"type":"ping","t":1}')
        assert (await tab.wait(type="error"))["code"] == "too_fast"
        assert (await tab.wait(type="closed"))["code"] == 1008


async def test_a_client_that_never_reads_is_dropped(bystander, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its replies are bounded; once they pile up the session ends, and is freed."""
    monkeypatch.setattr(outbox, "PATIENCE_S", 0.3)
    before = len(bystander.server.sessions)
    _, writer = await asyncio.open_connection("127.0.0.1", bystander.port, limit=1024)
    writer.transport.pause_reading()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{bystander.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        while len(bystander.server.sessions) == before:
            await asyncio.sleep(0.02)
    # Each bad preset is answered with the list of all presets: 350 bytes in return for 60.
    text = b'{"type":"set_light","preset":"' + b"x" * 60 + b'"}'
    frame = bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text
    session = next(s for s in bystander.server.sessions.values() if s.peer is None)
    session._control._flood.check = lambda text, now_s: None  # flooding has its own test
    async with asyncio.timeout(20):
        while len(bystander.server.sessions) > before:
            writer.write(frame * 500)
            await asyncio.sleep(0.01)
    writer.transport.abort()


async def test_a_client_that_vanishes_is_freed(bystander) -> None:
    """The socket dies without a word while its picture runs: connection, place and session go."""
    tab = Participant(bystander.ws)
    await tab.__aenter__()
    await tab.offer()
    await tab.pictures(2)
    assert len(bystander.server.admission) == 2
    tab.socket.transport.abort()
    await tab.until(lambda: len(bystander.server.admission) == 1, what="the place to be free")
    await tab.until(lambda: len(bystander.server.sessions) == 1, what="the session to end")
    await tab.leave()


async def test_a_connection_without_media_is_closed() -> None:
    """An offer whose sender never connects gives its place back and the participant a notice."""
    async with running(media_timeout_s=1) as server, Participant(server.ws) as tab:
        reply = await tab.ask(type="offer", sdp=VIDEO_OFFER)
        assert reply["type"] == "answer", reply
        assert len(server.server.admission) == 1
        assert (await tab.wait(type="notice"))["code"] == "connection_ended"
        await tab.until(lambda: len(server.server.admission) == 0, what="the place to be free")
        assert (await tab.offer())["type"] == "answer"
        await tab.pictures(2)


async def test_the_resolution_may_change_in_mid_stream(bystander) -> None:
    """Landscape, portrait, odd sides, tiny: the picture follows."""
    sizes = [(120, 160), (160, 120), (97, 131), (48, 64)]
    camera = CameraTrack(lambda i: moving_square(sizes[min(i // 15, 3)])(i))
    async with Participant(bystander.ws) as tab:
        await tab.offer(camera)
        seen = set()

        def all_seen() -> bool:
            seen.update(p.shape[:2] for p in tab.received)
            return {(120, 160), (160, 120), (96, 130), (48, 64)} <= seen

        await tab.until(all_seen, 20, "every size")


async def test_tiny_pictures_are_reported_and_the_next_good_one_is_shown(bystander) -> None:
    """A picture of 8 pixels is no picture: a notice, a calm card at most, then the camera again."""
    camera = CameraTrack(lambda i: np.zeros((8, 8, 3), np.uint8) if i < 20 else moving_square()(i))
    async with Participant(bystander.ws) as tab:
        await tab.offer(camera, codec="VP8")
        assert (await tab.wait(type="notice"))["code"] == "frame_size"
        await tab.until(lambda: any(p.shape == (120, 160, 3) for p in tab.received), 15, "the good picture")


async def test_pictures_beyond_the_limit_are_not_even_decoded_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A giant source is reported, rests, and others keep their picture; once it is sane it is shown."""
    monkeypatch.setattr(peer, "REST_S", 0.3)
    async with running(max_frame_pixels=200 * 200) as server, Participant(server.ws) as other:
        await other.offer()
        big = moving_square((480, 640))
        camera = CameraTrack(lambda i: big(i) if i < 20 else moving_square()(i))
        async with Participant(server.ws) as tab:
            await tab.offer(camera)
            notice = await tab.wait(type="notice")
            assert notice["code"] == "frame_size"
            assert "640 × 480" in notice["message"]
            await other.pictures(3)
            await tab.until(lambda: any(p.shape == (120, 160, 3) for p in tab.received), 20, "the small picture")


async def test_a_muted_track_keeps_the_connection_and_a_calm_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera stops sending: the last picture is repeated, nothing is closed, and it goes on with the camera."""
    monkeypatch.setattr(video_output, "KEEPALIVE_S", 0.1)

    class Muting(CameraTrack):
        muted = asyncio.Event()

        async def recv(self):
            if self.index == 10:
                await self.muted.wait()
            return await super().recv()

    camera = Muting(moving_square())
    camera.muted = asyncio.Event()
    async with running(media_timeout_s=1) as server, Participant(server.ws) as tab:
        await tab.offer(camera)
        await tab.until(lambda: camera.index == 10 and len(tab.received) >= 8)
        calm = await tab.pictures(4)
        assert np.abs(calm[-1].astype(int) - calm[-2]).mean() < 2
        await asyncio.sleep(1.2)
        assert len(server.server.admission) == 1
        camera.muted.set()
        await tab.until(lambda: next(iter(server.server.sessions.values())).peer.frames_in > 12, what="new pictures")


async def test_a_track_that_ends_leaves_the_session_usable() -> None:
    """The camera is unplugged: no error, and a new offer works."""

    class Ending(CameraTrack):
        async def recv(self):
            if self.index == 10:
                self.stop()
            return await super().recv()

    async with running() as server, Participant(server.ws) as tab:
        await tab.offer(Ending(moving_square()))
        await tab.pictures(5)
        await asyncio.sleep(0.5)
        assert (await tab.ask(type="ping", t=1))["type"] == "pong"
        assert (await tab.offer())["type"] == "answer"
        await tab.pictures(3)


class SilentTrack(MediaStreamTrack):
    """Live, and never gives a picture."""

    kind = "video"

    async def recv(self):
        await asyncio.Event().wait()


async def test_a_camera_that_never_sends_is_closed_in_time() -> None:
    """Connected, but no picture: the place is given back."""
    async with running(media_timeout_s=1) as server, Participant(server.ws) as tab:
        await tab.offer(SilentTrack())
        assert (await tab.wait(type="notice"))["code"] == "connection_ended"
        await tab.until(lambda: len(server.server.admission) == 0, what="the place to be free")


@pytest.mark.parametrize(("faces", "expected"), [(0, "no_face"), (10, "ok")])
async def test_no_face_and_ten_faces_keep_a_calm_picture(portrait: np.ndarray, faces: int, expected: str) -> None:
    """The real engine, a wall or a crowd: the picture goes on, one of the crowd is lit, at a wall the page says so."""
    import cv2

    crowd = np.full((360, 640, 3), 120, np.uint8)
    small = cv2.resize(portrait[20:260, 120:320], (100, 120), interpolation=cv2.INTER_AREA)
    for index in range(faces):
        row, column = divmod(index, 5)
        crowd[30 + 160 * row : 150 + 160 * row, 20 + 124 * column : 120 + 124 * column] = small
    camera = CameraTrack(lambda index: crowd, fps=15)
    async with running(engine="ratio") as server, Participant(server.ws) as tab:
        await tab.ask(type="set_light", preset="split-left")
        await tab.offer(camera)

        def well() -> bool:
            """Tells whether the face was seen by an engine that keeps up; a busy machine may take a moment to."""
            return any(
                said["type"] == "stats" and (said["face"], said["engine"]["state"]) == (expected, "ok")
                for said in tab.inbox
            )

        await tab.until(well, what=f"stats with face {expected} and engine ok")
        shown = (await tab.pictures(3))[-1]
        assert shown.shape == crowd.shape

        def change() -> float:
            return float(np.abs(tab.received[-1].astype(int) - crowd).mean()) if tab.received else 0.0

        if faces:  # the light comes over a quarter of a second, and later where frames are few
            await tab.until(lambda: change() > 6, what="the light")
        else:
            assert np.abs(shown.astype(int) - crowd).mean() < 4
