"""Run as a program, this compiles what lies between a person's surface and the relit pixels (engine.precompile)."""

from dataclasses import replace

import numpy as np

from engine.precompile import end_with_parent
from engine.relighting.alpha import coarse_size
from engine.relighting.apply import apply_gain
from engine.relighting.background import background_gain
from engine.relighting.denoise import smoothing
from engine.relighting.grid import grid_around
from engine.relighting.shading import WHITE, SourceShade, Surface, shade
from engine.relighting.shadow import cast_shadows
from engine.synthetic_face import WARMUP_LIGHT
from lcvd.face.neutral import centred_face
from lcvd.lighting.lighting import pack

SIZE = 240, 320  # height and width, px
# So bright and so noisy that smoothing has something to do.
LIGHT = replace(WARMUP_LIGHT, ambient_rgb=(2.0, 2.0, 2.0))
NOISE = 3.0  # code values


def compile_pixels() -> None:
    """Relight a grey picture, whose middle is a person that faces the viewer."""
    rgb = np.full((*SIZE, 3), 120, np.uint8)
    grid = grid_around(centred_face(SIZE), SIZE)
    ones = np.ones((grid.rows, grid.cols), np.float32)
    normal = np.zeros((*ones.shape, 3), np.float32)
    normal[..., 2] = 1
    cols, rows = coarse_size(*SIZE)
    small = np.full((rows, cols, 3), 0.5, np.float32)
    alpha = np.zeros((rows, cols, 7), np.float32)
    alpha[:, cols // 4 : -cols // 4, 3] = 1
    alpha[..., 4:] = 1
    light = pack(LIGHT)
    shadows = cast_shadows(ones, light, 0.03)
    fields = shade(Surface(normal, ones, ones, ones), SourceShade(ones, ones), light, shadows, 1.0, NOISE, WHITE)
    smooth = smoothing(small, ones, fields[1], grid, NOISE)
    apply_gain(rgb, fields, grid, alpha, background_gain(LIGHT, 1.0), smooth, NOISE)


if __name__ == "__main__":
    end_with_parent()
    compile_pixels()
