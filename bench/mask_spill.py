"""Measures how much of a drawn room the CPU engine takes for the person: `python -m bench.mask_spill CLIP --light rim`.

CLIP shows a person before a green screen, so that keying tells the truth. The person is laid over drawn rooms that
mislead mask networks, relit with the second look (engine.ratio.mask_correction) and without it, and compared where
nobody is: PSNR after 1.6 s, the share of the person that is lost, and how alpha's contour trembles (mean second
difference over time, in thousandths).
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine.bench.sample_clip import load_portrait
from engine.frames import Frame
from engine.offline.video_file import ClipReader
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine
from engine.surface.network import SurfaceNetwork
from lcvd.lighting.presets import preset
from lcvd.matting.multiclass import MulticlassMatte
from lcvd.types import Background, Lighting

SIDE = 512
SETTLED_S = 1.6
NOISE = 2.0  # of the camera, code values
MARGIN_PX = 9
Room = Callable[[], np.ndarray]


def wall(*colour: int) -> np.ndarray:
    """Return [SIDE,SIDE,3] of one colour, a little brighter at the right."""
    return (
        np.array(colour, np.float32)
        * (1 + 0.15 * np.linspace(-0.5, 0.5, SIDE, dtype=np.float32))[None, :, None]
        * (np.ones((SIDE, 1, 1), np.float32))
    )


def flags() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    cloth = np.where(((y + 0.35 * x) // 32 % 2 == 0)[..., None], (178, 34, 52), (235, 235, 235)).astype(np.float32)
    cloth[:230] = (40, 50, 110)
    cloth *= (0.8 + 0.2 * np.sin(x / 9))[..., None]
    room = wall(150, 140, 130)
    for left, right in ((0, 165), (350, SIDE)):
        room[40:, left:right] = cloth[40:, left:right]
    return room


def bright_wall() -> np.ndarray:
    room = wall(70, 66, 62)
    room[:, 300:] = (250, 248, 240)
    room[250:, :200] = (205, 160, 135)
    return room


def posters() -> np.ndarray:
    picture = load_portrait()
    room = wall(170, 165, 150)
    room[20:224, 325:505] = 20
    room[27:217, 330:500] = cv2.resize(picture, (170, 190))
    room[200:340, 8:128] = cv2.resize(picture[:, ::-1], (120, 140))
    return room


def books() -> np.ndarray:
    rng, room = np.random.default_rng(4), wall(90, 70, 50)
    for bottom in range(120, SIDE + 1, 128):
        left = 0
        while left < SIDE:
            width, height = int(rng.integers(10, 30)), int(rng.integers(70, 112))
            room[bottom - height : bottom, left : left + width] = rng.integers(20, 240, 3)
            left += width + 2
    return room


def chair() -> np.ndarray:
    room = np.ascontiguousarray(wall(190, 185, 175))
    cv2.ellipse(room, (256, 430), (215, 290), 0, 0, 360, (38, 36, 36), -1)
    return np.asarray(cv2.GaussianBlur(room, (0, 0), 1.5))


def coats() -> np.ndarray:
    room = np.ascontiguousarray(wall(200, 195, 185))
    cv2.fillPoly(room, [np.array([(380, 120), (470, 120), (511, 500), (360, 511)])], (48, 46, 50))
    cv2.fillPoly(room, [np.array([(0, 150), (90, 160), (120, 511), (0, 511)])], (150, 40, 40))
    return np.asarray(cv2.GaussianBlur(room, (0, 0), 1.5))


ROOMS: dict[str, Room] = {
    each.__name__.replace("_", " "): each for each in (flags, bright_wall, posters, books, chair, coats)
}


def keyed(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the person's colours and alpha of a frame before a green screen: [H,W,3], [H,W]."""
    colour = rgb.astype(np.float32)
    other = np.maximum(colour[..., 0], colour[..., 2])
    alpha = 1 - np.clip((colour[..., 1] - other - 12) / 30, 0, 1)
    colour[..., 1] = np.minimum(colour[..., 1], other + 6)
    return colour, alpha


def laid_over(frames: list[Frame], room: np.ndarray) -> tuple[list[Frame], list[np.ndarray]]:
    """Return the frames before `room`, with a camera's noise, and their true alpha."""
    out, alphas = [], []
    for frame in frames:
        colour, alpha = keyed(frame.rgb)
        noise = np.random.default_rng(frame.index).normal(0, NOISE, (*alpha.shape, 1))
        rgb = room + alpha[..., None] * (colour - room) + noise
        out.append(replace(frame, rgb=np.clip(rgb, 0, 255).astype(np.uint8)))
        alphas.append(alpha)
    return out, alphas


def measure(engine: RatioEngine, frames: list[Frame], truth: list[np.ndarray], light: Lighting) -> tuple[float, ...]:
    """Return PSNR (dB) where nobody is, the share of the person that is lost, and how alpha's contour trembles."""
    stream = engine.open(StreamConfig(light, slow_work="wait"))
    squares, lost, alphas = [], [], []
    for frame, alpha in zip(frames, truth, strict=True):
        work = stream.prepare(frame)
        (out,) = stream.render(work)
        if work.payload is None:
            continue
        alphas.append(work.payload.alpha)
        if frame.t_s >= SETTLED_S:
            nobody = cv2.dilate(alpha, np.ones((MARGIN_PX, MARGIN_PX))) < 0.02
            squares.append(np.square(out.rgb[nobody].astype(np.float64) - frame.rgb[nobody]).mean())
            lost.append((1 - cv2.resize(work.payload.alpha, alpha.shape[::-1]))[alpha > 0.98].mean())
    stream.close()
    seen = np.stack(alphas[3:])
    contour = ((seen > 0.05) & (seen < 0.95)).any(0)
    tremble = np.abs(seen[2:] - 2 * seen[1:-1] + seen[:-2])[:, contour].mean()
    return 10 * np.log10(255**2 / max(np.mean(squares), 1e-6)), float(np.mean(lost)), float(1000 * tremble)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--light", default="split-left")
    given = parser.parse_args()
    with ClipReader(given.clip) as reader:
        frames = [item for item in reader.items() if isinstance(item, Frame)]
    frames = [replace(f, rgb=np.ascontiguousarray(cv2.resize(f.rgb, (SIDE, SIDE)))) for f in frames]
    light = replace(preset(given.light).lighting, background=Background("keep", 1.0))
    engines = {"off": RatioEngine(make_surface=SurfaceNetwork)}
    engines["network"] = RatioEngine(make_surface=SurfaceNetwork, make_parts=MulticlassMatte)
    print(f"{'room':12} {'parts':8} {'dB':>6} {'lost':>8} {'contour':>8}")
    for name, room in ROOMS.items():
        shown, truth = laid_over(frames, room())
        for parts, engine in engines.items():
            psnr, lost, tremble = measure(engine, shown, truth, light)
            print(f"{name:12} {parts:8} {psnr:6.1f} {100 * lost:7.2f}% {tremble:8.2f}", flush=True)


if __name__ == "__main__":
    main()
