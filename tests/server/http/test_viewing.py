"""server.http.viewing: the viewer's page and the QR code of its address."""

import re
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from tests.server.client import running

LINK = "https://relight.example:8443/live/view/Zk3sV0m9QeWq1xYtB2nR8A"


async def get(address: str, **params: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(address, params=params)


def rasterized(svg: str) -> np.ndarray:
    """Draws segno's SVG, one path of horizontal strokes, as uint8 grey [side,side], 8 px a module."""
    side = int(re.search(r'viewBox="0 0 (\d+) \1"', svg)[1])
    picture = np.full((side, side), 255, np.uint8)
    x = y = 0.0
    strokes = re.search(r'stroke="#000" d="([^"]+)"', svg)[1]
    for step, across, down in re.findall(r"([Mmh])(-?[\d.]+)(?: (-?[\d.]+))?", strokes):
        if step == "h":
            picture[int(y), int(x) : int(x) + int(across)] = 0
        x += float(across)
        y += float(down or 0)
    return np.kron(picture, np.ones((8, 8), np.uint8))


async def test_the_code_is_the_link() -> None:
    """A reader of another make reads the link from the drawn code."""
    async with running() as server:
        answer = await get(server.http + "/api/qr", url=LINK)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-store"
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(rasterized(answer.text))
    assert text == LINK


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (f"{LINK}#token=secret", "fragment"),
        ("javascript:alert(1)", "no http or https"),
        ("https://" + "a" * 300, "url"),
        (None, "url"),
    ],
)
async def test_other_links_are_refused(url: str | None, word: str) -> None:
    """A token, another scheme, an endless link and none at all are refused in words."""
    async with running() as server:
        answer = await get(server.http + "/api/qr", **({"url": url} if url else {}))
    assert answer.status_code in (400, 422)
    assert word in answer.json()["message"]
    assert answer.json()["hint"]


async def test_the_viewers_page_is_served_under_every_name(tmp_path: Path) -> None:
    """/view/NAME is the page whatever the name, never cached; what cannot be a name is 404 or 422, not the page."""
    (tmp_path / "view.html").write_text("<!doctype html><title>view</title>")
    async with running(client_dir=tmp_path) as server:
        for name in ("Zk3sV0m9QeWq1xYtB2nR8A", "nobody"):
            answer = await get(f"{server.http}/view/{name}")
            assert answer.status_code == 200
            assert "<title>view</title>" in answer.text
            assert answer.headers["cache-control"] == "no-store"
        for name in ("", "a/b", "a" * 65, "<b>"):
            assert (await get(f"{server.http}/view/{name}")).status_code in (404, 422)
