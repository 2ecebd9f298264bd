"""random_lighting draws a light: one to three soft lamps and an ambient, as SH of order 2, exposed for a face.

It is built of lamps, so that the radiance is physically plausible, and kept as coefficients, so that it contains
nothing that a hint cannot show. The product's presets are not drawn: they are kept for held-out checks (pass them to
`head_clip`).
"""

import numpy as np

from lcvd.lighting.colour import LUMA, rgb_from_temperature_k, rgb_tuple
from lcvd.lighting.lighting import direction_from_angles, sh_projection
from lcvd.lighting.sh import irradiance_over_pi
from lcvd.types import DirectionalLight, Lighting

VIVID = 0.15  # share of lamps with a saturated colour, as neon and stage lights have
# The normals of a face that the viewer sees: within 60° of the camera.
_FACING = np.array([direction_from_angles(az, el) for az in (-60, -30, 0, 30, 60) for el in (-40, 0, 40)], np.float32)


def random_lighting(rng: np.random.Generator) -> Lighting:
    """Draws a light.

    Its mean luminance over a facing head is 0.35…0.95 and its brightest facing normal at most 1.6.
    """
    key = _lamp(rng, rng.uniform(-120, 120), rng.uniform(-45, 65), 1.0)
    others = tuple(
        _lamp(rng, rng.uniform(-170, 170), rng.uniform(-30, 60), rng.uniform(0.08, 0.6))
        for _ in range(rng.integers(0, 3))
    )
    ambient = np.exp(rng.uniform(np.log(0.04), np.log(0.9))) * rgb_from_temperature_k(rng.uniform(4500, 9500))
    sh = sh_projection(Lighting("", rgb_tuple(ambient), (key, *others)))
    luminance = np.maximum(irradiance_over_pi(sh, _FACING), 0) @ LUMA
    gain = min(rng.uniform(0.35, 0.95) / max(luminance.mean(), 1e-3), 1.6 / max(luminance.max(), 1e-3))
    return Lighting("random", (0.0, 0.0, 0.0), (), (gain * sh).astype(np.float32))


def _lamp(rng: np.random.Generator, azimuth_deg: float, elevation_deg: float, level: float) -> DirectionalLight:
    if rng.random() < VIVID:
        rgb = rng.dirichlet((0.8, 0.8, 0.8)) + 0.05
        rgb /= rgb @ LUMA + 0.3 * rgb.max()  # a pure blue of luminance 1 would drown the picture
    else:
        rgb = rgb_from_temperature_k(np.exp(rng.uniform(np.log(2800), np.log(10000))))
    return DirectionalLight(
        direction_from_angles(azimuth_deg, elevation_deg), rgb_tuple(level * rgb), float(rng.uniform(0.05, 0.7))
    )
