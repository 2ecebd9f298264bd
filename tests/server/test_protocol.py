"""server.protocol and server.light_message: what docs/protocol.md allows, and nothing else."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lcvd.lighting.presets import PRESETS, preset
from lcvd.types import Background
from server import protocol
from server.errors import explain
from server.light_message import Adjust, Light, RequestedLight

LAMP = {"direction": [0, 0, 2], "rgb": [1, 1, 1], "wrap": 0.5, "shadow": 0}
LIGHT = {"name": "mine", "ambient_rgb": [0.2, 0.2, 0.2], "directionals": [LAMP], "sh": None, "specular": 0.1}
DOC = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"

GOOD = [
    {"type": "offer", "sdp": "v=0"},
    {"type": "candidate", "candidate": None},
    {"type": "candidate", "candidate": {"candidate": "candidate:1 1 udp 1 1.2.3.4 5 typ host", "sdpMid": "0"}},
    {"type": "resume", "session": "0123456789ab"},
    {"type": "set_light", "preset": "rim"},
    {"type": "set_light", "lighting": LIGHT},
    {"type": "set_light", "preset": "rim", "adjust": {"direction": [1, 0, 0], "intensity": 2, "softness": 1}},
    {"type": "set_strength", "value": 0.5},
    {"type": "set_background", "mode": "lit", "gain": 0.3},
    {"type": "set_background", "mode": "auto"},
    {"type": "set_engine", "engine": "ratio"},
    {"type": "set_avatar", "quality": "quick"},
    {"type": "set_avatar", "quality": "studio", "mode": "window"},
    {"type": "set_avatar", "steps": 8, "omega": 1, "stride": 4},
    {"type": "set_avatar", "mode": "staggered"},
    {"type": "set_view", "hint": True, "split": 0.5},
    {"type": "set_view", "hint": False, "split": None},
    {"type": "set_viewing_key", "key": "k" * 16},
    {"type": "mirror", "on": True},
    {"type": "pause", "on": False, "id": 7},
    {"type": "ping", "t": 1e9, "id": "a"},
]

BAD = [
    ("not json", "bad_message"),
    ("[]", "bad_message"),
    ("null", "bad_message"),
    ('"set_light"', "bad_message"),
    ("{}", "unknown_type"),
    ('{"type": "reboot"}', "unknown_type"),
    ('{"type": "ping", "t": 1, "extra": 2}', "bad_value"),
    ('{"type": "ping", "t": NaN}', "bad_value"),
    ('{"type": "ping", "t": Infinity}', "bad_value"),
    ('{"type": "ping", "t": 1e999}', "bad_value"),
    ('{"type": "ping", "t": "1"}', "bad_value"),
    ('{"type": "set_viewing_key", "key": "short"}', "bad_value"),
    ('{"type": "mirror", "on": 1}', "bad_value"),
    ('{"type": "mirror", "on": "yes"}', "bad_value"),
    ('{"type": "set_strength", "value": 1.01}', "bad_value"),
    ('{"type": "set_strength", "value": -1e-9}', "bad_value"),
    ('{"type": "set_background", "mode": "blur", "gain": 0.5}', "bad_value"),
    ('{"type": "set_background", "mode": "dim", "gain": 0.1}', "bad_value"),
    ('{"type": "set_light"}', "bad_value"),
    ('{"type": "set_view", "split": 2}', "bad_value"),
    ('{"type": "offer", "sdp": ""}', "bad_value"),
    ('{"type": "ping", "t": 1, "id": {"a": 1}}', "bad_value"),
]


def problem_code(text: str) -> str | None:
    """Returns the code of what is wrong with `text`; None when it is a message."""
    try:
        protocol.parse(text)
    except ValidationError as error:
        return explain(error).code
    return None


@pytest.mark.parametrize("message", GOOD, ids=lambda m: m["type"])
def test_documented_messages_are_accepted(message: dict) -> None:
    """Every message of the document parses to its type, id included."""
    parsed = protocol.parse(json.dumps(message))
    assert parsed.type == message["type"]
    assert parsed.id == message.get("id")


@pytest.mark.parametrize(("text", "code"), BAD)
def test_anything_else_is_an_error_with_a_code(text: str, code: str) -> None:
    """Wrong messages raise, and the problem names what is wrong and a remedy."""
    with pytest.raises(ValidationError) as caught:
        protocol.parse(text)
    problem = explain(caught.value)
    assert problem.code == code
    assert problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quality": "superb"}, ("quality='superb'", "instant", "studio")),
        ({"steps": 3}, ("steps=3", "1, 2, 4, 8, 25")),
        ({"steps": True}, ("steps=True",)),
        ({"steps": 4.5}, ("steps=4.5",)),
        ({"omega": 0.9}, ("omega=0.9", "1")),
        ({"omega": 21}, ("omega=21", "20")),
        ({"stride": 5}, ("stride=5", "4, 8, 10")),
        ({"mode": "wild"}, ("mode='wild'", "window", "staggered")),
        ({"quality": "quick", "steps": 4}, ("quality", "steps")),
        ({}, ("quality", "steps", "mode")),
        ({"steps": None}, ("quality", "steps")),
        ({"fps": 25}, ("fps",)),
    ],
    ids=str,
)
def test_what_no_avatar_can_be_is_refused_by_name(fields: dict, words: tuple[str, ...]) -> None:
    """The problem of a wrong set_avatar names the field, its value and what is legal."""
    with pytest.raises(ValidationError) as caught:
        protocol.parse(json.dumps({"type": "set_avatar", **fields}))
    problem = explain(caught.value)
    assert problem.code == "bad_value"
    assert not [word for word in words if word not in problem.message], problem.message


def test_a_missing_field_is_named_and_nothing_else() -> None:
    """The whole message is no value of the field it lacks."""
    with pytest.raises(ValidationError) as caught:
        protocol.parse('{"type": "ping"}')
    assert explain(caught.value).message == "t is missing"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"directionals": [LAMP] * 5}, "directionals"),
        ({"directionals": [{**LAMP, "direction": [0, 0, 0]}]}, "direction"),
        ({"directionals": [{**LAMP, "direction": [0, 1]}]}, "direction"),
        ({"directionals": [{**LAMP, "rgb": [9, 0, 0]}]}, "rgb"),
        ({"directionals": [{**LAMP, "rgb": [-1, 0, 0]}]}, "rgb"),
        ({"directionals": [{**LAMP, "wrap": 1.5}]}, "wrap"),
        ({"directionals": [{**LAMP, "colour": "red"}]}, "colour"),
        ({"ambient_rgb": [1, 1]}, "ambient_rgb"),
        ({"ambient_rgb": [1e308, 1e308, 1e308]}, "ambient_rgb"),
        ({"sh": [[0, 0, 0]] * 8}, "sh"),
        ({"sh": [[1e9, 0, 0]] * 9}, "sh"),
        ({"specular": 2}, "specular"),
        ({"name": "x" * 65}, "name"),
        ({"strength": 1}, "strength"),
    ],
)
def test_lights_out_of_range_name_their_field(change: dict, field: str) -> None:
    """The problem of a wrong light names the field and shows its value."""
    with pytest.raises(ValidationError) as caught:
        protocol.parse(json.dumps({"type": "set_light", "lighting": {**LIGHT, **change}}))
    assert field in explain(caught.value).message


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_in_lights(value: str) -> None:
    """Python's JSON would read NaN; ours does not."""
    text = json.dumps({"type": "set_light", "lighting": {**LIGHT, "specular": 12345}}).replace("12345", value)
    with pytest.raises(ValidationError):
        protocol.parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=8), x),
    )
)
def test_no_json_whatever_breaks_the_parser(value: object) -> None:
    """Any JSON is either a message or a ValidationError that can be explained."""
    text = json.dumps(value)
    assert problem_code(text) in {None, "bad_message", "unknown_type", "bad_value"}
    protocol.envelope(text)


