"""A person drawn by the tests, and the tracker and matte that find it, need no network, clip or portrait."""

from dataclasses import replace

import numpy as np

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine, RatioStream
from lcvd.face.neutral import centred_face
from lcvd.types import Background, DirectionalLight, Face, Lighting

SIZE = (240, 320)
SKIN, SHIRT, WALL = (190, 150, 130), (60, 70, 110), (150, 160, 150)


def directional_light(x: float, y: float, z: float, level: float = 1.2, shadow: float = 0.0) -> DirectionalLight:
    length = float(np.sqrt(x * x + y * y + z * z))
    return DirectionalLight((x / length, y / length, z / length), (level,) * 3, 0.2, shadow)


LEFT = Lighting("left", (0.2,) * 3, (directional_light(-1, 0.2, 0.5, shadow=0.6),))
RIGHT = Lighting("right", (0.2,) * 3, (directional_light(1, 0.2, 0.5, shadow=0.6),))
ORIGINAL = replace(LEFT, name="original", strength=0.0)
EVEN = Lighting("even", (1.0,) * 3, (), background=Background("keep", 1.0))


def person_mask(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the mask of head, neck and shoulders around `centred_face`: bool [H,W]."""
    height, width = size
    unit = min(size) / 3
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = (x - width / 2) / unit, (y - height / 2) / unit
    head = (x / 0.62) ** 2 + ((y + 0.12) / 0.85) ** 2 < 1
    neck = (np.abs(x) < 0.35) & (y > 0)
    shoulders = (x / 1.3) ** 2 + ((y - 1.7) / 0.7) ** 2 < 1
    return head | neck | shoulders


def portrait(size: tuple[int, int] = SIZE, noise: float = 2.0, seed: int = 0) -> np.ndarray:
    """Return uint8 [H,W,3]: an evenly lit person before a wall, with a camera's noise."""
    height, width = size
    rgb = np.empty((height, width, 3), np.float64)
    rgb[:] = WALL
    rgb[person_mask(size)] = SKIN
    below = np.arange(height) > height / 2 + min(size) / 3 * 1.0
    rgb[below[:, None] & person_mask(size)] = SHIRT
    rgb += np.random.default_rng(seed).normal(0, noise, rgb.shape)
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


class ScriptedTracker:
    """A tracker that finds the centred face, except at the times listed in `blind`."""

    def __init__(self, blind: tuple[float, ...] = (), shift_px: float = 0.0) -> None:
        self.blind = blind
        self.shift_px = shift_px
        self.resets = 0

    def track(self, rgb: np.ndarray, t_s: float) -> Face | None:
        if any(abs(t_s - t) < 1e-6 for t in self.blind):
            return None
        return moved(centred_face(rgb.shape[:2], t_s), self.shift_px * t_s)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None: ...


def moved(face: Face, dx_px: float) -> Face:
    step = np.array([dx_px, 0, 0], np.float32)
    return replace(face, vertices_px=face.vertices_px + step, translation_px=face.translation_px + step)


class DrawnMatte:
    """A matte that returns the true mask at a coarse size, as a network would, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        height, width = rgb.shape[:2]
        mask = person_mask((height, width)).astype(np.float32)
        step = max(height // 60, 1)
        rows, cols = height // step, width // step
        return mask[: rows * step, : cols * step].reshape(rows, step, cols, step).mean((1, 3))


def engine_of(tracker: ScriptedTracker | None = None, matte: DrawnMatte | None = None) -> RatioEngine:
    return RatioEngine(lambda: tracker or ScriptedTracker(), lambda: matte or DrawnMatte())


def stream_of(lighting: Lighting, tracker: ScriptedTracker | None = None) -> RatioStream:
    return engine_of(tracker).open(StreamConfig(lighting=lighting))


def frames(count: int, fps: float = 30.0, size: tuple[int, int] = SIZE, noise: float = 2.0) -> list[Frame]:
    rgb = portrait(size, noise)
    return [Frame(i, i / fps, rgb) for i in range(count)]


def face_halves(rgb: np.ndarray) -> tuple[float, float]:
    """Return the mean brightness of the left and of the right half of the face, as seen in the picture."""
    height, width = rgb.shape[:2]
    unit = int(min(height, width) / 3)
    rows = slice(height // 2 - unit // 4, height // 2 + unit // 4)
    left = rgb[rows, width // 2 - int(0.4 * unit) : width // 2 - int(0.15 * unit)]
    right = rgb[rows, width // 2 + int(0.15 * unit) : width // 2 + int(0.4 * unit)]
    return float(left.mean()), float(right.mean())
