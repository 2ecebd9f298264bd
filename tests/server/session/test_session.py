"""server.session.session over a real WebSocket and a real WebRTC connection, with passthrough and fake engines."""

import asyncio

import numpy as np
import pytest
from aiortc.mediastreams import AudioStreamTrack

from engine import ENGINES
from engine.errors import EngineUnavailable
from engine.passthrough import PassthroughEngine
from engine.protocols import Engine
from lcvd.lighting.presets import preset
from server.errors import Busy
from server.session.admission import Admission, TokenBucket
from tests.engine.fakes import FakeEngine
from tests.server.client import CameraTrack, Participant, moving_square, running


def both(fake: FakeEngine):
    """Returns a maker of the fake engine under the name ratio, and of the passthrough."""
    return lambda name: fake if name == "ratio" else PassthroughEngine()


@pytest.mark.parametrize("codec", [None, "VP8", "H264"])
async def test_an_offer_is_answered_and_the_picture_comes_back(codec: str | None) -> None:
    """Offer, answer, and the very square that was sent, in either codec, within codec noise."""
    async with running() as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        answer = await tab.offer(CameraTrack(moving_square((240, 320))), codec=codec)
        assert answer["type"] == "answer"
        assert answer["of"] == "offer"
        if codec is not None:
            assert f"{codec}/90000" in answer["sdp"].replace("h264", "H264")
        picture = (await tab.pictures(15))[-1].astype(int)
        assert picture.shape == (240, 320, 3)
        column = np.linspace(20, 200, 320)
        assert np.abs(picture[5:60].mean(0)[:, 0] - column).mean() < 6  # the gradient above the square


async def test_the_answer_names_no_stun_server_and_all_candidates() -> None:
    """Our candidates are in the answer: nothing is trickled."""
    async with running() as server, Participant(server.ws) as tab:
        sdp = (await tab.offer())["sdp"]
        assert "a=candidate:" in sdp
        assert "typ srflx" not in sdp


async def test_the_welcome_says_what_there_is() -> None:
    """Engines, the light as it is, and the session's name."""
    async with running() as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        for trait in ("shows_avatar", "needs_portrait"):  # the latter is the former name, for one version
            shows = [(engine["name"], engine[trait]) for engine in welcome["engines"]]
            assert shows == [(spec.name, spec.shows_avatar) for spec in ENGINES.values()]
        assert welcome["engine"] == "passthrough"
        assert welcome["lighting"]["name"] == "original"
        assert welcome["session"] in server.server.sessions


async def test_every_control_is_acknowledged_and_reaches_the_engine() -> None:
    """Light, strength, background, view, mirror, pause and ping: each gets its ack, with its id."""
    fake = FakeEngine(add=0)
    async with running(both(fake), engine="ratio") as server, Participant(server.ws) as tab:
        await tab.offer()
        ack = await tab.ask(type="set_light", preset="rembrandt-left", adjust={"intensity": 0.5}, id="light")
        assert ack["lighting"]["name"] == "rembrandt-left"
        for message in (
            {"type": "set_strength", "value": 0.5},
            {"type": "set_background", "mode": "keep", "gain": 1},
            {"type": "set_view", "hint": False, "split": 0.5},
            {"type": "mirror", "on": True},
            {"type": "pause", "on": True},
            {"type": "pause", "on": False},
        ):
            reply = await tab.ask(**message)
            assert (reply["type"], reply["of"]) == ("ack", message["type"]), reply
        assert (await tab.ask(type="ping", t=17.5))["t"] == 17.5
        live = next(iter(server.server.sessions.values())).peer.live
        assert live.lighting.name == "rembrandt-left"
        assert live.lighting.strength == 0.5
        assert live.lighting.background.mode == "keep"
        await tab.ask(type="set_background", mode="auto")
        assert live.lighting.background == preset("rembrandt-left").lighting.background
        await tab.until(lambda: "rembrandt-left" in fake.lights, what="the light in the engine")


async def test_a_light_chosen_before_the_offer_is_used() -> None:
    """Controls need no connection; the next one starts with them."""
    fake = FakeEngine(add=0)
    async with running(both(fake), engine="ratio") as server, Participant(server.ws) as tab:
        await tab.ask(type="set_light", preset="neon")
        await tab.offer()
        await tab.pictures(3)
        assert set(fake.lights) == {"neon"}


