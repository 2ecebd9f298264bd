"""server.http.whip and whep over real HTTP and WebRTC: publishing, viewing, refusals in words, and what is freed."""

from typing import Any

import httpx
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.sdp import candidate_to_sdp

from engine.passthrough import PassthroughEngine
from server.http.sdp import ice_links
from server.rtc.candidates import parsed_candidates
from server.rtc.transport import ice_restart
from server.rtc.transport.ice_restart import IceRestart
from server.session.ice_session import SdpFragment
from server.session.viewers import viewing_name
from tests.engine.fakes import FakeEngine
from tests.server.client import CameraTrack, Participant, moving_square, running
from tests.server.players import SDP, Resource, publisher, viewer

FRAGMENT = "application/trickle-ice-sdpfrag"
PICTURE = moving_square((240, 320))


async def test_a_published_picture_is_viewed_with_its_sound_and_freed_by_delete() -> None:
    """201 with Location, ETag and the viewing name; two codecs at once; DELETE gives the place back."""
    async with running(max_sessions=1) as server:  # noqa: SIM117 - the publisher goes before the server
        async with publisher(f"{server.http}/whip?view=studio", CameraTrack(PICTURE), AudioStreamTrack()) as source:
            answer = await source.connect()
            assert answer.status_code == 201, answer.text
            assert answer.headers["content-type"] == "application/sdp"
            assert answer.headers["etag"].startswith('"')
            assert answer.headers["relight-view"] == "/view/studio"
            assert answer.text.count("a=recvonly") == 2
            session = server.server.find("studio")
            assert answer.headers["location"] == f"/whip/{session.id}"
            assert len(server.server.admission) == 1
            async with (
                viewer(f"{server.http}/whep/studio", "VP8") as first,
                viewer(f"{server.http}/whep/{session.id}", "H264") as second,
            ):
                for each in (first, second):
                    seen = await each.connect()
                    assert seen.status_code == 201, seen.text
                    picture = (await each.more_pictures(10))[-1]
                    assert picture.shape == (240, 320, 3)
                    column = np.linspace(20, 200, 320)
                    assert np.abs(picture[5:60].mean(0)[:, 0] - column).mean() < 6  # the gradient above the square
                    await each.until(lambda each=each: len(each.sounds) > 20, "sound")
                assert session.viewers.hub.encoders == 2
                assert (await source.http.delete(source.location)).status_code == 200
                assert len(server.server.admission) == 0
                assert not server.server.sessions
                await first.until(lambda: first.pc.connectionState in ("closed", "failed"), "the viewer's end")
            assert (await source.http.delete(source.location)).status_code == 404


async def test_light_and_engine_come_by_query_and_by_the_control_socket() -> None:
    """The query is carried out before the first picture; `/ws?session=` controls the session, but takes no offer."""
    fake = FakeEngine(add=0)
    make = lambda name: fake if name == "ratio" else PassthroughEngine()  # noqa: E731
    async with running(make, engine="passthrough") as server:
        url = f"{server.http}/whip?light=neon&strength=0.5&engine=ratio&background=keep&mirror=true"
        async with publisher(url, CameraTrack(PICTURE)) as source:
            assert (await source.connect()).status_code == 201
            session = next(iter(server.server.sessions.values()))
            await source.until(lambda: "neon" in fake.lights, "the light in the engine")
            lighting = session.peer.live.controls.lighting
            assert (lighting.strength, lighting.background.mode) == (0.5, "keep")
            assert session.peer.live.controls.mirror
            async with Participant(f"{server.ws}?session={session.id}") as control:
                welcome = await control.wait(type="welcome")
                assert (welcome["session"], welcome["view"]) == (session.id, session.view)
                assert welcome["engine"] == "ratio"
                await control.ask(type="set_light", preset="rembrandt-left")
                await control.until(lambda: "rembrandt-left" in fake.lights, what="the other light")
                await control.wait(type="stats")
                assert "WHIP" in (await control.ask(type="offer", sdp="v=0"))["message"]
                async with Participant(f"{server.ws}?session={session.id}") as newer:
                    await newer.wait(type="welcome")
                    assert (await control.wait(type="closed"))["code"] == 1008
                    await source.http.delete(source.location)
                    assert (await newer.wait(type="closed"))["reason"] == "the publication has ended"
            async with Participant(f"{server.ws}?session={session.id}") as late:
                assert (await late.wait(type="error"))["code"] == "no_session"


