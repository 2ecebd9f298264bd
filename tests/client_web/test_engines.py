"""The page learns of engines from the server's welcome alone."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine import ENGINES
from tests.client_web.serving import Serving

CLIENT = Path(__file__).resolve().parents[2] / "client_web"
ASK = """
async ([engines, names]) => {
  const { EngineList } = await import("./sdk/engines.js");
  const list = new EngineList();
  const empty = list.empty;
  list.replace(engines);
  return {
    empty: [empty, list.empty],
    cameras: list.cameras.map(({ name }) => name),
    avatars: list.avatars.map(({ name }) => name),
    isAvatar: names.map((name) => list.isAvatar(name)),
    hasQualities: names.map((name) => list.hasQualities(name)),
    titles: names.map((name) => list.avatarTitle(name) ?? null),
  };
}
"""


def entry(name: str, title: str, shows_avatar: bool, has_qualities: bool = False) -> dict[str, object]:
    """An engine as the welcome lists it."""
    return {
        "name": name,
        "title": title,
        "available": True,
        "reason": "",
        "shows_avatar": shows_avatar,
        "has_qualities": has_qualities,
    }


def test_no_engine_is_spelt() -> None:
    """No file of the page spells an engine's name; "avatar" is also the choice beside "me", and may be spelt."""
    spelt = re.compile("|".join(f"[\"'`]{name}[\"'`]" for name in ENGINES if name != "avatar"))
    found = {path.name: spelt.findall(path.read_text(encoding="utf-8")) for path in CLIENT.glob("*.js")}
    assert found
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.browser
def test_order(page: Page, untouched: Serving) -> None:
    """Cameras keep the server's order; of avatars those with presets come before the preview, which is listed first."""
    page.goto(untouched.url)
    engines = [
        entry("p", "Plain", False),
        entry("q", "Avatar (Quick one)", True),
        entry("f", "Avatar (Fine one)", True, has_qualities=True),
        entry("u", "Untouched picture", False),
    ]
    found = page.evaluate(ASK, [engines, ["p", "q", "f", "missing"]])
    assert found["empty"] == [True, False]
    assert found["cameras"] == ["p", "u"]
    assert found["avatars"] == ["f", "q"]
    assert found["isAvatar"] == [False, True, True, False]
    assert found["hasQualities"] == [False, False, True, False]
    assert found["titles"] == [None, "Quick one", "Fine one", None]


@pytest.mark.browser
def test_trait(page: Page, untouched: Serving) -> None:
    """The server's word on which avatars have presets counts, not their place in the list."""
    page.goto(untouched.url)
    engines = [
        entry("a", "A toy of synthetic heads (nano)", True, has_qualities=True),
        entry("b", "Avatar (B)", True, has_qualities=False),
        entry("c", "Avatar (C)", True, has_qualities=True),
    ]
    found = page.evaluate(ASK, [engines, ["a", "b", "c"]])
    assert found["avatars"] == ["a", "c", "b"]
    assert found["hasQualities"] == [True, False, True]
    assert found["titles"] == ["A toy of synthetic heads (nano)", "B", "C"]
