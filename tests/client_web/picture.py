"""Measures what a browser shows on its own pixels."""

import base64
from collections.abc import Callable

import cv2
import numpy as np
from playwright.sync_api import Page

# One JPEG-free readback: the canvas gives RGBA, we take it as base64 (JSON numbers are ten times slower).
READ = """
async ([selector, width, height]) => {
  const video = document.querySelector(selector);
  // The width is known before there is a picture to draw, and a new stream begins without one.
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA)
    await Promise.race([
      new Promise((ready) => video.addEventListener("loadeddata", ready, { once: true })),
      new Promise((late) => setTimeout(late, 10000)),
    ]);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0, width, height);
  const data = context.getImageData(0, 0, width, height).data;
  let text = "";
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return btoa(text);
}
"""
# Local and remote show different instants: the local picture is kept for a while, to find the remote one's.
READ_PAIR = """
async ([width, height]) => {
  const read = (canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    let text = "";
    for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
    return btoa(text);
  };
  const grab = (video) => {
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(video, 0, 0, width, height);
    return canvas;
  };
  const [local, remote] = [document.querySelector("#local"), document.querySelector("#remote")];
  const kept = [];
  const until = performance.now() + 1000;
  while (performance.now() < until) {
    await new Promise((next) => local.requestVideoFrameCallback(next));
    kept.push(grab(local));
  }
  return [read(grab(remote)), kept.map(read)];
}
"""


class Picture:
    """The relit video of a page, and measurements of it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait_live(self, source: str = "camera", timeout_s: float = 30) -> None:
        """Waits until the relit picture of `source` is shown at full size, so that the encoder has found its rate."""
        self.page.wait_for_selector(
            f'#stage[data-link="live"][data-source="{source}"]', timeout=timeout_s * 1000, state="visible"
        )
        # Not wait_for_function: it evaluates text inside the page, which our content policy forbids.
        width = "document.querySelector('#remote').videoWidth"
        assert self.settle(lambda: self.page.evaluate(width), lambda px: px == 640, timeout_s) == 640

    def choose(self, light: str) -> None:
        """Chooses a light of the gallery."""
        self.page.click(f'[data-light="{light}"]')

    def read(self, selector: str = "#remote", width: int = 160, height: int = 120) -> np.ndarray:
        """Returns the video's present picture as uint8 RGB [height,width,3]."""
        return _rgb(self.page.evaluate(READ, [selector, width, height]), width, height)

    def read_pair(self, width: int = 320, height: int = 240) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns the relit picture, and the local pictures of the second before it, uint8 RGB [height,width,3]."""
        remote, local = self.page.evaluate(READ_PAIR, [width, height])
        return _rgb(remote, width, height), [_rgb(each, width, height) for each in local]

    def lean(self) -> float:
        """Returns how much brighter the left half of the face is than the right: (L-R)/(L+R), in linear light.

        The portrait's face sways around the middle of the picture, between 31 % and 49 % of its height.
        """
        linear = (self.read().astype(np.float64) / 255) ** 2.2
        rows = linear[37:59].mean(axis=(0, 2))
        left, right = rows[63:78].mean(), rows[84:99].mean()
        return float((left - right) / (left + right))

    def settle(self, measure: Callable[[], float], good: Callable[[float], bool], timeout_s: float = 60) -> float:
        """Measures until a value is good, and returns it or the last one: lights change over time, and encoders lag."""
        value = measure()
        for _ in range(round(timeout_s / 0.2)):
            if good(value):
                break
            self.page.wait_for_timeout(200)
            value = measure()
        return value


def leaning(rgb: np.ndarray) -> float:
    """Returns how much brighter the left half of the face is than the right, of RGB [H,W,3], as Picture.lean does."""
    small = cv2.resize(rgb, (160, 120), interpolation=cv2.INTER_AREA)
    rows = ((small.astype(np.float64) / 255) ** 2.2)[37:59].mean(axis=(0, 2))
    left, right = rows[63:78].mean(), rows[84:99].mean()
    return float((left - right) / (left + right))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of two uint8 pictures, dB."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _rgb(text: str, width: int, height: int) -> np.ndarray:
    rgba = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
    assert rgba.any(), "the video is empty"
    return rgba[:, :, :3]
