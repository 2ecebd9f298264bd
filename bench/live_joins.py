"""Measure the joins of LCVD's live windows over a long run: do they show, and do light, level and sharpness drift?

    .venv/bin/python -m bench.live_joins --portraits a.jpg b.jpg --drivers c.mp4 d.mp4 e.mp4
    .venv/bin/python -m bench.live_joins --portraits a.jpg --drivers c.mp4 --joins correct pin --sheet out

Drives the live renderer (`engine.diffusion.renderer`) without a clock: each driver's first seconds, to and fro, move
each portrait. A line gives mean level, ln of the light left over right of the face and sharpness (mean Laplacian on the
face) of the first whole loop and of the last, their changes in %, and the change from picture to picture across joins
over that elsewhere: over all windows, and over those after the first 24. The last line of stdout is one
JSON document. With --sheet the pictures around four joins are written as PNG.
"""

import argparse
import json
import platform
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.backends.eager import EagerBackend
from engine.diffusion.renderer import WindowRenderer
from engine.diffusion.sampler import SamplerPlan
from engine.diffusion.window import Window, WindowShape
from engine.frames import Frame, Work
from engine.offline.video_file import ClipReader
from engine.reference import Reference, make_reference, mixed_lighting
from engine.stats import Stats
from lcvd.hints import render_hints
from lcvd.lighting.presets import preset
from lcvd.matting.portrait import make_matte
from lcvd.model import load_lcvd
from lcvd.motion import FaceMotion
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Face, Lighting
from lcvd.weights.location import weights_folder

SETTLED = 24  # windows until the running means have settled
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
Pictures = NDArray[np.uint8]  # [N,S,S,3]


def faces_of(clip: Path, count: int) -> list[Face]:
    """Returns the first `count` faces seen in `clip`."""
    tracker, faces = MeshTracker(), []
    with ClipReader(clip) as reader:
        for item in reader.items():
            if isinstance(item, Frame):
                face = tracker.track(item.rgb, item.t_s)
                if face is not None and not face.held:
                    faces.append(face)
            if len(faces) == count:
                break
    return faces


def hints_of(reference: Reference, faces: list[Face], lighting: Lighting) -> Pictures:
    """Returns the hints of one loop, to and fro: [2 len(faces) - 2,S,S,3]."""
    move, size = FaceMotion(reference.face, rest="first"), reference.rgb.shape[:2]
    light = mixed_lighting(reference.lighting, lighting, lighting.strength)
    hints = [render_hints(move(face), light, size).rgb for face in faces]
    return np.stack([*hints, *hints[-2:0:-1]])


