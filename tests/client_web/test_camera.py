"""The control page of `relight camera`, in a real Chromium, on a real run of the command."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture
def command(camera_clip: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs `relight camera` on the portrait into nothing; its `url` is the control page's."""
    arguments = [
        "camera",
        "-c",
        str(camera_clip),
        "--to",
        "y4m:/dev/null",
        "--engine",
        "passthrough",
        "-l",
        "loop-left",
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", "server.cli.main", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    said = ""
    while not (found := re.search(r"lights: (http\S+)", said)):
        line = running.stderr.readline()
        assert line, said
        said += line
    running.url = found[1]  # type: ignore[attr-defined]
    yield running
    running.kill()
    running.communicate()


def test_the_control_page_shows_the_picture_and_moves_the_light(page: Page, command: subprocess.Popen[str]) -> None:
    """Picture, light, strength, before and mirror; then the command ends, and the page says so."""
    page.goto(command.url)
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#status-text")).to_have_text("Live")
    expect(page.locator("#preview")).to_have_js_property("naturalWidth", 480)
    expect(page.locator("#output")).to_have_text("640 × 480 · passthrough")
    checked = page.locator(".tile[aria-checked=true]")
    expect(checked).to_have_attribute("data-light", "loop-left")
    page.locator("[data-light=split-right]").click()
    expect(checked).to_have_attribute("data-light", "split-right")
    expect(page.locator("#light-title")).to_have_text("Split right")

    page.locator("#ball-pad").focus()
    page.keyboard.press("ArrowUp")  # aims the key; the command answers with the light as it is now
    expect(page.locator("#reset-light")).to_be_visible()
    page.locator("#reset-light").click()
    expect(page.locator("#reset-light")).to_be_hidden()

    page.locator("#strength").fill("0.4")
    expect(page.locator("#strength-value")).to_have_text("40 %")
    page.locator("#background label", has_text="Dim").click()
    page.locator("#mirror").click()
    page.locator("#before").click()
    for button in ("#mirror", "#before"):
        expect(page.locator(button)).to_have_attribute("aria-pressed", "true")

    page.reload()  # everything is the command's: a page that comes later shows the same
    expect(checked).to_have_attribute("data-light", "split-right")
    expect(page.locator("#strength-value")).to_have_text("40 %")
    expect(page.locator("#background input[value=dim]")).to_be_checked()
    expect(page.locator("#mirror")).to_have_attribute("aria-pressed", "true")
    page.locator("body").press("2")
    expect(checked).to_have_attribute("data-light", "soft-front")

    command.terminate()
    expect(page.locator("#status-text")).to_have_text("relight camera has ended, or does not answer")
    assert command.wait(20) == 0
