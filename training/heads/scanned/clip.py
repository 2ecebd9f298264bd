"""scanned_clip renders one person of the kit in one room, moving, as a webcam sees it, with the truth of each frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray
from training.heads.background import random_background
from training.heads.scanned.facekit import EYES, FaceKit
from training.heads.scanned.parts import Mesh
from training.heads.scanned.person import random_scanned_person
from training.heads.scanned.render import Picture, posed, render, renders
from training.heads.scanned.room import Room, random_around, random_room
from training.heads.scanned.webcam import Webcam, random_webcam

TALK = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthClose", "mouthLowerDown_L", "mouthLowerDown_R")
NECK_Y = -11.0  # the head turns about this height (cm)


@dataclass(frozen=True, slots=True, eq=False)
class ScannedFrame:
    """Holds one frame: what the webcam shows, and the truth."""

    rgb: NDArray[np.uint8]  # [S,S,3]
    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Holds the poses of F frames."""

    rotation: FloatArray  # [F,3,3] of the head
    shift_cm: FloatArray  # [F,2] of everything, in the picture's plane
    expression: list[dict[str, float]]
    gaze: FloatArray | None = None  # [F,2] of the eyes in the head, radians: to the person's left, up


def scanned_clip(kit: FaceKit, seed: int, frames: int = 1, size: int = 192) -> list[ScannedFrame]:
    """Renders `frames` frames of S = `size` px; the same seed gives the same person, room, webcam and motion."""
    who, where, how, light, lens = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5))
    mesh = random_scanned_person(who, kit)
    background = random_background(where, size) * np.float32(where.uniform(0.6, 3.0))
    room = random_room(light)
    return list(filmed(kit, mesh, room, random_motion(how, kit, frames), background, random_webcam(lens), how))


def scanned_stills(kit: FaceKit, seed: int, rooms: int, size: int = 192) -> Iterator[ScannedFrame]:
    """Yields one pose of one person in `rooms` rooms, each with a background and a webcam of its own.

    That costs half as much a picture as a person for each, and tells a network that light is not shape.
    """
    who, how, light, lens = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    mesh = random_scanned_person(who, kit)
    moved = moved_points(kit, mesh, random_motion(how, kit, 1), 0)
    at = posed(mesh, moved, size, *_framing(how, size))
    around = random_around(light)
    places = [
        (random_room(light, around), random_background(light, size) * np.float32(light.uniform(0.6, 3.0)))
        for _ in range(rooms)
    ]
    for picture in renders(mesh, at, places):
        yield ScannedFrame(random_webcam(lens).shot(picture.rgb, lens), picture)


def filmed(
    kit: FaceKit, mesh: Mesh, room: Room, motion: Motion, background: FloatArray, webcam: Webcam,
    rng: np.random.Generator,
) -> Iterator[ScannedFrame]:  # fmt: skip
    """Yields the frames of a motion."""
    size = background.shape[0]
    focal, distance, centre = _framing(rng, size)
    for f in range(len(motion.rotation)):
        moved = moved_points(kit, mesh, motion, f)
        at = posed(mesh, moved, size, focal, distance, centre)
        picture = render(mesh, at, room, background)
        yield ScannedFrame(webcam.shot(picture.rgb, rng), picture)


def _framing(rng: np.random.Generator, size: int) -> tuple[float, float, np.ndarray]:
    """Draws a focal length, px, the camera's distance, cm, and where the head is in the picture [2], px."""
    distance = float(rng.uniform(38, 110))
    width_px = size * rng.uniform(0.24, 0.42)  # of the face, about 14 cm
    centre = np.array([size * rng.uniform(0.44, 0.56), size * rng.uniform(0.40, 0.52)])
    return width_px / 14.0 * distance, distance, centre


def moved_points(kit: FaceKit, mesh: Mesh, motion: Motion, f: int) -> FloatArray:
    """Returns the mesh's vertices [V,3] in frame `f`, cm."""
    expression = kit.displacement(motion.expression[f])
    if motion.gaze is not None:
        expression[EYES] += kit.turned_eyes(*motion.gaze[f])
    points = mesh.rest.copy()
    follows = mesh.source >= 0
    points[follows] += expression[mesh.source[follows]]
    pivot = np.array([0, NECK_Y, -2.0], np.float32)
    turned = (points - pivot) @ motion.rotation[f].T + pivot
    points = turned + mesh.body[:, None] * (points - turned)
    points[:, :2] += motion.shift_cm[f]
    return points.astype(np.float32)


def random_motion(rng: np.random.Generator, kit: FaceKit, frames: int) -> Motion:
    """Draws head turns, a drift and a face that talks; poses change smoothly from frame to frame."""
    angles = np.radians(rng.normal(0, (22, 9, 7), 3)) + _drift(rng, frames, (4, 2, 2)) * np.pi / 180
    rotation = np.stack([_rotation(*a) for a in np.clip(angles, -1.05, 1.05)])
    names = list(kit.expression)
    base = {str(n): float(rng.uniform(0, 0.8)) for n in rng.choice(names, int(rng.integers(0, 6)), replace=False)}
    if rng.random() < 0.5:
        base |= {"mouthSmile_L": float(rng.uniform(0, 1)), "mouthSmile_R": float(rng.uniform(0, 1))}
    talk = np.clip(_drift(rng, frames, (0.5,) * len(TALK), 0.6) * 0.6 + rng.uniform(-0.4, 0.5, len(TALK)), 0, 0.9)
    blink = float(rng.random() < 0.07)
    expression = [
        base | {n: float(w) for n, w in zip(TALK, talk[f], strict=True)}
        | {"eyeBlink_L": max(blink, base.get("eyeBlink_L", 0)), "eyeBlink_R": max(blink, base.get("eyeBlink_R", 0))}
        for f in range(frames)
    ]  # fmt: skip
    known = set(names)
    expression = [{n: w for n, w in e.items() if n in known} for e in expression]
    return Motion(rotation.astype(np.float32), _drift(rng, frames, (0.5, 0.3)).astype(np.float32), expression)


def _drift(rng: np.random.Generator, frames: int, size: tuple[float, ...], keep: float = 0.92) -> np.ndarray:
    out = np.empty((frames, len(size)))
    at = rng.normal(0, 1, len(size))
    for f in range(frames):
        at = keep * at + np.sqrt(1 - keep * keep) * rng.normal(0, 1, len(size))
        out[f] = at * size
    return out


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return lean @ turn @ nod
