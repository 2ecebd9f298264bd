"""A participant who comes back on another socket goes on with everything that was chosen."""

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from dataclasses import asdict

import numpy as np
import pytest

from lcvd.lighting.presets import PRESETS
from server.light_message import Light
from server.protocol import parse
from server.session.lost_sessions import LostSession, LostSessions
from server.session.requested import Requested
from server.session.saved_state import SavedState
from tests.server.client import Participant, Running, running

SENT = [
    {"type": "set_light", "preset": "rembrandt-left", "adjust": {"direction": [1, 0, 1], "intensity": 0.5}},
    {"type": "set_strength", "value": 0.25},
    {"type": "set_background", "mode": "lit", "gain": 0.5},
    {"type": "set_view", "hint": True, "split": 0.5},
    {"type": "mirror", "on": True},
    {"type": "pause", "on": True},
]
PORTRAIT = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)


def chosen() -> Requested:
    """Returns settings that differ from the defaults in every field."""
    requested = Requested("passthrough")
    for message in SENT:
        requested = requested.changed_by(parse(json.dumps(message)))
    settings = requested.avatar_settings.merged(parse('{"type": "set_avatar", "steps": 4, "omega": 3}'))
    return requested.with_portrait(PORTRAIT, PORTRAIT[:20, :20]).with_avatar_settings(settings)


def comparable(state: SavedState) -> str:
    return repr(state.to_dict())


def plain(value: object) -> bool:
    """True for JSON's types and bytes, all the way down."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(plain(each) for each in value)
    return value is None or type(value) in (str, bool, int, float, bytes)


def test_a_state_survives_a_process() -> None:
    """Plain types, pickled and back: the light to the last bit, the portrait and all else."""
    state = SavedState(chosen(), "a-view")
    saved = state.to_dict()
    assert plain(saved), saved
    back = SavedState.from_dict(pickle.loads(pickle.dumps(saved)))
    assert comparable(back) == comparable(state)
    assert np.array_equal(back.requested.avatar.portrait_rgb, PORTRAIT)
    assert back.requested.avatar.steps == 4
    assert np.array_equal(back.requested.placeholder.rgb, PORTRAIT[:20, :20])
    ours, theirs = state.requested.light.lighting, back.requested.light.lighting
    assert asdict(ours) == asdict(theirs)


@pytest.mark.parametrize("item", PRESETS, ids=lambda item: item.lighting.name)
def test_every_preset_survives(item) -> None:
    """Each with its own strength, background and environment, which the light on the wire does not carry."""
    requested = Requested("passthrough")
    light = requested.changed_by(parse(json.dumps({"type": "set_light", "preset": item.lighting.name})))
    state = SavedState(light, "")
    assert comparable(SavedState.from_dict(state.to_dict())) == comparable(state)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running(max_sessions=1) as server:
        yield server


async def prepare(tab: Participant, server: Running) -> str:
    """Chooses everything, with a portrait; returns the session's name."""
    session = (await tab.wait(type="welcome"))["session"]
    for message in SENT:
        assert (await tab.ask(**message))["type"] == "ack"
    await server.server.sessions[session].set_portrait(PORTRAIT)
    return session


async def check_resumed(tab: Participant, server: Running, lost: str, before: SavedState) -> None:
    """Resumes `lost` on `tab`, and looks that all is there."""
    welcome = await tab.wait(type="welcome")
    ack = await tab.ask(type="resume", session=lost)
    assert (ack["type"], ack.get("resumed"), ack.get("avatar")) == ("ack", True, True), ack
    assert ack["lighting"] == json.loads(Light.of(before.requested.light.lighting).model_dump_json())
    assert ack["view"] == before.view
    assert comparable(server.server.sessions[welcome["session"]].save()) == comparable(before)
    assert lost not in server.server.sessions
    assert (await tab.offer())["type"] == "answer"  # the one place there is was freed
    await tab.pictures(2)


async def test_a_lost_socket_is_resumed(server: Running) -> None:
    """Light, strength, portrait and the rest are the new session's, once; the viewers' hub goes with them."""
    tab = Participant(server.ws)
    await tab.__aenter__()
    lost = await prepare(tab, server)
    session = server.server.sessions[lost]
    before, hub = session.save(), session.viewers.hub
    tab.socket.transport.abort()  # no word of it
    async with Participant(server.ws) as other:
        await other.until(lambda: lost not in server.server.sessions, what="the loss")
        await check_resumed(other, server, lost, before)
        (session,) = server.server.sessions.values()
        assert session.viewers.hub is hub
    async with Participant(server.ws) as late:
        assert (await late.ask(type="resume", session=lost))["code"] == "no_session"
    await tab.leave()


async def test_a_socket_that_seems_alive_is_taken_over(server: Running) -> None:
    """The server has not noticed the loss: the old socket is closed and its connection gives its place back."""
    async with Participant(server.ws) as tab, Participant(server.ws) as other:
        lost = await prepare(tab, server)
        await tab.offer()
        before = server.server.sessions[lost].save()
        await check_resumed(other, server, lost, before)
        await tab.wait(type="closed", code=1008)
        assert len(server.server.lost) == 0


async def test_who_leaves_is_forgotten(server: Running) -> None:
    """A page that was closed or left keeps nothing on the server: its portrait is gone."""
    async with Participant(server.ws) as tab:
        left = await prepare(tab, server)
    async with Participant(server.ws) as other:
        await other.until(lambda: left not in server.server.sessions, what="the end")
        assert len(server.server.lost) == 0
        assert (await other.ask(type="resume", session=left))["code"] == "no_session"


async def test_a_session_resumes_before_its_offer_only(server: Running) -> None:
    """Its own name, and a resume after the offer, are errors that change nothing."""
    async with Participant(server.ws) as tab:
        own = (await tab.wait(type="welcome"))["session"]
        assert (await tab.ask(type="resume", session=own))["code"] == "bad_message"
        await tab.offer()
        assert (await tab.ask(type="resume", session="another"))["code"] == "bad_message"
        await tab.pictures(2)


class FakeViewers:
    """Counts its ends."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_what_is_kept_is_bounded() -> None:
    """In time, number and bytes; the oldest goes first and its viewers are ended."""
    one = SavedState(chosen(), "v")
    kept = LostSessions(keep_s=0.05, limit=2)
    viewers = [FakeViewers() for _ in range(3)]
    for number, each in enumerate(viewers):
        assert kept.keep(str(number), LostSession(one, each))
    assert len(kept) == 2
    assert kept.take("0") is None
    assert kept.take("1") is not None
    await asyncio.sleep(0.2)
    assert kept.take("2") is None
    assert [each.closed for each in viewers] == [1, 0, 1]
    small = LostSessions(keep_s=9, limit=9, max_bytes=one.nbytes + 1)
    assert small.keep("a", LostSession(one, FakeViewers()))
    assert small.keep("b", LostSession(one, FakeViewers()))
    assert small.take("a") is None
    assert not LostSessions(keep_s=0, limit=9).keep("a", LostSession(one, FakeViewers()))
    await small.close()
