"""This module relights held-out rendered people with the CPU engine and compares with the truth.

Every person sits in one room and moves; the truth is the same albedo, pose and camera in the wanted light. Figures are
PSNR within the person, plain and after the best single gain (si-PSNR), both in sRGB code values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine
from lcvd.lighting.colour import LUMA, linear_from_srgb, srgb_from_linear
from lcvd.types import FloatArray, Lighting
from training.heads.background import random_background
from training.heads.scanned.clip import moved_points, random_motion
from training.heads.scanned.facekit import FaceKit
from training.heads.scanned.parts import Part
from training.heads.scanned.person import random_scanned_person
from training.heads.scanned.render import Picture, posed, render, renders
from training.heads.scanned.room import Room, fibonacci, random_room, room_of
from training.heads.scanned.webcam import Webcam, random_webcam

DIRECTIONS = 200
PLAIN_CAMERA = Webcam(0.3, np.ones(3, np.float32), 1.0, 0.002, 0.001, 0.3, 0.0, 98)
FRAMES, SIZE = 6, 320


class Trial(NamedTuple):
    """Holds one person in one room, and the true pictures under the wanted lights."""

    frames: list[NDArray[np.uint8]]  # [S,S,3]
    truths: list[NDArray[np.uint8]]  # of the last frame, one for each light
    person: NDArray[np.bool_]  # [S,S] inside the head and neck in the last frame
    skin: NDArray[np.bool_]
    harshness: float  # log of the bright over the dark half of the face
    tone: float  # luminance of the skin's albedo
    picture: Picture  # the truth of the last frame
    level: float  # luminance of the light on the face's skin there


def window_room(rng: np.random.Generator) -> Room:
    """Draws the room that relighting finds hardest: one small lamp from a side and hardly anything else."""
    around = fibonacci(24)
    ambient = rng.uniform(0.05, 0.14) * (0.7 + 0.3 * around[:, 1:2]) * np.ones((24, 3)) * (4 / 24)
    a, e = np.radians(rng.choice((-1, 1)) * rng.uniform(40, 85)), np.radians(rng.uniform(-5, 35))
    middle = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    lamp = middle + 0.09 * rng.standard_normal((6, 3))
    lamp /= np.linalg.norm(lamp, axis=1, keepdims=True)
    columns = (around, lamp), (ambient, np.full((6, 3), 1 / 6)), (np.zeros(24), np.ones(6))
    return Room(*(np.concatenate(column).astype(np.float32) for column in columns))


def trial(kit: FaceKit, seed: int, lights: Sequence[Lighting], hard: bool = False) -> Trial:
    """Renders one held-out person under a room and under `lights`.

    Where it is `hard`, the room is `window_room` and the camera has no fault but a little noise, so that what is left
    is the relighting's.
    """
    rng = np.random.default_rng([seed, 77])
    mesh = random_scanned_person(rng, kit)
    room = window_room(rng) if hard else random_room(rng)
    motion = random_motion(rng, kit, FRAMES)
    background = random_background(rng, SIZE)
    webcam = replace(PLAIN_CAMERA, exposure=float(rng.uniform(0.15, 0.3))) if hard else random_webcam(rng)
    distance, width = float(rng.uniform(45, 90)), SIZE * float(rng.uniform(0.3, 0.42))
    frames, truths = [], []
    for f in range(FRAMES):
        at = posed(mesh, moved_points(kit, mesh, motion, f), SIZE, width / 14 * distance, distance,
                   np.array([SIZE / 2, SIZE * 0.46]))  # fmt: skip
        picture = render(mesh, at, room, background)
        frames.append(webcam.shot(picture.rgb, rng))
    # The camera keeps its exposure: light of 1 on the face's mean stays 1, as in the engine.
    skin = (picture.part == Part.SKIN) & (picture.coverage > 0.95)
    level = float((picture.light[skin] @ LUMA).mean())
    sky = fibonacci(DIRECTIONS)
    for wanted in renders(mesh, at, [(room_of(light, sky), background) for light in lights], exposed=False):
        ratio = level * wanted.light / np.maximum(picture.light, 1e-4)
        linear = picture.rgb * np.where(picture.coverage[..., None] > 0.5, ratio, 1)
        code = srgb_from_linear(np.clip(linear * webcam.exposure * webcam.balance, 0, 1)) ** webcam.contrast
        truths.append(np.round(255 * code).astype(np.uint8))
    person = (picture.coverage > 0.95) & (picture.part != Part.CLOTH)
    sides = [picture.light[skin & (np.arange(SIZE)[None] * np.ones((SIZE, 1)) < SIZE / 2)] @ LUMA,
             picture.light[skin & (np.arange(SIZE)[None] * np.ones((SIZE, 1)) >= SIZE / 2)] @ LUMA]  # fmt: skip
    means = [max(float(side.mean()), 1e-3) if side.size else level for side in sides]
    return Trial(frames, truths, person, skin, abs(float(np.log(means[0] / means[1]))), float(mesh.albedo[0] @ LUMA),
                 picture, level)  # fmt: skip


def psnr(found: FloatArray, true: FloatArray) -> float:
    """Returns the PSNR of code values [N,3] in 0…1, dB."""
    return float(-10 * np.log10(max(float(np.square(found - true).mean()), 1e-8)))


def si_psnr(found: FloatArray, true: FloatArray) -> float:
    """Returns the PSNR after the single gain in linear light that fits best."""
    a, b = linear_from_srgb(found), linear_from_srgb(true)
    gain = float((a * b).sum() / max(float((a * a).sum()), 1e-9))
    return psnr(np.asarray(srgb_from_linear(np.clip(gain * a, 0, 1).astype(np.float32))), true)


def relit(engine: RatioEngine, frames: Sequence[NDArray[np.uint8]], light: Lighting) -> NDArray[np.uint8]:
    """Returns the engine's picture of the last frame."""
    stream = engine.open(StreamConfig(lighting=light))
    try:
        for index, rgb in enumerate(frames):
            (out,) = stream.push(Frame(index, index / 15, rgb))
    finally:
        stream.close()
    return out.rgb


def figures(trials: Iterator[Trial], engine: RatioEngine, lights: Sequence[Lighting]) -> list[dict[str, float]]:
    """Returns a row for each trial and light: before and after, PSNR and si-PSNR, and what the case was."""
    rows = []
    for each in trials:
        for light, truth in zip(lights, each.truths, strict=True):
            inside = each.person
            true = (truth[inside] / np.float32(255)).astype(np.float32)
            before = (each.frames[-1][inside] / np.float32(255)).astype(np.float32)
            after = (relit(engine, each.frames, light)[inside] / np.float32(255)).astype(np.float32)
            rows.append({
                "untouched": psnr(before, true), "untouched_si": si_psnr(before, true),
                "psnr": psnr(after, true), "si_psnr": si_psnr(after, true),
                "harshness": each.harshness, "tone": each.tone,
            })  # fmt: skip
    return rows
