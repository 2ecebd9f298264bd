"""The table of engines: menus, makers and fallbacks read from it, and a new engine is a class and a row."""

import pytest

from engine import (
    DEFAULT_ENGINE,
    ENGINES,
    EngineConfig,
    EngineSpec,
    available_engines,
    avatar_fallback,
    camera_engines,
    fallbacks,
    make_engine,
)
from engine.errors import UnknownEngine
from engine.protocols import EngineTraits
from server.session.engines import Engines
from tests.engine.fakes import FakeEngine


class Sepia(FakeEngine):
    """A newcomer's engine."""

    traits = EngineTraits("Sepia")


@pytest.fixture
def sepia(monkeypatch: pytest.MonkeyPatch) -> EngineSpec:
    """Its row, in the table for one test."""
    row = EngineSpec("sepia", "Sepia", lambda config: Sepia(name="sepia"), fallbacks=("passthrough",))
    monkeypatch.setitem(ENGINES, "sepia", row)
    return row


def test_a_class_and_a_row_make_a_new_engine(sepia: EngineSpec) -> None:
    """It is made by its name, stands in the list of what is available, and in the menu that the welcome carries."""
    assert isinstance(make_engine("sepia"), Sepia)
    info = {each.name: each for each in available_engines()}["sepia"]
    assert (info.title, info.available, info.reason, info.shows_avatar) == ("Sepia", True, "", False)
    engines = Engines("sepia")
    try:
        assert [choice.name for choice in engines.menu()] == list(ENGINES)
        assert isinstance(engines.device("sepia").engine, Sepia)
        engines.warm()
        assert (engines.default, engines.degraded_reason) == ("sepia", "")
    finally:
        engines.close()


def test_a_row_that_cannot_run_says_why_and_what_runs_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is in the menu, and the server starts with its first fallback."""

    def broken(config: EngineConfig) -> FakeEngine:
        raise ImportError("no sepia here")

    row = EngineSpec("sepia", "Sepia", broken, fallbacks=("passthrough",), reason=lambda config: "no sepia here")
    monkeypatch.setitem(ENGINES, "sepia", row)
    info = {each.name: each for each in available_engines()}["sepia"]
    assert (info.available, info.reason) == (False, "no sepia here")
    engines = Engines("sepia")
    try:
        engines.warm()
        assert engines.default == engines.camera_engine == "passthrough"
        assert "sepia" in engines.degraded_reason
    finally:
        engines.close()


def test_the_order_of_fallbacks() -> None:
    """An avatar falls back to a simpler avatar, then to a lit camera, then to the camera as it is."""
    assert camera_engines() == ("ratio", "passthrough")
    assert DEFAULT_ENGINE == "ratio"
    assert fallbacks("lcvd") == ("avatar", "ratio", "passthrough")
    assert fallbacks("avatar") == ("ratio", "passthrough")
    assert fallbacks("ratio") == ("passthrough",)
    assert fallbacks("passthrough") == ()
    assert fallbacks("a stranger") == camera_engines()
    assert [avatar_fallback(name) for name in ("lcvd", "avatar", "ratio")] == ["avatar", None, None]
    assert avatar_fallback("a stranger") == "avatar"
    for spec in ENGINES.values():
        assert set(spec.fallbacks) <= set(ENGINES) - {spec.name}


@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"lcvd"}))  # its title depends on weights
def test_a_row_says_of_an_engine_what_the_engine_says(name: str) -> None:
    """Name, title and whether it shows avatars, before it is made and after."""
    engine = make_engine(name)
    spec = ENGINES[name]
    assert (engine.name, engine.traits.title, engine.traits.shows_avatar) == (name, spec.title, spec.shows_avatar)


def test_an_unknown_name_is_refused_with_the_legal_ones() -> None:
    """A typo is told."""
    with pytest.raises(UnknownEngine, match=r"engine='rato' does not exist; choose one of ratio, avatar"):
        make_engine("rato")