@given(st.text(max_size=200))
def test_no_text_whatever_breaks_the_parser(text: str) -> None:
    """Any text is either a message or a ValidationError; its id is read where it can be."""
    assert problem_code(text) in {None, "bad_message", "unknown_type", "bad_value"}
    protocol.envelope(text)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    """A hundred thousand brackets do not exhaust the stack."""
    with pytest.raises(ValidationError):
        protocol.parse('{"type":' + "[" * 100_000 + "]" * 100_000 + "}")


def test_every_preset_survives_the_wire() -> None:
    """A preset written to JSON and sent back as a full light is the same light."""
    for one in PRESETS:
        text = json.dumps({"type": "set_light", "lighting": Light.of(one.lighting).model_dump()})
        message = protocol.parse(text)
        assert isinstance(message, protocol.SetLight)
        assert message.lighting is not None
        back = message.lighting.lighting()
        assert back.name == one.lighting.name
        np.testing.assert_allclose(back.ambient_rgb, one.lighting.ambient_rgb, atol=1e-4)
        for ours, theirs in zip(back.directionals, one.lighting.directionals, strict=True):
            np.testing.assert_allclose(ours.direction, theirs.direction, atol=1e-4)
            np.testing.assert_allclose(ours.rgb, theirs.rgb, atol=1e-4)