def run(renderer: WindowRenderer, hints: Pictures, hop: int, frames: int) -> Pictures:
    """Returns what the live renderer makes of `frames` frames of the loop, in whole windows."""
    made: list[NDArray[np.uint8]] = []
    for number in range(frames // hop):
        places = [(number * hop + i) % len(hints) for i in range(hop)]
        each = tuple(Frame(number * hop + i, 0.0, hints[place]) for i, place in enumerate(places))
        nothing = (None,) * hop
        work = Work(each, nothing, nothing, Window(number, hints[places]))  # type: ignore[arg-type]
        job, out = renderer.begin(work, lambda began_s, done_s: None), None
        while out is None:
            (result,) = renderer._backend.denoise([job.request()])
            out = job.advance(result)
        made += [frame.rgb for frame in out]
    return np.stack(made)


def loop_figures(pictures: Pictures, face: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Returns (mean level, ln of light left over right of the face, sharpness on the face)."""
    luma = pictures.astype(np.float32) @ LUMA
    columns = np.arange(face.shape[1])[None]
    left = face & (columns < (face * columns).sum() / face.sum())
    sharp = [np.abs(cv2.Laplacian(picture, cv2.CV_32F))[face].mean() for picture in luma]
    light = np.log(luma[:, left].mean(1) / luma[:, face & ~left].mean(1))
    return float(luma.mean()), float(light.mean()), float(np.mean(sharp))


def join_ratio(pictures: Pictures, hop: int, skipped: int = 0) -> float:
    """Returns the mean absolute change across joins over that elsewhere, without the first `skipped` windows."""
    change = np.abs(np.diff(pictures[skipped * hop :].astype(np.float32), axis=0)).mean((1, 2, 3))
    joins = np.arange(hop - 1, len(change), hop)
    return float(change[joins].mean() / np.delete(change, joins).mean())


def figures(pictures: Pictures, face: NDArray[np.bool_], loop: int, hop: int) -> dict[str, float]:
    """Returns the figures of one run by name; needs two loops and `SETTLED` windows and one."""
    end = len(pictures) // loop * loop
    first, last = (loop_figures(part, face) for part in (pictures[:loop], pictures[end - loop : end]))
    drift = (last[0] / first[0] - 1, np.exp(last[1] - first[1]) - 1, last[2] / first[2] - 1)
    names = ("mean", "light", "sharp")
    out = {f"{name}_first": value for name, value in zip(names, first, strict=True)}
    out |= {f"{name}_last": value for name, value in zip(names, last, strict=True)}
    out |= {f"{name}_percent": float(100 * value) for name, value in zip(names, drift, strict=True)}
    return out | {"joins": join_ratio(pictures, hop), "joins_settled": join_ratio(pictures, hop, SETTLED)}


def sheet(pictures: Pictures, hop: int) -> Pictures:
    """Returns four late joins, one a row: three pictures before and three after."""
    joins = [(len(pictures) // hop - back) * hop for back in (8, 6, 4, 2)]
    return np.concatenate([np.concatenate(list(pictures[at - 3 : at + 3]), 1) for at in joins])


def options() -> argparse.Namespace:
    """Returns what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True)
    parser.add_argument("--drivers", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--light", default="split-left")
    parser.add_argument("--strides", type=int, nargs="+", default=[4, 8, 10])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--joins", choices=("correct", "pin"), nargs="+", default=["correct"])
    parser.add_argument("--size", type=int, default=64, help="px of the model's picture")
    parser.add_argument("--frames", type=int, default=1000, help="of each run")
    parser.add_argument("--driven", type=int, default=60, help="frames of a driver; a loop is 2 of it less 2")
    parser.add_argument("--sheet", type=Path, help="folder for pictures around joins")
    asked = parser.parse_args()
    if asked.driven < 2 or asked.frames < max(4 * asked.driven, max(asked.strides) * (SETTLED + 2)):
        parser.error(
            f"--frames {asked.frames}: at least two loops of --driven {asked.driven} and {SETTLED + 2} windows"
        )
    return asked


def main() -> None:
    """Runs every cell and prints its line."""
    asked = options()
    torch.set_num_threads(1)
    backend, matte = EagerBackend(load_lcvd(weights_folder(asked.weights), "cpu")), make_matte(None)[0]
    driven = {path: faces_of(path, asked.driven) for path in asked.drivers}
    rows = []
    for path, driver in product(asked.portraits, asked.drivers):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        reference = make_reference(rgb, asked.size, MeshTracker(), matte)
        face = reference.hint.max(-1) > 0
        hints = hints_of(reference, driven[driver], preset(asked.light).lighting)
        for stride, steps, join in product(asked.strides, asked.steps, asked.joins):
            plan = SamplerPlan(steps, guidance="none", join=join)
            with torch.inference_mode():
                renderer = WindowRenderer(backend, reference, plan, WindowShape(stride), 0, Stats())
                pictures = run(renderer, hints, stride, asked.frames)
            row = {"portrait": path.stem, "driver": driver.stem, "stride": stride, "steps": steps, "join": join}
            row |= figures(pictures, face, len(hints), stride)
            rows.append(row)
            print(" ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()), flush=True)
            if asked.sheet is not None:
                asked.sheet.mkdir(parents=True, exist_ok=True)
                name = f"{path.stem}_{driver.stem}_{stride}_{steps}_{join}.png"
                cv2.imwrite(str(asked.sheet / name), sheet(pictures, stride)[..., ::-1])
    print(json.dumps({"machine": platform.processor() or platform.machine(), "size": asked.size, "runs": rows}))


if __name__ == "__main__":
    main()
