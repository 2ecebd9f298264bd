"""A session with an avatar over real WebRTC: lit until the portrait comes, then never shown by camera."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from aiortc.mediastreams import AudioStreamTrack

from engine.errors import EngineUnavailable
from engine.frames import Frame, Work
from engine.passthrough import PassthroughEngine
from engine.protocols import Engine, EngineTraits, StreamConfig
from lcvd.errors import LcvdError
from tests.engine.fakes import FakeEngine, FakeStream
from tests.server.client import CameraTrack, Participant, Running, running

CAMERA_LEVEL, PORTRAIT_LEVEL, SIMPLE_LEVEL, FINE_LEVEL = 240, 60, 110, 160
PORTRAIT = np.full((80, 60, 3), PORTRAIT_LEVEL, np.uint8)


class Avatar(FakeEngine):
    """Gives squares of one level."""

    traits = EngineTraits(shows_avatar=True, output_size=(64, 64))

    def __init__(self, level: int, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.level = level

    def open(self, config: StreamConfig) -> FakeStream:
        assert config.avatar is not None
        stream = super().open(config)
        render = stream.render

        def painted(work: Work) -> list[Frame]:
            rgb = np.full((64, 64, 3), self.level, np.uint8)
            return [Frame(f.index, f.t_s, rgb.copy(), f.arrived_s) for f in render(work)]

        stream.render = painted  # type: ignore[method-assign]
        return stream


def engines(**own: Engine) -> Callable[[str], Engine]:
    """Returns a maker of `own`, and of the passthrough under every other camera engine's name."""

    def make(name: str) -> Engine:
        if name in own:
            return own[name]
        if name in ("lcvd", "avatar"):
            raise EngineUnavailable(f"no {name} here", "install it")
        return PassthroughEngine()

    return make


def white() -> CameraTrack:
    return CameraTrack(lambda index: np.full((120, 160, 3), CAMERA_LEVEL, np.uint8))


def session_of(server: Running):
    return next(iter(server.server.sessions.values()))


def newest(tab: Participant) -> dict[str, str]:
    """Returns the engine as the last stats report it."""
    return next((m["engine"] for m in reversed(tab.inbox) if m["type"] == "stats"), {"name": "", "showing": ""})


async def shows(tab: Participant, showing: str, level: int) -> None:
    """Waits until stats and picture agree on what is shown."""
    await tab.until(
        lambda: newest(tab)["showing"] == showing and tab.received and abs(tab.received[-1].mean() - level) < 6,
        what=showing,
    )


async def test_a_portrait_turns_the_camera_into_the_avatar() -> None:
    """Default lcvd, which warms up for long: ready at once, lit by the CPU; with the portrait no camera any more."""
    warm = threading.Event()
    make = engines(
        lcvd=Avatar(FINE_LEVEL, name="lcvd", on_warmup=lambda: warm.wait(30) and None),
        avatar=Avatar(SIMPLE_LEVEL, name="avatar"),
        ratio=FakeEngine(name="ratio", add=0),
    )
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{server.http}/readyz")).json()["engine"] == "lcvd"
        assert (await tab.wait(type="welcome"))["engine"] == "lcvd"
        await tab.offer(white())
        await tab.until(lambda: newest(tab)["showing"] == "ratio", what="the light")
        assert newest(tab)["name"] == "ratio"
        await session_of(server).set_portrait(PORTRAIT)
        await tab.until(lambda: any(p.shape[0] == 64 for p in tab.received), what="another picture than the camera's")
        tab.received.clear()
        await shows(tab, "avatar", SIMPLE_LEVEL)
        assert (newest(tab)["name"], newest(tab)["state"]) == ("lcvd", "warming")
        warm.set()
        await shows(tab, "lcvd", FINE_LEVEL)
        assert not [p for p in tab.received if p.mean() > FINE_LEVEL + 20]
        assert (await tab.ask(type="pause", on=True))["type"] == "ack"
        tab.received.clear()
        paused = await tab.pictures(5)
        assert not [p for p in paused if abs(p.mean() - FINE_LEVEL) > 6]


