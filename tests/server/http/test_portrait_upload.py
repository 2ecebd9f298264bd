"""POST /api/portrait: a picture becomes a session's portrait, reaches its engine, and goes with the session."""

from types import SimpleNamespace

import cv2
import httpx
import numpy as np
import pytest

from engine.passthrough import PassthroughEngine
from engine.protocols import EngineTraits
from tests.engine.fakes import FakeEngine
from tests.server.client import Participant, running


class AvatarEngine(FakeEngine):
    """Gives squares of the portrait's mean colour, whatever comes."""

    traits = EngineTraits(shows_avatar=True, output_size=(64, 64))

    def open(self, config):
        stream = super().open(config)
        level = int(config.avatar.portrait_rgb.mean()) if config.avatar else 0
        render = stream.render

        def painted(work):
            return [type(f)(f.index, f.t_s, np.full((64, 64, 3), level, np.uint8), f.arrived_s) for f in render(work)]

        stream.render = painted
        return stream


def jpeg(level: int, size: tuple[int, int] = (80, 60)) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes()


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    face = SimpleNamespace(vertices_px=np.array([[10.0, 5, 0], [30, 25, 5]], np.float32))
    tracker = SimpleNamespace(track=lambda rgb, t_s: face if rgb.mean() > 20 else None, close=lambda: None)
    monkeypatch.setattr("lcvd.tracking.mesh.MeshTracker", lambda **kwargs: tracker)
    monkeypatch.setattr("lcvd.tracking.models.model_path", lambda name, directory: name)

    def detector(path: str):
        """Finds a face in every half of the picture that is bright, as wide as that half's brightness."""
        return lambda rgb: [
            SimpleNamespace(width_px=half.mean()) for half in np.array_split(rgb, 2, axis=1) if half.mean() > 20
        ][:: 1 if np.ptp(rgb.mean((0, 2))) > 20 else 2]

    monkeypatch.setattr("lcvd.tracking.detector.BlazeFace", SimpleNamespace(full_range=detector))


async def post(server, data: bytes, session: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(
            f"{server.http}/api/portrait", files={"file": ("me.jpg", data)}, data={"session": session}
        )


async def test_a_portrait_reaches_the_engine_of_its_session_alone(faces: None) -> None:
    """The avatar has the portrait's colour and the engine's size; another session still has no portrait."""
    async with (
        running(lambda name: AvatarEngine() if name == "lcvd" else PassthroughEngine(), engine="lcvd") as server,
        Participant(server.ws) as tab,
        Participant(server.ws) as other,
    ):
        welcome, foreign = await tab.wait(type="welcome"), await other.wait(type="welcome")
        answer = await post(server, jpeg(180), welcome["session"])
        assert answer.status_code == 200, answer.text
        assert answer.json()["face"] == [10, 5, 20, 20]
        await tab.offer()
        await tab.until(
            lambda: any(p.shape == (64, 64, 3) and abs(p.mean() - 180) < 6 for p in tab.received), what="the avatar"
        )
        answer = await post(server, jpeg(90), welcome["session"])
        assert answer.status_code == 200, answer.text
        await tab.until(lambda: abs(tab.received[-1].mean() - 90) < 6, what="the other portrait")
        assert server.server.sessions[foreign["session"]].requested.avatar is None


async def test_an_avatar_needs_a_portrait_first(faces: None) -> None:
    """set_engine to an engine that animates is refused with the remedy until there is a portrait."""
    make = lambda name: AvatarEngine() if name == "ratio" else PassthroughEngine()  # noqa: E731
    async with running(make) as server, Participant(server.ws) as tab:
        welcome = await tab.wait(type="welcome")
        server.server.engines.menu = lambda: [SimpleNamespace(name="ratio", available=True)]
        refused = await tab.ask(type="set_engine", engine="ratio")
        assert refused["type"] == "error"
        assert "/api/portrait" in refused["hint"]
        answer = await post(server, jpeg(180), welcome["session"])
        assert answer.status_code == 200, answer.text
        assert (await tab.ask(type="set_engine", engine="ratio"))["type"] == "ack"


async def test_what_is_no_portrait_is_refused(faces: None) -> None:
    """No face, no picture, too many pixels, no such session: each says what to do, and nothing is kept."""
    async with running() as server, Participant(server.ws) as tab:
        name = (await tab.wait(type="welcome"))["session"]
        bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0" * 64
        for data, session, word in (
            (jpeg(0), name, "face"),
            (b"", name, "empty"),
            (b"hello", name, ""),
            (bomb, name, "pixels"),
            (jpeg(180), "nobody", "session"),
        ):
            answer = await post(server, data, session)
            assert answer.status_code == 422, answer.text
            assert word in answer.json()["message"]
            assert answer.json()["hint"]
        assert server.server.sessions[name].requested.avatar is None


def test_the_operator_chooses_the_avatars_weights(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RELIGHT_LCVD_WEIGHTS and _SIZE reach the engine; the menu speaks of that very folder."""
    pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    from lcvd.weights.tiny import write_tiny
    from server.session.state import Server
    from server.settings import Settings

    folder = tmp_path / "tiny"
    monkeypatch.setenv("RELIGHT_LCVD_WEIGHTS", str(folder))
    monkeypatch.setenv("RELIGHT_LCVD_SIZE", "128")
    engines = Server(Settings()).engines
    choice = {c.name: c for c in engines.menu()}["lcvd"]
    assert not choice.available
    assert str(folder) in choice.reason
    write_tiny(folder)
    assert {c.name: c for c in engines.menu()}["lcvd"].available
    host = engines.device("lcvd")
    assert host.engine.traits.output_size == (128, 128)
    assert host.wait_ready(60)
    engines.close()


def halves(left: int, right: int) -> bytes:
    rgb = np.full((80, 80, 3), left, np.uint8)
    rgb[:, 40:] = right
    return cv2.imencode(".png", rgb)[1].tobytes()


async def test_of_two_faces_nobody_knows_whose_avatar_it_is(faces: None) -> None:
    """A second face nearly as large is refused with words; a small one in the background is not."""
    async with running() as server, Participant(server.ws) as tab:
        name = (await tab.wait(type="welcome"))["session"]
        answer = await post(server, halves(200, 120), name)
        assert answer.status_code == 422
        assert answer.json()["code"] == "bad_upload"
        assert "2 faces" in answer.json()["message"]
        assert server.server.sessions[name].requested.avatar is None
        assert (await post(server, halves(200, 60), name)).status_code == 200


def test_the_real_detector_counts_faces() -> None:
    """The sample portrait is one person; two of it side by side are two."""
    from engine.bench.sample_clip import load_portrait
    from lcvd.errors import LcvdError
    from server.errors import BadUpload
    from server.http.uploads import portrait_of
    from server.settings import Settings

    def png(rgb: np.ndarray) -> bytes:
        return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()

    portrait = load_portrait()
    try:
        found = portrait_of(png(portrait), "one.png", Settings())
    except LcvdError as error:
        pytest.skip(f"no tracking models: {error}")
    assert found.rgb.shape == portrait.shape
    assert found.placeholder.shape == (512, 512, 3)
    # A tiny LCVD's stand-in, the CPU's avatar, is shown beside it at its own size.
    assert np.array_equal(portrait_of(png(portrait), "one.png", Settings(lcvd_size=64)).placeholder, found.placeholder)
    assert portrait_of(png(portrait), "one.png", Settings(lcvd_size=768)).placeholder.shape == (768, 768, 3)
    with pytest.raises(BadUpload, match="2 faces"):
        portrait_of(png(np.hstack([portrait, portrait[:, ::-1]])), "two.png", Settings())