async def test_mirroring_turns_the_picture() -> None:
    """The bright end of the gradient changes sides."""
    async with running() as server, Participant(server.ws) as tab:
        await tab.offer()
        straight = (await tab.pictures(4))[-1]
        await tab.ask(type="mirror", on=True)
        mirrored = (await tab.pictures(6))[-1]
        assert straight[5, -20, 0] > straight[5, 20, 0] + 50
        assert mirrored[5, -20, 0] < mirrored[5, 20, 0] - 50


async def test_stats_come_while_a_picture_flows() -> None:
    """Rates, size, latency, stages, face and engine, about twice a second."""
    async with running() as server, Participant(server.ws) as tab:
        await tab.offer()
        await tab.pictures(20)
        stats = await tab.wait(type="stats", width=160, height=120)
        assert {"fps_in", "fps_out", "drops", "latency_ms", "stages", "face", "engine"} <= stats.keys()
        assert stats["engine"]["state"] == "ok"
        assert {"p50_ms", "p95_ms", "p99_ms"} == set(next(iter(stats["stages"].values())))


async def test_a_second_offer_replaces_the_first_connection() -> None:
    """The picture comes again over the new one, the old one is freed, and the place is not taken twice."""
    async with running(max_sessions=1) as server, Participant(server.ws) as tab:
        await tab.offer()
        await tab.pictures(3)
        session = next(iter(server.server.sessions.values()))
        old = session.peer
        await tab.ask(type="mirror", on=True)
        assert (await tab.offer())["type"] == "answer"
        picture = (await tab.pictures(5))[-1]
        assert picture[5, -20, 0] < picture[5, 20, 0]  # still mirrored
        assert session.peer is not old
        assert old.state == "closed"
        assert len(server.server.admission) == 1


@pytest.mark.parametrize("bad", ["please relight me", "unknown codec"])
async def test_a_second_offer_that_fails_leaves_the_first_connection(bad: str) -> None:
    """An error changes nothing: the picture goes on, the place stays taken, and a good offer still works."""
    async with running(max_sessions=1) as server, Participant(server.ws) as tab:
        answer = await tab.offer()
        await tab.pictures(2)
        sdp = answer["sdp"].replace("VP8", "THEORA").replace("H264", "THEORA") if bad == "unknown codec" else bad
        reply = await tab.ask(type="offer", sdp=sdp)
        assert (reply["type"], reply["code"]) == ("error", "bad_offer")
        assert len(server.server.admission) == 1
        await tab.pictures(10)


async def test_a_fault_of_ours_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The client hears that the details are in the log, so there they are, whatever was raised."""

    def fault(self: object, requested: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("server.session.session.Session._apply", fault)
    async with running() as server, Participant(server.ws) as tab:
        reply = await tab.ask(type="set_strength", value=0.5)
        assert reply["code"] == "internal"
        assert "a bug" in caplog.text


async def test_engines_are_switched_in_mid_stream() -> None:
    """The other engine takes over without a new offer; an unknown one is an error that names the known."""
    fake = FakeEngine(add=60)
    async with running(both(fake)) as server, Participant(server.ws) as tab:
        await tab.offer(CameraTrack(lambda i: np.full((120, 160, 3), 50, np.uint8)))
        await tab.pictures(3)
        error = await tab.ask(type="set_engine", engine="warp-drive")
        assert error["type"] == "error"
        assert "passthrough" in error["hint"]
        server.server.engines.device("ratio")  # the menu shows whether the real one runs here; the fake one does
        server.server.engines.menu = lambda: [
            type("Choice", (), {"name": n, "available": True, "reason": ""}) for n in ("ratio", "passthrough")
        ]
        assert (await tab.ask(type="set_engine", engine="ratio"))["type"] == "ack"
        await tab.until(lambda: any(p.mean() > 80 for p in tab.received), what="a brighter picture")


async def test_a_failing_engine_leaves_the_picture_and_says_so() -> None:
    """The engine raises at every frame: untouched pictures go on, stats say failed, other messages still work."""

    def explode(work: object) -> None:
        raise RuntimeError("boom")

    async with running(both(FakeEngine(on_render=explode)), engine="ratio") as server, Participant(server.ws) as tab:
        await tab.offer()
        await tab.pictures(10)
        await tab.until(
            lambda: any(m["type"] == "stats" and m["engine"]["state"] == "failed" for m in tab.inbox), what="failed"
        )
        assert (await tab.ask(type="set_light", preset="rim"))["type"] == "ack"


async def test_an_engine_that_cannot_warm_up_is_replaced() -> None:
    """The page works with untouched pictures, and the participant gets the reason."""

    def no_model() -> None:
        raise RuntimeError("no model file")

    async with running(both(FakeEngine(on_warmup=no_model)), engine="ratio") as server, Participant(server.ws) as tab:
        assert (await tab.wait(type="welcome"))["engine"] == "passthrough"
        assert (await tab.wait(type="notice"))["code"] == "fallback"
        await tab.offer()
        await tab.pictures(3)


async def test_the_fallback_of_an_engine_runs_in_its_place() -> None:
    """The CPU engine lights people where LCVD cannot run; the untouched picture is the last resort."""
    known = both(FakeEngine(add=0))

    def make(name: str) -> Engine:
        if name in ("lcvd", "avatar"):
            raise EngineUnavailable("no weights", "relight weights fetch")
        return known(name)

    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        assert (await tab.wait(type="welcome"))["engine"] == "ratio"
        notice = await tab.wait(type="notice", code="fallback")
        assert "lcvd cannot run: no weights" in notice["message"]


async def test_the_engine_asked_for_comes_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once what was missing is there, new sessions get the engine that was asked for, without a restart."""
    monkeypatch.setattr("server.http.app.RECOVER_EVERY_S", 0.1)
    missing = True

    def no_model() -> None:
        if missing:
            raise RuntimeError("no model file")

    async with running(both(FakeEngine(on_warmup=no_model)), engine="ratio") as server:
        async with Participant(server.ws) as early:
            assert (await early.wait(type="welcome"))["engine"] == "passthrough"
            missing = False
            await early.until(lambda: server.server.engines.default == "ratio", what="the engine")
        async with Participant(server.ws) as late:
            assert (await late.wait(type="welcome"))["engine"] == "ratio"
            assert server.server.engines.degraded_reason == ""