async def test_a_second_offer_starts_with_the_portrait() -> None:
    """The new connection has not shown an avatar yet, and never shows the camera instead."""
    warm = threading.Event()
    make = engines(lcvd=Avatar(FINE_LEVEL, name="lcvd", on_warmup=lambda: warm.wait(30) and None))
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        await session_of(server).set_portrait(PORTRAIT)
        for _ in range(2):
            await tab.offer(white())
            await tab.until(lambda: bool(tab.received), what="a picture")
            assert not [p for p in await tab.pictures(5) if abs(p.mean() - PORTRAIT_LEVEL) > 6]
        warm.set()
        await shows(tab, "lcvd", FINE_LEVEL)


async def test_a_failing_avatar_has_a_fallback_and_one_notice() -> None:
    """lcvd fails at every frame: the simpler avatar, one notice; once it works it comes back by itself."""
    broken = threading.Event()

    def explode(work: object) -> None:
        if broken.is_set():
            raise RuntimeError("boom")

    make = engines(lcvd=Avatar(FINE_LEVEL, name="lcvd", on_render=explode), avatar=Avatar(SIMPLE_LEVEL, name="avatar"))
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        await session_of(server).set_portrait(PORTRAIT)
        await tab.offer(white())
        await shows(tab, "lcvd", FINE_LEVEL)
        broken.set()
        await shows(tab, "avatar", SIMPLE_LEVEL)
        notice = await tab.wait(type="notice", code="fallback")
        assert notice["hint"]
        assert "seen" not in notice["message"]
        assert "boom" not in notice["message"]
        await tab.pictures(20)
        assert len([m for m in tab.inbox if m.get("code") == "fallback"]) == 1
        broken.clear()
        await shows(tab, "lcvd", FINE_LEVEL)
        assert not [p for p in tab.received if p.mean() > FINE_LEVEL + 20]


async def test_a_warm_up_that_fails_is_a_notice_with_the_fallback() -> None:
    """The server starts all the same; the participant with a portrait sees the simpler avatar and reads why."""

    def no_memory() -> None:
        raise EngineUnavailable("LCVD needs 12 GiB of GPU memory, 3 are free", "close what uses them")

    make = engines(
        lcvd=Avatar(FINE_LEVEL, name="lcvd", on_warmup=no_memory), avatar=Avatar(SIMPLE_LEVEL, name="avatar")
    )
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        await session_of(server).set_portrait(PORTRAIT)
        await tab.offer(white())
        await shows(tab, "avatar", SIMPLE_LEVEL)
        assert "12 GiB" in (await tab.wait(type="notice", code="fallback"))["message"]
        await tab.until(lambda: newest(tab)["state"] == "failed" and "avatar" in newest(tab)["message"], what="words")
        assert len([m for m in tab.inbox if m.get("code") == "fallback"]) == 1
        metrics = server.server.metrics.text().decode()
        assert 'relight_showing_sessions{showing="avatar"} 1.0' in metrics


async def test_where_lcvd_cannot_be_made_the_simple_avatar_is_the_default() -> None:
    """The next best to an avatar is an avatar."""
    make = engines(avatar=Avatar(SIMPLE_LEVEL, name="avatar"), ratio=FakeEngine(name="ratio", add=0))
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        assert (await tab.wait(type="welcome"))["engine"] == "avatar"
        assert "lcvd cannot run: no lcvd here" in (await tab.wait(type="notice", code="fallback"))["message"]
        await tab.offer(white())
        await tab.until(lambda: newest(tab)["showing"] == "ratio", what="the light")
        await session_of(server).set_portrait(PORTRAIT)
        await shows(tab, "avatar", SIMPLE_LEVEL)


async def test_the_avatar_goes_on_until_the_camera_engine_is_ready() -> None:
    """Back to ratio by choice, while lcvd warms up still: the camera comes with the light and not before."""
    warm, slow = threading.Event(), threading.Event()
    make = engines(
        lcvd=Avatar(FINE_LEVEL, name="lcvd", on_warmup=lambda: warm.wait(30) and None),
        avatar=Avatar(SIMPLE_LEVEL, name="avatar"),
        other=FakeEngine(name="other", add=0, on_warmup=lambda: slow.wait(30) and None),
    )
    async with running(make, engine="lcvd") as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        await session_of(server).set_portrait(PORTRAIT)
        await tab.offer(white())
        await shows(tab, "avatar", SIMPLE_LEVEL)
        await asyncio.to_thread(server.server.engines.device, "other")  # the menu lists it from now on
        assert (await tab.ask(type="set_engine", engine="other"))["type"] == "ack"
        tab.received.clear()
        assert not [p for p in await tab.pictures(10) if p.mean() > SIMPLE_LEVEL + 20]
        slow.set()
        await tab.until(
            lambda: newest(tab)["showing"] == "other" and tab.received[-1].shape[0] == 120, what="the camera, lit"
        )
        warm.set()


