"""server.settings: the environment, and only what is in range."""

import dataclasses
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine import EngineConfig, make_engine
from engine.diffusion.config import LcvdConfig
from lcvd.errors import ModelUnavailable
from server.session.state import Server
from server.settings import Settings
from tests.engine.fakes import FakeEngine


def test_the_environment_is_read_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """RELIGHT_* variables set fields; JSON where a list is meant."""
    monkeypatch.setenv("RELIGHT_PORT", "9123")
    monkeypatch.setenv("RELIGHT_ICE_SERVERS", '[{"urls": "stun:stun.example.org"}]')
    monkeypatch.setenv("RELIGHT_ALLOWED_ORIGINS", '["https://meet.example.org"]')
    settings = Settings()
    assert settings.port == 9123
    assert settings.ice_servers == [{"urls": "stun:stun.example.org"}]
    assert settings.allowed_origins == ["https://meet.example.org"]


def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, which passes arguments, has the last word."""
    monkeypatch.setenv("RELIGHT_PORT", "9123")
    assert Settings(port=9000).port == 9000


def test_the_default_listens_on_loopback_and_asks_no_stun_server() -> None:
    """Nothing leaves the machine unless it is asked for."""
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.ice_servers == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 70000},
        {"max_sessions": 0},
        {"lcvd_decoder": "huge"},
        {"tracker": "guess"},
        {"lcvd_batch": 0},
        {"shutdown_timeout_s": 60},
        {"tpyo": 1},
        {"ice_servers": [{"url": "stun:stun.example.org"}]},
        {"ice_servers": [{"urls": ["stun:stun.example.org", "https://turn.example.org"]}]},
    ],
)
def test_impossible_values_and_unknown_names_are_errors(wrong: dict) -> None:
    """A typo or a value out of range is an error, not ignored."""
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_the_second_look_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """RELIGHT_PARTS=off reaches the engine, which then has nothing to ask; by default there is something."""
    assert Settings(parts="off").engine_config().parts == "off"
    monkeypatch.delenv("RELIGHT_PARTS")
    config = Settings().engine_config()
    made = []
    monkeypatch.setattr("engine.ratio.engine.RatioEngine", lambda *args: made.append(args))
    make_engine("ratio", config)
    make_engine("ratio", dataclasses.replace(config, parts="off"))
    assert [given[-1] is None for given in made] == [False, True]


def test_what_is_set_for_lcvd_reaches_its_maker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every RELIGHT_LCVD_* variable, and the plans, is in the configuration that make_engine gets."""
    given: dict[str, EngineConfig] = {}
    monkeypatch.setattr(
        "server.session.state.make_engine", lambda name, config: given.update({name: config}) or FakeEngine()
    )
    wanted = {"weights": "tiny", "backend": "eager", "size": 64, "decoder": "tiny", "batch": 3, "precision": "fp8"}
    for name, value in wanted.items():
        monkeypatch.setenv(f"RELIGHT_LCVD_{name.upper()}", f"{value}")
    server = Server(Settings(plans=tmp_path))
    server.engines.device("lcvd")
    server.engines.close()
    assert given == {"lcvd": EngineConfig(None, LcvdConfig(**wanted, plans=tmp_path), parts="off")}
    assert Settings().tracker == "mesh"
    assert {*wanted, "plans"} == {field.name for field in dataclasses.fields(LcvdConfig)}


def test_the_tracker_that_is_set_reaches_every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """RELIGHT_TRACKER=mediapipe without its package: no engine that follows a face can be made; the remedy is named."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setenv("RELIGHT_TRACKER", "mediapipe")
    engines = Server(Settings()).engines
    for name in ("ratio", "avatar"):
        with pytest.raises(ModelUnavailable, match="mediapipe") as caught:
            engines.device(name)
        assert "[mediapipe]" in caught.value.hint
    engines.device("passthrough")
    engines.close()


def test_frame_limits_are_those_of_the_fields() -> None:
    """The tracks get the limits the operator set."""
    assert Settings(min_frame_side_px=32, max_frame_side_px=640, max_frame_pixels=1000).frame_limits == (32, 640, 1000)


def test_the_document_has_every_variable_and_its_default() -> None:
    """docs/settings.md lists what there is, and nothing that is not."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `RELIGHT_")]
    assert [row.split("`")[1] for row in rows] == [f"RELIGHT_{name.upper()}" for name in Settings.model_fields]
    for row, field in zip(rows, Settings.model_fields.values(), strict=True):
        if isinstance(field.default, int | float | str):
            assert f"| `{field.default}` |" in row
