"""odd_message draws a message to the WebSocket: right ones, and right ones with a value, a name or the text bent."""

import copy
import json
import random
from typing import Any

from tests.server.fuzz.damage import damaged

LIGHT = {
    "name": "mine", "ambient_rgb": [0.2, 0.2, 0.2], "sh": None, "specular": 0.3,
    "directionals": [{"direction": [0.0, 0.6, 0.8], "rgb": [1.0, 0.9, 0.8], "wrap": 0.2, "shadow": 0.5}],
}  # fmt: skip
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "ping", "t": 1.5}, {"type": "pause", "on": True}, {"type": "pause", "on": False}, {"type": "mirror",
    "on": True},
    {"type": "set_strength", "value": 0.5}, {"type": "set_background", "mode": "dim", "gain": 0.5},
    {"type": "set_view", "hint": True, "split": 0.3}, {"type": "set_light", "preset": "rembrandt-left"},
    {"type": "set_light", "lighting": LIGHT}, {"type": "set_light", "lighting": LIGHT | {"sh": [[0.1, 0.1, 0.1]] * 9}},
    {"type": "set_light", "preset": "rim",
    "adjust": {"direction": [0, 0, 1], "intensity": 2, "temperature_k": 3000, "softness": 1}},
    {"type": "set_engine", "engine": "passthrough"}, {"type": "set_engine", "engine": "avatar"},
    {"type": "set_avatar", "quality": "sharp"}, {"type": "set_avatar", "steps": 4, "omega": 3.5, "stride": 10},
    {"type": "set_avatar", "mode": "staggered"}, {"type": "set_viewing_key", "key": "0123456789abcdef"},
    {"type": "candidate", "candidate": None},
    {"type": "candidate", "candidate": {"candidate": "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host",
    "sdpMid": "0", "sdpMLineIndex": 0}},
    {"type": "offer", "sdp": "v=0"}, {"type": "resume", "session": "nobody"},
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1e308, -1e308, 2**63, 10**400, "", "x", "0", "\x00", "ü😀",
    "a" * 70, "a" * 5000, [], {},
    [None], [[]], {"": 0}, [0, 0, 0], [1, 2], [1e39, 0, 0], "original",
    float("nan"), float("inf"), {"type": "ping"}, -0.0,
)  # fmt: skip


def odd_message(rng: random.Random) -> str | bytes:
    """Draws a message: text, or bytes for a binary frame."""
    message: Any = json.loads(json.dumps(rng.choice(MESSAGES)))
    if rng.random() < 0.5:
        message["id"] = rng.choice((1, "a", rng.randrange(10**6), "x" * 64))
    kind = rng.random()
    if kind < 0.75:
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            _bend(rng, message)
        return json.dumps(message, ensure_ascii=rng.random() < 0.5)
    text = json.dumps(message)
    if kind < 0.9:
        return damaged(rng, text.encode()).decode("utf-8", "replace")
    if kind < 0.96:
        return rng.choice((
            "", " ", "null", "[]", "{}", "0",
            '"x"', "{" * 2000, "[" * 3000 + "]" * 3000, text + text, text[:-1], "\ufeff" + text,
            '{"type":"ping","t":1e999}', '{"type":"ping","type":"offer"}', "nan", text.replace('"', "'"), "\x00" * 99,
            '{"type":"ping","t":' + "9" * 4400 + "}", "é" * 1000, text.replace("type",
            "Type"), '{"id":{},"type":"ping"}',
        ))  # fmt: skip
    return damaged(rng, text.encode())


def _bend(rng: random.Random, message: Any) -> None:
    """Changes one place of a JSON value: another value, another name, one more or one less."""
    place = message
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        # A message of no known type is refused before anything else of it is read.
        key = rng.choice([each for each in keys if each != "type"] if len(keys) > 1 and rng.random() < 0.9 else keys)
        if isinstance(place[key], dict | list) and rng.random() < 0.7:
            place = place[key]
            continue
        break
    kind = rng.randrange(4)
    if kind < 2:
        place[key] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(place, list):
        place.append(copy.deepcopy(rng.choice(VALUES))) if kind == 2 else place.pop(key)
    elif kind == 2:
        place[rng.choice(("extra", "value", "id", str(key) + " ", "__proto__", "preset", "split"))] = copy.deepcopy(
            rng.choice(VALUES)
        )
    else:
        del place[key]