async def test_the_sound_waits_for_the_window() -> None:
    """The audio's delay becomes the measured one of the pictures, whatever was shown before."""
    warm = threading.Event()
    fine = Avatar(FINE_LEVEL, name="lcvd", window=8, on_warmup=lambda: warm.wait(30) and None)
    fine.traits = replace(fine.traits, stall_s=5.0)
    async with running(engines(lcvd=fine), engine="lcvd") as server, Participant(server.ws) as tab:
        await tab.wait(type="welcome")
        await session_of(server).set_portrait(PORTRAIT)
        await tab.offer(white(), sound=AudioStreamTrack())
        await shows(tab, "portrait", PORTRAIT_LEVEL)
        audio = session_of(server).peer._audio
        assert audio.delay_s < 0.1
        warm.set()
        await shows(tab, "lcvd", FINE_LEVEL)
        await tab.until(lambda: audio.delay_s > 0.2, what="the sound to wait")  # 7 frames of 50 ms, less the receiver's
        p50_s = session_of(server).snapshot.latency_ms["p50"] / 1e3
        assert audio.delay_s == pytest.approx(p50_s, abs=0.15)


async def test_the_tiny_lcvd_from_portrait_to_picture(tmp_path: Path) -> None:
    """The real engine, tracker and codecs: portrait, quality, light; the delay is predicted, then measured."""
    pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    pytest.importorskip("diffusers", reason="pip install -e '.[lcvd]'")
    from engine.bench.sample_clip import load_portrait, sample_frame
    from lcvd.tracking.mesh import MeshTracker
    from lcvd.weights.tiny import write_tiny

    try:
        MeshTracker().close()
    except LcvdError as error:
        pytest.skip(f"no tracking models: {error}")
    write_tiny(tmp_path / "tiny")
    portrait = load_portrait()
    jpeg = cv2.imencode(".jpg", portrait[..., ::-1])[1].tobytes()
    # Few pictures and the smallest windows: a busy machine keeps up, too.
    camera = CameraTrack(lambda index: sample_frame(portrait, (240, 320), index / 5), fps=5)
    options = {"lcvd_weights": str(tmp_path / "tiny"), "lcvd_size": 64, "lcvd_backend": "eager"}
    async with running(engine="lcvd", **options) as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        assert welcome["engine"] == "lcvd"
        assert (await tab.ask(type="set_avatar", quality="instant"))["type"] == "ack"
        await tab.offer(camera)
        await tab.until(lambda: newest(tab)["name"] in ("ratio", "passthrough"), 60, what="the camera, lit")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            form = {"files": {"file": ("me.jpg", jpeg)}, "data": {"session": welcome["session"]}}
            assert (await client.post(f"{server.http}/api/portrait", **form)).status_code == 200
            await tab.until(lambda: newest(tab)["name"] == "lcvd", 120, what="the avatar's engine")
            await tab.until(lambda: newest(tab)["showing"] == "lcvd", 180, what="the avatar")
            qualities = (await client.get(f"{server.http}/api/avatar?fps=5")).json()
        await tab.until(lambda: tab.received[-1].shape == (64, 64, 3), 60, what="its picture to come through")
        ack = await tab.ask(type="set_avatar", quality="quick")
        assert ack["type"] == "ack"
        if ack["predicted"] is not None:  # the engine has measured itself
            assert ack["predicted"]["delay_s"] > 0.2
            assert [q["name"] for q in qualities["qualities"] if q["predicted"]]
        assert (await tab.ask(type="set_light", preset="rembrandt-left"))["type"] == "ack"
        tab.inbox.clear()
        await tab.until(lambda: newest(tab)["showing"] == "lcvd" and newest(tab)["state"] == "ok", 120, what="ok")
