"""set_avatar and GET /api/avatar: settings are merged, kept across offers, and answered with a prediction."""

from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from engine.diffusion.latency import QUALITIES
from engine.passthrough import PassthroughEngine
from engine.protocols import Avatar, EngineTraits, Prediction
from server import protocol
from server.session.avatar_settings import AvatarSettings
from tests.engine.fakes import FakeEngine
from tests.server.client import Participant, running


class Measured(FakeEngine):
    """Predicts from what it is asked, so that a test sees what that was."""

    backend = "abacus"
    quality = "quick"

    def predict(self, avatar: Avatar, source_fps: float, streams: int) -> Prediction | None:
        if avatar.mode == "staggered":
            raise ValueError("mode='staggered': the model was not trained for it; use window")
        return Prediction(avatar.steps or 0, source_fps, streams == 1)


def settings_after(*messages: dict) -> AvatarSettings:
    settings = AvatarSettings()
    for message in messages:
        settings = settings.merged(protocol.SetAvatar(type="set_avatar", **message))
    return settings


def test_a_quality_names_three_fields_and_a_field_only_itself() -> None:
    """Later messages win, field by field; the mode stays until it is named again."""
    assert settings_after({"quality": "quick"}) == AvatarSettings(2, 1.0, 8, None)
    assert settings_after({"quality": "quick"}, {"steps": 8}) == AvatarSettings(8, 1.0, 8, None)
    assert settings_after({"omega": 3.0, "mode": "staggered"}, {"quality": "instant"}) == AvatarSettings(
        1, 1.0, 4, "staggered"
    )
    assert settings_after({"mode": "staggered"}, {"quality": "fine", "mode": "window"}).mode == "window"
    avatar = settings_after({"stride": 4}).avatar_of(np.zeros((2, 2, 3), np.uint8))
    assert (avatar.steps, avatar.omega, avatar.stride, avatar.mode) == (None, None, 4, None)


async def test_the_ack_says_what_the_settings_will_cost() -> None:
    """`predicted` is the engine's, at 25 fps until the camera was measured; null where nothing can predict."""
    engines = {"ratio": Measured(), "passthrough": PassthroughEngine()}
    async with running(engines.get, engine="ratio") as server, Participant(server.ws) as tab:
        ack = await tab.ask(type="set_avatar", quality="finer")
        assert (ack["type"], ack["of"]) == ("ack", "set_avatar")
        assert ack["predicted"] == {"delay_s": 8.0, "fps": 25.0, "keeps_up": True}
        refused = await tab.ask(type="set_avatar", steps=3)
        assert (refused["type"], refused["code"]) == ("error", "bad_value")
        refused = await tab.ask(type="set_avatar", steps=2, mode="staggered")
        assert (refused["type"], refused["code"]) == ("error", "bad_message")
        assert "staggered" in refused["message"]
        await tab.offer()
        await tab.wait(type="stats")
        ack = await tab.ask(type="set_avatar", stride=4)
        assert ack["predicted"]["delay_s"] == 8.0  # the refused message changed nothing
        assert ack["predicted"]["fps"] != 25.0
    async with running() as server, Participant(server.ws) as tab:
        assert (await tab.ask(type="set_avatar", quality="finer"))["predicted"] is None


async def test_the_settings_reach_the_engine_and_outlive_portraits_and_offers() -> None:
    """Every stream is opened with the newest portrait and all that was chosen so far."""
    fake = FakeEngine(add=0)
    fake.traits = EngineTraits(output_size=(64, 64))
    opened: list[Avatar] = []
    plain = fake.open
    fake.open = lambda config: opened.append(config.avatar) or plain(config)  # type: ignore[method-assign]
    engines = {"ratio": fake, "passthrough": PassthroughEngine()}
    async with running(engines.get, engine="ratio") as server, Participant(server.ws) as tab:
        name = (await tab.wait(type="welcome"))["session"]
        await tab.ask(type="set_avatar", quality="instant")
        await server.server.sessions[name].set_portrait(np.full((8, 8, 3), 7, np.uint8))
        await tab.ask(type="set_avatar", omega=2)
        for level in (7, 9):
            await server.server.sessions[name].set_portrait(np.full((8, 8, 3), level, np.uint8))
            await tab.offer()
            await tab.until(lambda n=level: opened and opened[-1].portrait_rgb[0, 0, 0] == n, what="the portrait")
            assert (opened[-1].steps, opened[-1].omega, opened[-1].stride) == (1, 2.0, 4)


