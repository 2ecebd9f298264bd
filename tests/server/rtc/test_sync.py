"""`stats.sync`: the RTP timestamp of a returned picture belongs to the arrival of the very picture it was made from."""

import time
from typing import Any

import av
import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack
from aiortc.rtp import RtcpSrPacket

from engine.bench.timecode import read, stamp
from tests.server.client import CameraTrack, Participant, moving_square, running


class NumberedCamera(CameraTrack):
    """Stamps its number into each picture, and remembers when each was drawn (Unix time)."""

    def __init__(self) -> None:
        self.drawn_s: dict[int, float] = {}
        square = moving_square((240, 320))

        def picture(index: int) -> np.ndarray:
            rgb = square(index)
            stamp(rgb, index)
            self.drawn_s[index] = time.time()
            return rgb

        super().__init__(picture)


class RtpWatcher(Participant):
    """Remembers the number in each returned picture, by its RTP timestamp, and when it came back (Unix time)."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.by_rtp: dict[int, tuple[int, float]] = {}

    async def _watch(self, track: MediaStreamTrack) -> None:
        (receiver,) = self.pc.getReceivers()  # type: ignore[union-attr]
        mapper: Any = receiver._RTCRtpReceiver__timestamp_mapper  # type: ignore[attr-defined]
        receive = track.recv

        async def noting() -> av.VideoFrame:
            picture: Any = await receive()
            number = read(np.ascontiguousarray(picture.to_ndarray(format="rgb24")))
            if number is not None:
                self.by_rtp[(mapper._origin + picture.pts) & 0xFFFFFFFF] = (number, time.time())
            return picture

        track.recv = noting  # type: ignore[method-assign]
        await super()._watch(track)


async def test_a_sync_pair_is_of_one_picture() -> None:
    """A picture with exactly `rtp` comes back, and the number inside was drawn before and seen after `arrived_s`."""
    camera = NumberedCamera()
    async with running() as server, RtpWatcher(server.ws) as tab:
        await tab.offer(camera)
        await tab.pictures(30)

        def pairs() -> list[dict[str, Any]]:
            found = [m["sync"] for m in tab.inbox if m["type"] == "stats" and m["sync"] is not None]
            return found if len(found) >= 4 and found[-2]["rtp"] in tab.by_rtp else []

        found = (await tab.until(pairs, what="sync pairs whose pictures came back"))[:-1]
        matched = [(pair, *tab.by_rtp[pair["rtp"]]) for pair in found if pair["rtp"] in tab.by_rtp]
        assert len(matched) >= 3  # the very first ones may have left before the first whole picture came back
        for pair, number, back_s in matched:
            assert camera.drawn_s[number] <= pair["arrived_s"] <= back_s
            assert 0 < pair["decode_ms"] / 1e3 < back_s - min(camera.drawn_s.values())


async def test_a_sync_pair_names_the_sound_of_its_moment() -> None:
    """The sender reports of both tracks put `rtp` and `sound_rtp` at the same moment; without sound there is none."""
    reports: dict[str, Any] = {}

    def note(receiver: RTCRtpReceiver) -> None:
        handle = receiver._handle_rtcp_packet

        async def noting(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                reports[receiver.track.kind] = packet.sender_info
            await handle(packet)

        receiver._handle_rtcp_packet = noting  # type: ignore[method-assign]

    def sent_s(kind: str, rtp: int) -> float:
        since = (rtp - reports[kind].rtp_timestamp + 2**31) % 2**32 - 2**31
        return float(reports[kind].ntp_timestamp / 2**32 + since / {"video": 90_000, "audio": 48_000}[kind])

    async with running() as server, Participant(server.ws) as tab:

        def pairs() -> list[dict[str, Any]]:
            return [m["sync"] for m in tab.inbox if m["type"] == "stats" and m["sync"] is not None]

        await tab.offer()
        await tab.until(pairs, what="a sync pair")
        assert pairs()[-1]["sound_rtp"] is None
        tab.inbox.clear()
        await tab.offer(sound=AudioStreamTrack())
        assert tab.pc is not None
        for receiver in tab.pc.getReceivers():
            note(receiver)
        await tab.until(lambda: len(reports) == 2, what="sender reports of both tracks")
        tab.inbox.clear()
        await tab.until(lambda: any(pair["sound_rtp"] is not None for pair in pairs()), what="a pair with sound")
        pair = pairs()[-1]
    # Both reports tell Unix time by clocks that are read one after the other.
    assert abs(sent_s("video", pair["rtp"]) - sent_s("audio", pair["sound_rtp"])) < 1e-3


async def test_the_pong_is_precise() -> None:
    """`server_s` lies between asking and hearing, which milliseconds on this machine would not always do."""
    async with running() as server, Participant(server.ws) as tab:
        for t in range(20):
            before_s = time.time()
            pong = await tab.ask(type="ping", t=t)
            assert before_s - 1e-6 <= pong["server_s"] <= time.time() + 1e-6


async def test_without_a_sent_picture_there_is_no_pair() -> None:
    """A connection that has sent no picture of the source has nothing to tell."""
    async with running() as server, Participant(server.ws) as tab:
        await tab.offer()
        await tab.pictures(1)
        (session,) = server.server.sessions.values()
        await tab.until(session.peer.sync, what="a pair")
        session.peer.output.sent = None
        assert session.peer.sync() is None