def test_an_adjusted_light_can_be_sent_back() -> None:
    """Three times the brightest preset is beyond a lamp's range, and what we tell of it is still valid."""
    requested = RequestedLight(preset("neon").lighting, Adjust(intensity=3, temperature_k=2000))
    text = json.dumps({"type": "set_light", "lighting": Light.of(requested.lighting).model_dump()})
    assert protocol.parse(text).type == "set_light"


def test_directions_are_normalised() -> None:
    """A direction of any length arrives as a unit vector."""
    message = protocol.parse(json.dumps({"type": "set_light", "lighting": LIGHT}))
    assert isinstance(message, protocol.SetLight)
    assert message.lighting is not None
    assert message.lighting.lighting().directionals[0].direction == (0, 0, 1)


def test_strength_and_background_outlive_a_new_light() -> None:
    """The requested light is composed: light, then strength times its own, then background."""
    requested = RequestedLight(preset("rim").lighting, strength=0.4, background=Background("lit", 0.5))
    assert requested.lighting.strength == pytest.approx(0.4)
    assert requested.lighting.background == Background("lit", 0.5)
    original = RequestedLight(preset("original").lighting, strength=1.0)
    assert original.lighting.strength == 0
    assert RequestedLight(preset("rim").lighting).lighting.background == preset("rim").lighting.background


def test_an_adjusted_key_points_where_it_was_sent() -> None:
    """`adjust.direction` moves the key and keeps its colour."""
    requested = RequestedLight(preset("rembrandt-left").lighting, Adjust(direction=(1.0, 0.0, 0.0)))
    key = max(requested.lighting.directionals, key=lambda lamp: sum(lamp.rgb))
    np.testing.assert_allclose(key.direction, (1, 0, 0), atol=1e-5)


def test_the_document_names_every_message() -> None:
    """docs/protocol.md has a row for each client message and for each server message."""
    text = DOC.read_text()
    client = {m["type"] for m in GOOD}
    server = {"welcome", "answer", "ack", "error", "notice", "stats", "pong"}
    named = set(re.findall(r"`(\w+)`", text))
    assert client | server <= named


def test_the_document_names_every_error_and_notice_code() -> None:
    """A code the client may meet is in docs/protocol.md."""
    text = DOC.read_text()
    sources = "\n".join(p.read_text() for p in (DOC.parents[1] / "server").rglob("*.py"))
    codes = set(re.findall(r'code, status = "(\w+)"', sources)) | set(re.findall(r'Problem\("(\w+)"', sources))
    codes |= set(re.findall(r'\(\w+, "(\w+)", \d{3}\)', sources))
    codes |= set(re.findall(r'(?:_notices|self)\.send\(\s*"(\w+)"', sources))
    assert {"busy", "bad_offer", "bad_light", "frame_size", "fallback", "connection_ended", "internal"} <= codes
    assert not {code for code in codes if f"`{code}`" not in text}
