"""server.rtc.intake: a source of too many pixels is not listened to for a while, and goes on with a key frame."""

import asyncio
import math
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace

import pylibsrtp
import pytest

from server.rtc.intake import Intake
from server.rtc.pictures.picture_cap import PictureCap
from server.rtc.transport.dtls import WantedPackets
from tests.server.client import CameraTrack, Participant, moving_square, running

PIXELS = 1920 * 1080
LIMIT = 1280 * 720 * 30


def share(fps: int, limit: float, pixels: int = PIXELS, seconds: int = 20) -> float:
    """Returns how much of a source's pictures is admitted, of one packet each."""
    now = [0.0]
    intake = Intake(lambda: now[0])
    admitted = 0
    for index in range(fps * seconds):
        now[0] = index / fps
        intake.set_limit(limit)
        if intake.admits():
            admitted += 1
            intake.took(pixels)
    return admitted / (fps * seconds)


def test_what_fits_is_admitted_whole() -> None:
    """Also exactly at the limit, and everything where there is none."""
    assert share(30, LIMIT, 1280 * 720) == 1.0
    assert share(60, math.inf) == 1.0


def test_what_does_not_fit_is_admitted_in_part() -> None:
    """1080p at 60 has 4.5 times the pixels of 720p at 30: a little over a fifth passes, with the first burst."""
    assert 0.2 <= share(60, LIMIT) <= 0.28


def test_a_source_rests_and_is_heard_again() -> None:
    """It is heard in runs, not picture by picture: none of them could be decoded alone."""
    now = [0.0]
    intake = Intake(lambda: now[0])
    intake.set_limit(100)
    intake.took(31)
    assert (intake.admits(), intake.resting) == (False, True)
    now[0] = 0.3
    assert not intake.admits()
    now[0] = 0.35
    assert (intake.admits(), intake.resting) == (True, False)
    intake.took(101)
    intake.set_limit(math.inf)
    assert intake.admits()


async def test_a_greedy_source_stutters_and_the_others_do_not() -> None:
    """The pictures of one that sends too many pixels come in runs that begin with a key frame; the socket stays."""
    small = PictureCap(160, 120, 30, intake_px_s=160 * 120 * 8)
    async with running() as server, Participant(server.ws) as greedy:
        await greedy.offer(CameraTrack(moving_square((240, 320)), fps=30))
        await greedy.pictures(3)
        peer = next(iter(server.server.sessions.values())).peer
        peer._cap = lambda: small
        receiver = peer._receiver("video")
        receiver.handle(lambda: small, lambda: 320 * 240)
        await greedy.until(lambda: receiver._frames.intake.resting, what="a pause")
        await greedy.until(lambda: not receiver._frames.intake.resting, what="its end")
        came = peer.frames_in
        await greedy.until(lambda: peer.frames_in > came, what="pictures after it")
        receiver.handle(lambda: None, lambda: 320 * 240)
        await greedy.until(lambda: greedy.received[-1].shape == (240, 320, 3), what="whole pictures")
        await greedy.pictures(10)
        assert (await greedy.ask(type="ping", t=1))["type"] == "pong"


def test_a_source_that_rests_again_and_again_is_heavy() -> None:
    """It stays so for a while after its last rest; one that fits never is."""
    now = [0.0]
    intake = Intake(lambda: now[0])
    intake.set_limit(100)
    assert not intake.heavy
    intake.took(101)
    assert (intake.admits(), intake.heavy) == (False, True)
    now[0] = 4.0
    assert (intake.admits(), intake.heavy) == (True, True)
    now[0] = 5.1
    assert not intake.heavy


def test_pictures_of_a_heavy_source_are_small_and_few() -> None:
    """Of like shape; a cap that is smaller already stays as it is but for the rate."""
    cap = PictureCap(1280, 720, 30, 1e6).for_heavy()
    assert (cap.fps, cap.intake_px_s) == (15, 1e6)
    assert cap.pixels == pytest.approx(640 * 480, rel=0.01)
    assert cap.width / cap.height == pytest.approx(16 / 9, rel=0.01)
    assert PictureCap(320, 240, 10).for_heavy() == PictureCap(320, 240, 10)


async def test_packets_of_a_resting_source_are_not_decrypted() -> None:
    """Nor is anything lost by it: the source is heard again, and its sound and reports are all the time."""
    small = PictureCap(160, 120, 30, intake_px_s=160 * 120 * 8)
    async with running() as server, Participant(server.ws) as greedy:
        await greedy.offer(CameraTrack(moving_square((240, 320)), fps=30))
        await greedy.pictures(3)
        receiver = next(iter(server.server.sessions.values())).peer._receiver("video")
        srtp = receiver.transport._rx_srtp
        decrypted = []
        session = srtp._session
        srtp._session = SimpleNamespace(unprotect=lambda data: decrypted.append(1) or session.unprotect(data))
        receiver.handle(lambda: small, lambda: 320 * 240)
        await greedy.until(lambda: receiver._frames.intake.resting, what="a pause")
        decrypted.clear()
        dropped = 0
        while receiver._frames.intake.resting:
            dropped = max(dropped, len(decrypted))
            await asyncio.sleep(0.01)
        assert dropped == 0
        await greedy.until(lambda: decrypted, what="packets after it")


def test_a_long_rest_does_not_lose_the_count_of_rounds() -> None:
    """One packet in 16,384 is decrypted all the same: SRTP would take a later one for one of another round."""
    seen: list[int] = []

    def unprotect(data: bytes) -> bytes:
        seen.append(int.from_bytes(data[2:4], "big"))
        return data

    packets = WantedPackets(SimpleNamespace(unprotect=unprotect, unprotect_rtcp=None), lambda kind: kind == 96)
    for number in range(100_000):
        with suppress(pylibsrtp.Error):
            packets.unprotect(bytes([128, 96]) + (number % 65536).to_bytes(2, "big"))
    assert [(b - a) % 65536 for a, b in pairwise(seen)] == [16384] * (len(seen) - 1)
    assert len(seen) == 7
    seen.clear()
    packets.unprotect(bytes([128, 97, 0, 5]))
    assert seen == [5]