async def test_the_qualities_come_with_their_cost() -> None:
    """GET /api/avatar lists every stop in order, predicted for the rate that was asked for."""
    engines = {"ratio": Measured(), "passthrough": PassthroughEngine()}
    async with running(engines.get, engine="ratio") as server, httpx.AsyncClient(trust_env=False) as client:
        body = (await client.get(f"{server.http}/api/avatar?fps=50")).json()
        assert [quality["name"] for quality in body["qualities"]] == [quality.name for quality in QUALITIES]
        assert [quality["predicted"]["delay_s"] for quality in body["qualities"]] == [q.steps for q in QUALITIES]
        assert {quality["predicted"]["fps"] for quality in body["qualities"]} == {50.0}
        assert body["default"] == "quick"  # the engine's own
        assert body["backend"] == "abacus"
        for wrong in ("0", "61", "nan", "fast"):
            answer = await client.get(f"{server.http}/api/avatar?fps={wrong}")
            assert answer.status_code == 422
            assert "fps" in answer.json()["message"]
        window = (await client.get(f"{server.http}/api/avatar?fps=50&mode=window")).json()
        assert window == body
        refused = await client.get(f"{server.http}/api/avatar?mode=staggered")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_message")
        assert (await client.get(f"{server.http}/api/avatar?mode=fast")).status_code == 422


@pytest.mark.parametrize(
    ("manifest", "staggered"),
    [('{"staggered": true}', True), ('{"staggered": "yes"}', False), ("{}", False), ("[broken", False), (None, False)],
)
async def test_the_staggered_mode_is_offered_where_the_weights_were_trained_for_it(
    tmp_path: Path, manifest: str | None, staggered: bool
) -> None:
    """GET /api/avatar reads it from the weights' manifest; anything but true there, or no manifest, is false."""
    if manifest is not None:
        (tmp_path / "lcvd.json").write_text(manifest)
    async with running(lcvd_weights=str(tmp_path)) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{server.http}/api/avatar")).json()["staggered"] is staggered


async def test_the_cost_is_that_of_the_mode_asked_for() -> None:
    """GET /api/avatar?mode= reaches the prediction of every stop."""
    asked: list[str | None] = []

    class Asked(FakeEngine):
        def predict(self, avatar: Avatar, source_fps: float, streams: int) -> None:
            asked.append(avatar.mode)

    engines = {"ratio": Asked(), "passthrough": PassthroughEngine()}
    async with running(engines.get, engine="ratio") as server, httpx.AsyncClient(trust_env=False) as client:
        for query in ("", "?mode=window", "?mode=staggered"):
            assert (await client.get(f"{server.http}/api/avatar{query}")).status_code == 200
    assert asked == [None] * len(QUALITIES) + ["window"] * len(QUALITIES) + ["staggered"] * len(QUALITIES)


@pytest.mark.parametrize("others", [0, 2])
async def test_those_who_share_the_engine_count(others: int) -> None:
    """`streams` is how many live participants the engine has, oneself included."""
    asked: list[int] = []

    class Counting(Measured):
        def predict(self, avatar: Avatar, source_fps: float, streams: int) -> None:
            asked.append(streams)

    engines = {"ratio": Counting(add=0), "passthrough": PassthroughEngine()}
    async with running(engines.get, engine="ratio") as server, Participant(server.ws) as tab:
        await tab.offer()
        for number in range(others):
            server.server.sessions[f"other {number}"] = SimpleNamespace(runs="ratio", close=tab.socket.ping)
        assert (await tab.ask(type="set_avatar", steps=1))["predicted"] is None
        for number in range(others):
            del server.server.sessions[f"other {number}"]
    assert asked == [1 + others]