async def test_the_place_is_freed_when_the_publisher_vanishes() -> None:
    """Without DELETE: the connection's end, and pictures that stop, both end the session."""
    async with running(max_sessions=1, media_timeout_s=2) as server:
        async with publisher(f"{server.http}/whip", CameraTrack(PICTURE)) as source:
            await source.connect()
            await source.until(lambda: source.pc.connectionState == "connected", "the connection")
        await source.until(lambda: not server.server.sessions, "the session's end")
        async with publisher(f"{server.http}/whip", CameraTrack(PICTURE)) as source:
            assert (await source.connect()).status_code == 201
            peer = next(iter(server.server.sessions.values())).peer
            await source.until(lambda: peer.frames_in > 3, "pictures")
            source.pc.getSenders()[0].replaceTrack(None)  # the connection stays, the pictures stop
            await source.until(lambda: not server.server.sessions, "the session's end")
        assert len(server.server.admission) == 0


async def post(url: str, body: bytes | str = b"", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url, content=body, headers={**SDP, **headers})


async def offer_of(made) -> str:
    """The offer of a connection that is closed afterwards."""
    await made.pc.setLocalDescription(await made.pc.createOffer())
    sdp = made.pc.localDescription.sdp
    await made.pc.close()
    await made.http.aclose()
    return sdp


