"""server.ice_servers: TURN passwords that expire, wherever they are handed out, and a real coturn that checks them."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import socket
from pathlib import Path

import httpx
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection, RTCSessionDescription
from pydantic import ValidationError

from server.http.serve import run
from server.ice_servers import ice_servers, turn_password
from server.rtc.transport.ice import LiveIceConnection
from server.settings import Settings
from tests.server.client import CameraTrack, Participant, moving_square, running
from tests.server.coturn import SECRET, coturn, needs_coturn

TURN = {"turn_urls": "turn:turn.example.org:3478?transport=udp,turns:turn.example.org:5349?transport=tcp"}


def test_the_password_is_the_draft_s_and_expires() -> None:
    """The user name is expiry:name, the password base64(HMAC-SHA1(secret, user name)); static servers come first."""
    static = {"urls": "stun:stun.example.org"}
    settings = Settings(**TURN, turn_secret=SECRET, turn_ttl_s=600, ice_servers=[static])
    first, turn = ice_servers(settings, "abc", now_s=1_000.7)
    assert first == static
    assert turn["urls"] == TURN["turn_urls"].split(",")
    assert turn["username"] == "1600:abc"
    expected = base64.b64encode(hmac.digest(SECRET.encode(), b"1600:abc", hashlib.sha1)).decode()
    assert turn["credential"] == expected == turn_password(SECRET, "1600:abc")
    assert ice_servers(Settings(), "abc") == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"turn_urls": "turn:turn.example.org"}, "set RELIGHT_TURN_SECRET too"),
        ({"turn_secret": SECRET}, "set RELIGHT_TURN_URLS too"),
        ({"turn_urls": "stun:turn.example.org", "turn_secret": SECRET}, "is no TURN address"),
        ({"turn_urls": "turn:turn.example.org?transport=sctp", "turn_secret": SECRET}, "is no TURN address"),
        ({"turn_urls": "turn:turn.example.org", "turn_secret": "tooshortsecret"}, "at least 16"),
        ({"turn_urls": "turn:turn.example.org", "turn_secret": SECRET, "turn_ttl_s": 5}, "greater than or equal to 60"),
    ],
)
def test_half_a_turn_server_is_an_error_that_repeats_no_secret(
    wrong: dict, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address without the secret, the secret without the address, and what neither may be."""
    with pytest.raises(ValidationError):
        Settings(**wrong)
    assert run({**wrong, "port": 0}) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown
    assert "RELIGHT" in shown or "setting turn_" in shown
    assert not any(secret in shown for secret in (SECRET, "tooshortsecret"))


async def test_welcome_and_http_hand_out_passwords_that_belong_to_their_names() -> None:
    """`welcome.ice_servers` names the session's label, never its id; /api/ice has one of its own."""
    async with running(**TURN, turn_secret=SECRET) as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        async with httpx.AsyncClient(trust_env=False) as client:
            asked = (await client.get(server.http + "/api/ice")).json()["ice_servers"]
        label = server.server.sessions[welcome["session"]].label
        for servers, name in ((welcome["ice_servers"], label), (asked, "http")):
            username = servers[-1]["username"]
            assert username.partition(":")[2] == name
            assert servers[-1]["credential"] == turn_password(SECRET, username)
            assert welcome["session"] not in username


def relayed(pc: RTCPeerConnection) -> bool:
    """Returns True where every nominated pair of `pc` sends from a relayed address."""
    pairs = [
        pair
        for transceiver in pc.getTransceivers()
        for pair in transceiver.receiver.transport.transport._connection._nominated.values()
    ]
    return bool(pairs) and all(pair.local_candidate.type == "relay" for pair in pairs)


@needs_coturn
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_session_runs_through_coturn_alone(tmp_path: Path, transport: str) -> None:
    """A participant who may only relay, with the password of its welcome, sees pictures; the server relays too."""
    with coturn(tmp_path) as address:
        urls = f"{address}?transport={transport}"
        async with running(turn_urls=urls, turn_secret=SECRET) as server, Participant(server.ws) as tab:
            welcome = await tab.wait(type="welcome")
            servers = [RTCIceServer(**each) for each in welcome["ice_servers"]]
            tab.pc = pc = RTCPeerConnection(RTCConfiguration(servers, iceTransportPolicy=RTCIceTransportPolicy.RELAY))
            pc.addTrack(CameraTrack(moving_square()))
            pc.on("track", lambda track: tab._tasks.append(asyncio.ensure_future(tab._watch(track))))
            await pc.setLocalDescription(await pc.createOffer())
            offer = pc.localDescription.sdp
            assert "typ relay" in offer
            assert "typ host" not in offer
            reply = await tab.ask(type="offer", sdp=offer)
            assert "typ relay" in reply["sdp"]
            await pc.setRemoteDescription(RTCSessionDescription(reply["sdp"], "answer"))
            assert len(await tab.pictures(10)) >= 10
            assert relayed(pc)


@needs_coturn
@pytest.mark.parametrize("fault", ["expired", "forged"])
async def test_coturn_relays_for_nobody_whose_password_is_old_or_made_up(tmp_path: Path, fault: str) -> None:
    """An expired user name, with its right password, and a password of another secret give no relayed address."""
    with coturn(tmp_path) as address:
        settings = Settings(turn_urls=address, turn_secret=SECRET if fault == "expired" else "another-secret-of-theirs")
        [server] = ice_servers(settings, "x", now_s=1_000.0 if fault == "expired" else None)
        pc = RTCPeerConnection(
            RTCConfiguration([RTCIceServer(**server)], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
        )
        pc.addTransceiver("video")
        await pc.setLocalDescription(await pc.createOffer())
        assert "typ relay" not in pc.localDescription.sdp
        await pc.close()
    assert "Cannot find credentials" in (tmp_path / "coturn.log").read_text()


async def test_a_silent_turn_server_delays_one_connection_by_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers at its port: the first connection waits, the next does not, and later it is asked again."""
    monkeypatch.setattr(LiveIceConnection, "silent_until_s", {})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = silent.getsockname()

        async def asked() -> bool:
            """Gathers once; returns True where the server was asked."""
            connection = LiveIceConnection(False, turn_server=server, turn_username="u", turn_password="p")
            await connection.gather_candidates()
            assert connection.local_candidates
            assert connection.turn_server == server  # for the next gathering
            await connection.close()
            silent.setblocking(False)
            requests = 0
            with contextlib.suppress(BlockingIOError):
                while silent.recv(2048):
                    requests += 1
            return requests > 0

        assert await asked()
        assert not await asked()
        LiveIceConnection.silent_until_s[server] = 0.0
        assert await asked()


async def test_a_relay_policy_reaches_pages_and_needs_a_turn_server() -> None:
    """`welcome` and /api/ice say so; without a TURN server nobody could connect, so the server does not start."""
    async with running(**TURN, turn_secret=SECRET, ice_policy="relay") as server, Participant(server.ws) as tab:
        assert (await tab.wait(type="welcome"))["ice_policy"] == "relay"
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(server.http + "/api/ice")).json()["ice_policy"] == "relay"
    with pytest.raises(ValidationError, match="RELIGHT_TURN_URLS"):
        Settings(ice_policy="relay", ice_servers=[{"urls": "stun:stun.example.org"}])