async def test_sound_comes_back_with_the_picture() -> None:
    """An offer with audio gets it returned."""
    async with running() as server, Participant(server.ws) as tab:
        answer = await tab.offer(sound=AudioStreamTrack())
        assert answer["type"] == "answer", answer
        await tab.pictures(3)
        await tab.until(lambda: tab.sounds > 5, what="sound")


async def test_trickled_candidates_connect_an_offer_without_any() -> None:
    """A browser may send its candidates after the offer, and null after the last."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    async with running() as server, Participant(server.ws) as tab:
        tab.pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTrack(CameraTrack(moving_square()))
        pc.on("track", lambda track: tab._tasks.append(asyncio.ensure_future(tab._watch(track))))
        await pc.setLocalDescription(await pc.createOffer())
        lines = pc.localDescription.sdp.splitlines()
        bare = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
        answer = await tab.ask(type="offer", sdp="\r\n".join(bare) + "\r\n")
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        for line in lines:
            if line.startswith("a=candidate:"):
                candidate = {"candidate": line.removeprefix("a="), "sdpMid": "0", "sdpMLineIndex": 0}
                assert (await tab.ask(type="candidate", candidate=candidate))["type"] == "ack"
        assert (await tab.ask(type="candidate", candidate=None))["type"] == "ack"
        await tab.pictures(3)


async def test_two_participants_share_the_server() -> None:
    """Each has its own light; one leaving does not disturb the other."""
    async with running() as server, Participant(server.ws) as first:
        await first.offer()
        async with Participant(server.ws) as second:
            await second.offer(CameraTrack(lambda i: np.full((64, 64, 3), 200, np.uint8)))
            assert (await second.pictures(3))[-1].mean() > 150
        assert (await first.pictures(3))[-1].shape == (120, 160, 3)


async def test_a_full_server_says_busy_and_recovers() -> None:
    """Where nobody may wait, the next gets `busy` with a hint and is closed with 1013; a place given back is free."""
    async with running(max_sessions=1, max_waiting=0) as server, Participant(server.ws) as first:
        await first.offer()
        async with Participant(server.ws) as second:
            reply = await second.offer()
            assert (reply["type"], reply["code"]) == ("error", "busy")
            assert reply["hint"]
            assert (await second.wait(type="closed"))["code"] == 1013
        await first.leave()
        async with Participant(server.ws) as third:
            await third.until(lambda: len(server.server.admission) == 0, what="a free place")
            assert (await third.offer())["type"] == "answer"


def test_admission_counts_people_not_offers() -> None:
    """A session that has a place may enter again; leaving twice frees one place."""
    admission = Admission(1)
    admission.enter("a")
    admission.enter("a")
    with pytest.raises(Busy):
        admission.enter("b")
    admission.leave("a")
    admission.leave("a")
    admission.enter("b")
    assert len(admission) == 1


def test_the_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    """Three at once, then two a second; time that runs back adds nothing."""
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.5)
    assert not bucket.take(0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