@pytest.mark.parametrize(
    ("path", "change", "headers", "status", "code", "said"),
    [
        ("/whip", lambda sdp: "please relight me", {}, 400, "bad_offer", "not SDP"),
        ("/whip", lambda sdp: "", {}, 400, "bad_offer", "not SDP"),
        ("/whip", lambda sdp: sdp.replace("m=video", "m=audio"), {}, 422, "bad_offer", "no video"),
        ("/whip", lambda sdp: sdp.replace("sendonly", "recvonly"), {}, 422, "bad_offer", "sends no video"),
        ("/whip", lambda sdp: sdp.replace("VP8", "AV1").replace("H264", "AV2"), {}, 422, "bad_offer", "AV1, AV2"),
        ("/whip", lambda sdp: sdp, {"content-type": "text/plain"}, 415, "wrong_type", "text/plain"),
        ("/whip", lambda sdp: sdp + "a" * 70_000, {}, 413, "too_large", "64 KiB"),
        ("/whip?light=disco", lambda sdp: sdp, {}, 422, "bad_light", "disco"),
        ("/whip?engine=none", lambda sdp: sdp, {}, 400, "bad_message", "none"),
        ("/whip?strength=2", lambda sdp: sdp, {}, 422, "bad_request", "query.strength='2'"),
        ("/whip?ligth=neon", lambda sdp: sdp, {}, 422, "bad_request", "query.ligth='neon'"),
        ("/whip?view=a%20b", lambda sdp: sdp, {}, 422, "bad_request", "query.view='a b'"),
        # As a page's link that is derived from its key: the page may be away for now.
        ("/whip?view=" + viewing_name("key"), lambda sdp: sdp, {}, 422, "bad_request", "a shorter or a longer one"),
        ("/whip", lambda sdp: sdp, {"origin": "https://evil.example"}, 403, "foreign_origin", "evil.example"),
        ("/whep/nobody", lambda sdp: sdp, {}, 404, "no_session", "nobody"),
    ],
)
async def test_what_cannot_be_published_is_refused_in_words(path, change, headers, status, code, said) -> None:
    """Each refusal names what is wrong; nothing is left behind."""
    sdp = await offer_of(publisher("", CameraTrack(PICTURE)))
    async with running(max_sessions=1) as server:
        refused = await post(server.http + path, change(sdp), **headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert said in refused.json()["message"]
        assert refused.json()["hint"]
        assert not server.server.sessions
        assert len(server.server.admission) == 0


async def test_the_name_of_a_page_that_lost_its_connection_is_not_taken() -> None:
    """A page without a key has a random name: it is its own until the server forgets the page."""
    sdp = await offer_of(publisher("", CameraTrack(PICTURE)))
    async with running(resume_s=1) as server:
        async with Participant(server.ws) as tab:
            name = (await tab.wait(type="welcome"))["view"]
            tab.socket.transport.abort()
            await tab.until(lambda: len(server.server.lost), what="the loss")
            refused = await post(f"{server.http}/whip?view={name}", sdp)
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
            await tab.until(lambda: not len(server.server.lost), what="the end of its time")
        assert (await post(f"{server.http}/whip?view={name}", sdp)).status_code == 201


async def test_what_cannot_be_viewed_is_refused_in_words() -> None:
    """A viewer hears of the codec, the direction, the type and the size; the session is not disturbed."""
    offer = await offer_of(viewer(""))
    async with running() as server, Participant(server.ws) as tab:
        name = (await tab.wait(type="welcome"))["view"]
        await tab.offer(CameraTrack(PICTURE))
        for sdp, headers, status, said in (
            (offer.replace("VP8", "AV1").replace("H264", "AV2"), {}, 422, "AV1, AV2"),
            (offer.replace("recvonly", "sendonly"), {}, 422, "receives no video"),
            ("", {}, 400, "not SDP"),  # as of players of early drafts, which wait for the server's offer
            (offer, {"content-type": "application/json"}, 415, "application/json"),
            (offer + "a" * 70_000, {}, 413, "64 KiB"),
        ):
            refused = await post(f"{server.http}/whep/{name}", sdp, **headers)
            assert refused.status_code == status, refused.text
            assert said in refused.json()["message"]
        assert len(server.server.find(name).viewers) == 0
        await tab.pictures(3)


async def test_a_second_publisher_a_full_server_and_a_wrong_token_are_refused() -> None:
    """409 for a viewing name that is taken, 503 where no place is left, 401 without the token, on every method."""
    async with running(max_sessions=1, token=["sesame"]) as server:
        url = f"{server.http}/whip?view=studio"
        sdp = await offer_of(publisher("", CameraTrack(PICTURE)))
        for headers in ({}, {"authorization": "Bearer wrong"}):
            refused = await post(url, sdp, **headers)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        async with publisher(url, CameraTrack(PICTURE), token="sesame") as source:
            assert (await source.connect()).status_code == 201
            bearer = {"authorization": "Bearer sesame"}
            taken = await post(url, sdp, **bearer)
            assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
            assert "studio" in taken.json()["message"]
            full = await post(f"{server.http}/whip", sdp, **bearer)
            assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "busy", "10")
            async with httpx.AsyncClient(trust_env=False) as stranger:
                for method in ("DELETE", "PATCH"):
                    assert (await stranger.request(method, source.location)).status_code == 401
                assert (await stranger.post(f"{server.http}/whep/studio", content=sdp, headers=SDP)).status_code == 401
            assert len(server.server.sessions) == 1
            async with viewer(f"{server.http}/whep/studio", token="sesame") as watching:
                assert (await watching.connect()).status_code == 201
                await watching.more_pictures(2)


