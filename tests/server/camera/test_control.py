"""server.camera.control and keys: keys and the page's messages change one set of choices, and the stream follows."""

import json
import threading

import numpy as np
import pytest

from engine.live.controls import EnginePair
from engine.live.device import DeviceThread
from engine.live.stream import LiveStream
from engine.passthrough import PassthroughEngine
from lcvd.lighting.presets import PRESETS, preset
from lcvd.types import Lighting
from server.camera.control import CameraControl
from server.camera.keys import keys_of, press
from server.light_message import RequestedLight
from server.session.requested import Requested


@pytest.fixture
def live() -> LiveStream:
    device = DeviceThread(PassthroughEngine())
    stream = LiveStream(Requested("passthrough").controls(EnginePair(device)), lambda: None)
    yield stream
    stream.close()
    device.close()


@pytest.fixture
def control(live: LiveStream) -> CameraControl:
    made = CameraControl(Requested("passthrough", RequestedLight(preset("loop-left").lighting)))
    made.attach(live)
    return made


def typed(control: CameraControl, text: str) -> None:
    for key in keys_of(text):
        press(key, control, threading.Event())


def test_keys_choose_lights_and_the_stream_gets_them(control: CameraControl, live: LiveStream) -> None:
    """Digits choose by place, brackets and arrows go round the gallery's end."""
    typed(control, "3")
    assert live.controls.lighting.name == PRESETS[2].name
    typed(control, "1[")
    assert live.controls.lighting.name == PRESETS[-1].name
    typed(control, "\x1b[C\x1b[B")
    assert live.controls.lighting.name == PRESETS[1].name
    typed(control, "\x1b[5~0x")  # page up and keys without a meaning
    assert live.controls.lighting.name == PRESETS[1].name


def test_keys_change_strength_within_its_range_and_mirror_background_and_view(
    control: CameraControl, live: LiveStream
) -> None:
    """Each key does one thing, and does it back."""
    typed(control, "--")
    assert live.controls.lighting.strength == pytest.approx(0.8)
    typed(control, "-" * 20)
    assert live.controls.lighting.strength == 0
    typed(control, "+" * 20)
    assert live.controls.lighting.strength == 1
    typed(control, "mbb ")
    assert live.controls.mirror
    assert live.controls.lighting.background.mode == "dim"
    assert live.controls.view.split == 1.0
    typed(control, "m ")
    assert not live.controls.mirror
    assert live.controls.view.split is None


def test_q_asks_for_the_end(control: CameraControl) -> None:
    """The pipeline ends by the same event as on a signal."""
    stop = threading.Event()
    press("q", control, stop)
    assert stop.is_set()


def test_messages_of_the_protocol_are_answered_and_listeners_hear(control: CameraControl, live: LiveStream) -> None:
    """A good message is acknowledged with the light as it is; a bad one names field and value and changes nothing."""
    heard: list[str] = []
    end = control.listen(lambda: heard.append(control.state()["light"]))
    ack = json.loads(
        control.handle('{"type":"set_light","id":1,"preset":"split-left","adjust":{"intensity":2}}').text()
    )
    assert (ack["type"], ack["id"], ack["lighting"]["name"]) == ("ack", 1, "split-left")
    assert heard == ["split-left"]
    for text, code in (
        ('{"type":"set_strength","value":2}', "bad_value"),
        ('{"type":"set_light","preset":"no-such"}', "bad_light"),
        ('{"type":"offer","sdp":"v=0"}', "bad_message"),
        ("{", "bad_message"),
    ):
        assert json.loads(control.handle(text).text())["code"] == code
    assert heard == ["split-left"]
    end()
    control.handle('{"type":"mirror","on":true}')
    assert heard == ["split-left"]
    assert control.state()["mirror"] is True
    assert control.state()["adjust"] == {"intensity": 2.0}


def test_a_light_of_ones_own_stands_first_and_can_be_chosen_again() -> None:
    """The light of a photo has no preset, but a place in the gallery."""
    own = Lighting(name="from-photo", ambient_rgb=(0.5, 0.4, 0.3), directionals=())
    control = CameraControl(Requested("passthrough", RequestedLight(own)), own)
    typed(control, "2")
    assert control.requested.light.base is PRESETS[0].lighting
    typed(control, "1")
    assert control.requested.light.base is own
    typed(control, "]")
    assert control.requested.light.base is PRESETS[0].lighting


def test_before_shows_the_untouched_picture() -> None:
    """The whole picture is left of the split, so the engine goes on and the light is back at once."""
    from engine.live.overlay import compose

    control = CameraControl(Requested("passthrough"))
    control.toggle_before()
    original, relit = np.zeros((4, 400, 3), np.uint8), np.full((4, 400, 3), 200, np.uint8)
    shown = compose(original, relit, None, preset("original").lighting, control.requested.view)
    assert (shown == original).all()
