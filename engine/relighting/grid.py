"""The working grid covers the part of the frame around the person with at most GRID cells on its long side.

Shading is smooth, so 128 cells suffice for head and shoulders (mean difference to 256: 0.9 grey levels), and a small
face in a large frame needs them around the person alone. The grid stays in place while the person stays inside it,
because a grid that followed every pixel would make the light shimmer.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lcvd.types import Face, FloatArray

GRID = 128
AROUND_FW = (2.4, 2.1, 2.4, 2.6)  # left, above, right, below the face's centre, in face widths


@dataclass(frozen=True, slots=True)
class WorkingGrid:
    """A box of the frame in pixels, divided into cells; the centre of column j is at x0 + (j + 0.5) · width / cols."""

    x0: int
    y0: int
    width: int
    height: int
    rows: int
    cols: int
    frame: tuple[int, int]  # (height, width) of the frame it lies in

    @property
    def cell_px(self) -> float:
        """The mean side of a cell in pixels."""
        return 0.5 * (self.width / self.cols + self.height / self.rows)

    def sample(self, field: FloatArray) -> FloatArray:
        """Sample `field` [h,w], which covers the whole frame, at this grid's cells, bilinearly: [rows,cols]."""
        height, width = self.frame
        x_scale, y_scale = field.shape[1] / width, field.shape[0] / height
        step_x, step_y = self.width / self.cols * x_scale, self.height / self.rows * y_scale
        field_from_grid = np.array(
            [
                [step_x, 0, self.x0 * x_scale + 0.5 * step_x - 0.5],
                [0, step_y, self.y0 * y_scale + 0.5 * step_y - 0.5],
            ],
            np.float32,
        )
        return cv2.warpAffine(  # type: ignore[return-value]
            field,
            field_from_grid,
            (self.cols, self.rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def vertices(self, vertices_px: FloatArray) -> FloatArray:
        """Convert vertices [V,3] from frame pixels to grid cells, depth included."""
        scale = np.array([self.cols / self.width, self.rows / self.height, 1 / self.cell_px], np.float32)
        return (vertices_px - np.array([self.x0, self.y0, 0], np.float32)) * scale


def grid_around(
    face: Face, frame: tuple[int, int], previous: WorkingGrid | None = None, side: int = GRID
) -> WorkingGrid:
    """Return the grid for `face` in a `frame` of (height, width), or `previous` where that still fits.

    `side` is the largest number of rows or columns.
    """
    height, width = frame
    unit = max(face.width_px, 8.0)
    oval = face.vertices_px[face.mesh.regions["face_oval"], :2]
    cx, cy = (oval.min(0) + oval.max(0)) / 2
    left, above, right, below = (a * unit for a in AROUND_FW)
    x0, x1 = _clip(cx - left, width), _clip(cx + right, width)
    y0, y1 = _clip(cy - above, height), _clip(cy + below, height)
    if previous is not None and previous.frame == frame and _fits(previous, (x0, y0, x1, y1), 0.25 * unit):
        return previous
    x1, y1 = max(x1, min(x0 + 16, width)), max(y1, min(y0 + 16, height))
    x0, y0 = max(min(x0, x1 - 16), 0), max(min(y0, y1 - 16), 0)
    cell = max(max(x1 - x0, y1 - y0) / side, 1.0)
    rows, cols = (max(round((b - a) / cell), 4) for a, b in ((y0, y1), (x0, x1)))
    return WorkingGrid(x0, y0, x1 - x0, y1 - y0, rows, cols, frame)


def _clip(at: float, side: int) -> int:
    return int(min(max(round(at), 0), side))


def _fits(grid: WorkingGrid, box: tuple[int, int, int, int], slack: float) -> bool:
    x0, y0, x1, y1 = box
    near = (
        x0 >= grid.x0 - slack
        and y0 >= grid.y0 - slack
        and x1 <= grid.x0 + grid.width + slack
        and y1 <= grid.y0 + grid.height + slack
    )
    return near and max(x1 - x0, y1 - y0) > 0.7 * max(grid.width, grid.height)
