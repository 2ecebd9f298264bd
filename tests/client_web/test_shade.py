"""The page's light balls are shaded by the same formulas as the picture."""

import numpy as np
import pytest
from playwright.sync_api import Page

from lcvd.lighting.lighting import adjust, key_index, shading
from lcvd.lighting.presets import PRESETS
from server.light_message import Light
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser

NORMALS = np.array([[0, 0, 1], [0.8, 0, 0.6], [-0.6, 0.64, 0.48], [0, -1, 0], [0.36, 0.48, -0.8]], np.float64)
ADJUSTS: list[dict[str, object]] = [
    {},
    {"direction": [0.6, 0.0, 0.8]},
    {"direction": [-0.48, 0.6, -0.64], "intensity": 1.7},
    {"temperature_k": 2200.0, "softness": 0.9},
    {"temperature_k": 9000.0, "intensity": 0.4, "softness": 0.0},
]
SHADE = """
async ([lights, adjusts, normals]) => {
  const { shading } = await import("./shade.js");
  const { adjusted } = await import("./light_math.js");
  return lights.map((light) =>
    adjusts.map((adjust) => normals.map((normal) => shading(adjusted(light, adjust), ...normal))));
}
"""


def test_twin(page: Page, untouched: Serving) -> None:
    """The page's colours equal lcvd's, for every preset under every kind of adjustment."""
    page.goto(untouched.url)
    lit = [preset.lighting for preset in PRESETS if key_index(preset.lighting) is not None]
    lights = [Light.of(lighting).model_dump(mode="json") for lighting in lit]
    ours = np.array(page.evaluate(SHADE, [lights, ADJUSTS, NORMALS.tolist()]))
    theirs = np.array([[shading(adjust(each, **change), NORMALS) for change in ADJUSTS] for each in lit])  # type: ignore[arg-type]
    # The wire rounds to five digits; a light of 1.5 scaled by 3 keeps four of them.
    np.testing.assert_allclose(ours, theirs, atol=3e-4)


def test_environment(page: Page, untouched: Serving) -> None:
    """An SH environment is shaded alike, all nine coefficients of it."""
    page.goto(untouched.url)
    sh = np.random.default_rng(3).normal(0, 0.2, (9, 3)).astype(np.float32)
    sh[0] += 2
    light = Light(name="test", ambient_rgb=(0.1, 0.2, 0.3), sh=[(float(r), float(g), float(b)) for r, g, b in sh])
    ours = np.array(page.evaluate(SHADE, [[light.model_dump(mode="json")], [{}], NORMALS.tolist()]))[0, 0]
    np.testing.assert_allclose(ours, shading(light.lighting(), NORMALS), atol=1e-4)


def test_pad(page: Page, untouched: Serving) -> None:
    """The pad around the ball and the direction of the light are each other's inverse, behind the head too."""
    page.goto(untouched.url)
    worst = page.evaluate(
        """async () => {
          const { REACH, directionFromPad, padFromDirection } = await import("./light_math.js");
          let worst = 0;
          for (let x = -1; x <= 1; x += 0.1)
            for (let y = -1; y <= 1; y += 0.1) {
              if (Math.hypot(x, y) > REACH) continue;
              const direction = directionFromPad(x, y);
              const [u, v] = padFromDirection(direction);
              worst = Math.max(worst, Math.hypot(u - x, v - y), Math.abs(Math.hypot(...direction) - 1));
            }
          return worst;
        }"""
    )
    assert worst < 1e-6
