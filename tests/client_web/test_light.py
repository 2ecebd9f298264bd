"""The light a participant chooses is the light their browser receives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from engine.bench.throughput import pictures
from tests.client_web.picture import Picture, psnr
from tests.client_web.serving import Serving
from tests.client_web.y4m import write_y4m

pytestmark = pytest.mark.browser

# Beside the checkout, where there are any.
CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"


def test_key_side(picture: Picture) -> None:
    """Switching from a left to a right key moves the brighter side of the face."""
    picture.choose("original")
    own = picture.settle(picture.lean, lambda lean: False, 1.0)
    picture.choose("split-left")
    left = picture.settle(picture.lean, lambda lean: lean > own + 0.25)
    picture.choose("split-right")
    right = picture.settle(picture.lean, lambda lean: lean < own - 0.25)
    assert left > own + 0.25
    assert right < own - 0.25


def test_original(picture: Picture) -> None:
    """`original` returns the camera's picture within codec noise; another light does not."""
    page = picture.page
    page.click("#mirror")  # the local picture is mirrored by style alone, its pixels are not

    def likeness() -> float:
        remote, local = picture.read_pair()
        return max(psnr(remote, each) for each in local)

    picture.choose("original")
    original = picture.settle(likeness, lambda db: db > 32, 15)
    assert original > 32
    picture.choose("candle")
    assert picture.settle(likeness, lambda db: db < 22, 15) < 22


def test_ball_drag(picture: Picture) -> None:
    """Dragging the light ball from left to right moves the light with it, and a double click brings it back."""
    page = picture.page
    picture.choose("split-left")
    picture.settle(picture.lean, lambda lean: lean > 0.2)
    box = page.locator("#ball").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    for step in range(-40, 76, 5):
        page.mouse.move(x + step, y)
    page.mouse.up()
    assert page.get_attribute("#ball-pad", "aria-valuetext") == "From right, in front"
    assert picture.settle(picture.lean, lambda lean: lean < -0.2) < -0.2
    page.mouse.dblclick(x, y)
    assert page.is_hidden("#reset-light")
    assert picture.settle(picture.lean, lambda lean: lean > 0.2) > 0.2


def test_ball_keys(picture: Picture) -> None:
    """The arrow keys move the light as the pointer does."""
    page = picture.page
    picture.choose("butterfly")
    page.focus("#ball-pad")
    for _ in range(6):
        page.keyboard.press("Shift+ArrowLeft")
    assert "left" in (page.get_attribute("#ball-pad", "aria-valuetext") or "")
    assert picture.settle(picture.lean, lambda lean: lean > 0.15) > 0.15


def test_split_and_hint(picture: Picture) -> None:
    """The divider shows the original on its left; the hint is drawn in the corner."""
    page = picture.page
    picture.choose("candle")
    picture.settle(lambda: picture.read()[:, :40].mean(), lambda level: level < 90)
    page.keyboard.press("s")
    page.focus("#split-handle")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.get_attribute("#split-handle", "aria-valuenow") == "40"

    def step() -> float:
        rgb = picture.read().astype(float)
        return float(rgb[:9, 48:62].mean() - rgb[:9, 66:80].mean())  # the wall, either side of the divider

    assert picture.settle(step, lambda level: level > 50) > 50
    page.keyboard.press("s")
    assert page.is_hidden("#split-handle")
    assert picture.settle(step, lambda level: abs(level) < 25) < 25
    # Without it the corner is the orange suit in candle light; the inset around its face is neutral and dark.
    page.keyboard.press("h")

    def colour() -> float:
        corner = picture.read()[88:96, 115:122].astype(float)
        return float(np.ptp(corner.mean(axis=(0, 1))) + max(0.0, corner.mean() - 40))

    assert picture.settle(colour, lambda level: level < 12) < 12
    page.keyboard.press("h")
    assert picture.settle(colour, lambda level: level > 30) > 30


def test_engine_and_pause(picture: Picture) -> None:
    """Another engine, or a pause, takes the light away; going back brings it back."""
    page = picture.page
    picture.choose("split-left")
    assert picture.settle(picture.lean, lambda lean: lean > 0.2) > 0.2
    page.select_option("#engine", "passthrough")
    assert picture.settle(picture.lean, lambda lean: lean < 0.1) < 0.1
    page.select_option("#engine", "ratio")
    assert picture.settle(picture.lean, lambda lean: lean > 0.2) > 0.2
    page.click("#pause")
    assert picture.settle(picture.lean, lambda lean: lean < 0.1) < 0.1
    assert page.text_content("#status-text") == "Paused"


def test_real_clip(launch: Callable[..., Browser], serving: Serving, tmp_path: Path) -> None:
    """A person filmed by a camera is relit too; needs the clips that are not in the repository."""
    clip = CLIPS / "lp_d9.mp4"
    if not clip.exists():
        pytest.skip(f"{clip} is not here")
    y4m = tmp_path / "clip.y4m"
    write_y4m(y4m, pictures(clip, (480, 640))[:180:2], 15)
    browser = launch("--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={y4m}")
    page = browser.new_page()
    page.goto(serving.url)
    picture = Picture(page)
    picture.wait_live()

    def balance() -> float:
        rgb = picture.read().astype(float) ** 2.2
        left, right = rgb[40:90, 50:78].mean(), rgb[40:90, 82:110].mean()
        return float((left - right) / (left + right))

    picture.choose("original")
    own = picture.settle(balance, lambda value: False, 1.5)
    picture.choose("split-left")
    left = picture.settle(balance, lambda value: value > own + 0.15)
    picture.choose("split-right")
    right = picture.settle(balance, lambda value: value < own - 0.15)
    browser.close()
    assert left > own + 0.15
    assert right < own - 0.15
