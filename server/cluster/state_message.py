"""Carries a session's SavedState from its worker to the front, and to another worker: JSON, pictures in base64.

A portrait is megabytes, and a slider changes the rest many times a second: a message without pictures says that they
are those of the message before.
"""

import base64
import json
from typing import Any

from server.session.saved_state import SavedState

PICTURES = ("portrait", "placeholder")
Message = dict[str, Any]


def encoded(state: SavedState, pictures: bool = True) -> bytes:
    """Returns `state` as a message, with its pictures or without."""
    saved = state.to_dict(pictures)
    for name in PICTURES:
        if saved.get(name) is not None:
            saved[name] = {**saved[name], "rgb": base64.b64encode(saved[name]["rgb"]).decode()}
    return json.dumps(saved).encode()


def merged(before: Message | None, message: bytes) -> Message:
    """Returns the whole state after another message. Raises ValueError for one that is no JSON object."""
    return {**dict.fromkeys(PICTURES), **(before or {}), **dict(json.loads(message))}


def decoded(message: Message) -> SavedState:
    """Returns the state of a whole message. Raises KeyError, TypeError or ValueError for what is none."""
    saved = dict(message)
    for name in PICTURES:
        if saved[name] is not None:
            saved[name] = {**saved[name], "rgb": base64.b64decode(saved[name]["rgb"])}
    return SavedState.from_dict(saved)