async def test_trickled_candidates_are_added() -> None:
    """RFC 9725, section 4.3: 204; 428 and 412 for the precondition; a restart waits for the first connection."""
    async with running() as server, publisher(f"{server.http}/whip?view=me", CameraTrack(PICTURE)) as source:
        # The offer goes without candidates; they come by PATCH.
        await source.pc.setLocalDescription(await source.pc.createOffer())
        sdp = source.pc.localDescription.sdp
        lines = sdp.splitlines()
        candidates = [line for line in lines if line.startswith("a=candidate:")]
        bare = "\r\n".join(line for line in lines if not line.startswith(("a=candidate", "a=end-of"))) + "\r\n"
        source.response = await post(source.url, bare)
        ufrag = next(line for line in lines if line.startswith("a=ice-ufrag:"))
        fragment = "\r\n".join([ufrag, "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *candidates, "a=end-of-candidates"])
        etag, kind = source.response.headers["etag"], {"content-type": FRAGMENT}

        async def patch(body: str, **headers: str) -> tuple[int, str]:
            answer = await source.http.patch(source.location, content=body, headers=headers)
            return answer.status_code, answer.json()["code"] if answer.content else ""

        assert await patch(fragment, **kind) == (428, "conflict")
        assert await patch(fragment, **kind, **{"if-match": '"other"'}) == (412, "conflict")
        assert await patch(fragment, **{"content-type": "application/sdp", "if-match": etag}) == (415, "wrong_type")
        assert await patch("a=candidate:nonsense", **kind, **{"if-match": etag}) == (400, "bad_message")
        many = "\r\n".join(f"a=candidate:1 1 udp 1 192.0.2.1 {port} typ host" for port in range(1000, 1065))
        assert await patch(many, **kind, **{"if-match": etag}) == (400, "bad_message")
        assert await patch("nonsense", **kind, **{"if-match": etag}) == (400, "bad_message")
        restart = "a=ice-ufrag:newer\r\na=ice-pwd:0123456789012345678901\r\n"
        assert await patch(restart, **kind, **{"if-match": "*"}) == (409, "conflict")
        assert await patch(restart.replace("0123", ""), **kind, **{"if-match": "*"}) == (400, "bad_message")
        assert await patch(fragment, **kind, **{"if-match": etag}) == (204, "")
        await source.pc.setRemoteDescription(RTCSessionDescription(source.response.text, "answer"))
        await source.until(lambda: source.pc.connectionState == "connected", "the connection")


async def restart_ice(resource: Resource) -> None:
    """Moves an aiortc client to other addresses by a PATCH, as a program does that finds its network changed."""
    transport = resource.pc.getTransceivers()[0].receiver.transport.transport
    before, ours = transport._connection, IceRestart(transport, RTCConfiguration(iceServers=[]))
    await ours.gather()
    local = ours.gatherer.getLocalParameters()
    lines = [f"a=ice-ufrag:{local.usernameFragment}", f"a=ice-pwd:{local.password}", "m=video 9 X 0", "a=mid:0"]
    lines += [f"a=candidate:{candidate_to_sdp(each)}" for each in ours.gatherer.getLocalCandidates()]
    answer = await resource.http.patch(
        resource.location, content="\r\n".join(lines), headers={"content-type": FRAGMENT, "if-match": '"*"'}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, FRAGMENT), answer.text
    assert answer.headers["etag"] != resource.response.headers["etag"]
    theirs = SdpFragment.parse(answer.text)
    assert theirs.ufrag not in resource.response.text
    ours.begin(RTCIceParameters(theirs.ufrag, theirs.password))
    for candidate in parsed_candidates(theirs.candidates):
        await ours.add_candidate(candidate)
    await resource.until(lambda: ours.over, "the restart")
    assert transport._connection is not before


async def test_ice_is_restarted_below_the_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher and a viewer move twice; one that asks and never comes leaves everything as it was."""
    async with running() as server, publisher(f"{server.http}/whip?view=me", CameraTrack(PICTURE)) as source:
        await source.connect()
        await source.until(lambda: source.pc.connectionState == "connected", "the connection")
        peer = server.server.find("me").peer
        async with viewer(f"{server.http}/whep/me", sound=False) as watching:
            await watching.connect()
            await watching.more_pictures(3)
            viewed = server.server.find("me").viewers.all()[0]
            for resource, ours in ((source, peer), (watching, viewed)) * 2:
                (transport,) = transports(ours)
                before = transport._connection
                await restart_ice(resource)
                await resource.until(lambda before=before: before._closed, "the end of the old connection")
                assert transport._connection is not before
                assert transport.state == "completed"
                await watching.more_pictures(5)
            monkeypatch.setattr(ice_restart, "CHECK_LIMIT_S", 0.3)
            nobody = "a=ice-ufrag:newer\r\na=ice-pwd:0123456789012345678901\r\n"
            connections = [transport._connection for transport in transports(peer, viewed)]
            for resource in (source, watching):
                headers = {"content-type": FRAGMENT, "if-match": "*"}
                asked = await resource.http.patch(resource.location, content=nobody, headers=headers)
                assert asked.status_code == 200, asked.text
            restarts = [ours._pc._restart for ours in (peer, viewed)]
            await source.until(lambda: all(restart.over for restart in restarts), "the end of both")
            assert [transport._connection for transport in transports(peer, viewed)] == connections
            await watching.more_pictures(10)
            assert (await watching.http.delete(watching.location)).status_code == 200
        assert (await source.http.delete(source.location)).status_code == 200


def transports(*ends: Any) -> list[Any]:
    """The ICE transports of connections of ours."""
    return [end._pc.getTransceivers()[0].receiver.transport.transport for end in ends]


@pytest.mark.parametrize("path", ["/whip", "/whip/x", "/whep/x", "/whep/x/y"])
async def test_methods_and_media_types_are_as_the_rfc_says(path: str) -> None:
    """OPTIONS says what is taken, a preflight included; GET and PUT are 405 with Allow."""
    own = path in ("/whip", "/whep/x")
    async with running() as server, httpx.AsyncClient(trust_env=False, base_url=server.http) as client:
        said = await client.options(path)
        assert said.status_code == 204
        assert said.headers["accept-post" if own else "accept-patch"] == ("application/sdp" if own else FRAGMENT)
        ask = {"origin": server.http, "access-control-request-method": "POST"}
        allowed = await client.options(path, headers=ask)
        assert allowed.headers["access-control-allow-origin"] == server.http
        assert "if-match" in allowed.headers["access-control-allow-headers"]
        for method in ("GET", "PUT", "PATCH" if own else "POST"):
            refused = await client.request(method, path)
            assert refused.status_code == 405
            assert ("POST" if own else "PATCH") in refused.headers["allow"]


async def test_ice_servers_come_as_links() -> None:
    """RFC 9725, section 4.6: one Link each, TURN with its password."""
    servers = [
        {"urls": ["stun:127.0.0.1:9"]},
        {"urls": "turn:127.0.0.1:9?transport=udp", "username": "u", "credential": 'p"w'},
    ]
    assert ice_links(servers) == [
        '<stun:127.0.0.1:9>; rel="ice-server"',
        '<turn:127.0.0.1:9?transport=udp>; rel="ice-server"; username="u"; credential="p\\"w"; '
        'credential-type="password"',
    ]


async def test_viewers_are_encoded_once_and_limited() -> None:
    """Two players that could take either codec share one encoder; the third is one too many, and a place comes back."""
    async with running(max_viewers=2) as server, Participant(server.ws) as tab:
        name = (await tab.wait(type="welcome"))["view"]
        await tab.offer(CameraTrack(PICTURE))
        url = f"{server.http}/whep/{name}"
        session = server.server.find(name)
        async with viewer(url, "H264") as first, viewer(url) as second, viewer(url) as third:
            assert (await first.connect()).status_code == 201
            assert (await second.connect()).status_code == 201  # offers VP8 first
            assert "H264/90000" in second.response.text
            assert second.response.text.count("a=inactive") == 1  # this participant sends no sound
            for each in (first, second):
                await each.more_pictures(5)
            assert session.viewers.hub.encoders == 1
            full = await third.connect()
            assert (full.status_code, full.json()["code"]) == (503, "busy")
            assert (await first.http.delete(first.location)).status_code == 200
            assert len(session.viewers) == 1
            await second.more_pictures(5)
            assert (await third.connect()).status_code == 201
            await third.more_pictures(2)
        await second.until(lambda: len(session.viewers) == 0, "the viewers' ends")
        assert session.viewers.hub.encoders == 0
        await tab.pictures(3)  # the participant's own picture never stopped
