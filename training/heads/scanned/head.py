"""scanned_head_clip films one person of the kit under two lights, wherever `training.heads.head_clip` would serve.

Lights, camera, background and hints are those of head_clip: light of order 2, exposed for a face, and a webcam of fixed
exposure. The truth has what a hint cannot show: the head's own shadows, hair, glasses, eyes and teeth. Faces are the
tracker's, as in use, but found in a picture under even light, so that no room spoils them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.face.raster import MAX_SIDE_PX
from lcvd.hints import render_hints
from lcvd.lighting.colour import srgb_from_linear
from lcvd.protocols import Tracker
from lcvd.tracking.mesh import MeshTracker
from lcvd.types import Face, FloatArray, Lighting
from training.errors import DataError
from training.heads.background import random_background
from training.heads.camera import blurred, developed, random_camera
from training.heads.clip import HeadClip
from training.heads.expression import NAMES
from training.heads.light import random_lighting
from training.heads.pose import FRAME_RATE, random_motion
from training.heads.pose import Motion as HeadMotion
from training.heads.scanned.clip import Motion, moved_points
from training.heads.scanned.facekit import FaceKit
from training.heads.scanned.parts import Mesh
from training.heads.scanned.person import random_scanned_person
from training.heads.scanned.render import SUPER, Posed, posed, render, renders
from training.heads.scanned.room import Room, random_around, room_of

DIRECTIONS = 32  # of the light: order 2 is smooth
SEEN = 2  # the tracker gets a picture of this many times the size
ATTEMPTS = 8  # at a person whom the tracker finds in every frame
GAZE_CM = 0.35  # of the iris, at the full weight of the kit's shapes for lids
EYE_RADIUS_CM = 1.2
STEADY = 0.5  # greatest weight of a shape that a person shows all the time
EVEN = Room(
    np.array([[0, 0, 1], [-0.6, 0.3, 0.74], [0.6, 0.3, 0.74]], np.float32),
    np.array([[0.5] * 3, [0.3] * 3, [0.3] * 3], np.float32),
    np.zeros(3, np.float32),
)


def scanned_head_clip(
    kit: FaceKit,
    seed: int,
    frames: int = 16,
    size: int = 128,
    *,
    lighting: Lighting | None = None,
    target: Lighting | None = None,
    tracker: Tracker | None = None,
) -> HeadClip:
    """Renders the clip of this seed: F = `frames` pictures of S = `size` px; a light that is not given is drawn.

    The same seed gives the same person, background and motion under every light. Raises ShapeError where frames or size
    are impossible, DataError where the tracker finds no face in this kit's heads.
    """
    if frames < 1 or not 16 <= size <= MAX_SIDE_PX // (SUPER * SEEN):
        raise ShapeError(f"frames {frames}, size {size}", f"frames ≥ 1, size in 16…{MAX_SIDE_PX // (SUPER * SEEN)} px")
    for attempt in range(ATTEMPTS):
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence([seed, attempt]).spawn(8)]
        who, where, how, light, aim, lens, grain, sky = streams
        mesh = random_scanned_person(who, kit)
        poses = _poses(kit, mesh, how, frames, SEEN * size)
        faces = _tracked(tracker or MeshTracker(smoothing=None), mesh, poses, size)
        if faces is not None:
            break
    else:
        raise DataError(f"head {seed}: the tracker finds no face in it", "is the kit ICT-FaceKit's?")
    lighting = random_lighting(light) if lighting is None else lighting
    target = random_lighting(aim) if target is None else target
    around, background, camera = (
        random_around(sky, DIRECTIONS),
        random_background(where, size),
        random_camera(lens, size),
    )
    rooms = [(room_of(of, around), background) for of in (lighting, target)]

    pictures = np.empty((2, frames, size, size, 3), np.uint8)
    hints = np.empty((2, frames, size, size, 3), np.uint8)
    masks = np.empty((frames, size, size), np.float32)
    for f, (at, face) in enumerate(zip(poses, faces, strict=True)):
        small = at._replace(pixels=(at.pixels / np.array([SEEN, SEEN, 1])).astype(np.float32))
        for side, picture in enumerate(renders(mesh, small, rooms, exposed=False)):
            pictures[side, f] = developed(camera, picture.rgb, grain)
            masks[f] = np.clip(blurred(camera, picture.coverage), 0, 1)
            hints[side, f] = render_hints(face, (lighting, target)[side], (size, size)).rgb
    return HeadClip(pictures[0], pictures[1], hints[0], hints[1], masks, tuple(faces), lighting, target, seed)


def _poses(kit: FaceKit, mesh: Mesh, rng: np.random.Generator, frames: int, size: int) -> list[Posed]:
    """Returns the person in every frame, in px of a picture of `size`."""
    head = random_motion(rng, frames)
    scale, middle = float(head.scale.mean()), head.translation.mean(0)
    shift = (head.translation - middle) / scale * np.array([1, -1])
    expression = _expressions(kit, head, rng)
    motion = Motion(head.rotation, shift.astype(np.float32), expression, head.gaze / np.float32(EYE_RADIUS_CM))
    distance = float(rng.uniform(38, 110))
    return [
        posed(mesh, moved_points(kit, mesh, motion, f), size, scale * size * distance, distance, middle * size)
        for f in range(frames)
    ]


def _expressions(kit: FaceKit, head: HeadMotion, rng: np.random.Generator) -> list[dict[str, float]]:
    """Returns the weights of the kit's shapes in every frame: what `head` does, and a few that stay."""
    moving = ("jaw", "mouthSmile", "mouthPucker", "brow", "eyeLook", "eyeBlink")
    still = [name for name in kit.expression if not name.startswith(moving)]
    count = min(int(rng.integers(0, 5)), len(still))
    steady = {str(name): float(rng.uniform(0, STEADY)) for name in rng.choice(still, count, replace=False)}
    rows = []
    for weights, (across, up) in zip(head.expression, head.gaze / GAZE_CM, strict=True):
        jaw, smile, pucker, brows, blink = (float(weights[NAMES.index(name)]) for name in NAMES)
        shown = {"jawOpen": jaw, "mouthPucker": pucker, "browInnerUp": brows}
        shown |= {f"mouthSmile_{side}": smile for side in "LR"} | {f"eyeBlink_{side}": blink for side in "LR"}
        shown |= {f"browOuterUp_{side}": brows for side in "LR"} | {f"browDown_{side}": -brows for side in "LR"}
        # +x is the person's left: there the left eye looks out and the right one in.
        shown |= {"eyeLookOut_L": across, "eyeLookIn_R": across, "eyeLookIn_L": -across, "eyeLookOut_R": -across}
        shown |= {f"eyeLookUp_{side}": up for side in "LR"} | {f"eyeLookDown_{side}": -up for side in "LR"}
        rows.append(steady | {name: min(w, 1.0) for name, w in shown.items() if w > 0 and name in kit.expression})
    return rows


def _tracked(tracker: Tracker, mesh: Mesh, poses: Sequence[Posed], size: int) -> list[Face] | None:
    """Returns the face of every frame in px of a picture of `size`, or None where one is not found."""
    tracker.reset()
    behind = np.full((SEEN * size, SEEN * size, 3), 0.2, np.float32)
    faces = []
    for f, at in enumerate(poses):
        face = tracker.track(_even(mesh, at, behind), f / FRAME_RATE)
        if face is None or face.held:
            return None
        faces.append(
            replace(
                face,
                vertices_px=face.vertices_px / np.float32(SEEN),
                translation_px=face.translation_px / np.float32(SEEN),
                scale_px_per_cm=face.scale_px_per_cm / SEEN,
            )
        )
    return faces


def _even(mesh: Mesh, at: Posed, behind: FloatArray) -> NDArray[np.uint8]:
    """Returns the picture of a pose under even light, exposed for the face."""
    linear = render(mesh, at, EVEN, behind).rgb * np.float32(0.35)
    return np.rint(255 * np.clip(srgb_from_linear(np.clip(linear, 0, 1)), 0, 1)).astype(np.uint8)
