"""A Case is one held-out head with its true pictures under the requested light and under a flat one.

Every other head has a random light requested, the rest the product's presets, with which no head is trained. The seeds
lie beyond those of training and of its validation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.lighting.presets import PRESETS
from lcvd.types import Face, Lighting
from training.data.synthetic import HELD_OUT
from training.heads import HeadClip, head_clip
from training.heads.scanned.facekit import FaceKit
from training.heads.scanned.head import scanned_head_clip

FIRST = HELD_OUT + 2**24  # training's own checks count up from HELD_OUT
HEADS_MAX = 10_000  # of one evaluation seed; the next seed's heads follow
FLAT = Lighting("flat", (0.8, 0.8, 0.8))  # the same from every direction, so only the person's paint shows
GALLERY_STEP = 7  # through the gallery; coprime to its length, so that a few heads already have very different presets


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Holds T frames to relight. Frame 0 of the clip is the reference and is not scored."""

    reference: NDArray[np.uint8]  # [S,S,3] under its own light
    reference_hint: NDArray[np.uint8]  # [S,S,3]
    reference_mask: NDArray[np.float32]  # [S,S] in [0,1], 1 = person
    hints: NDArray[np.uint8]  # [T,S,S,3] under the requested light
    source: NDArray[np.uint8]  # [T,S,S,3] the frames before relighting
    truth: NDArray[np.uint8]  # [T,S,S,3] the frames under the requested light
    flat: NDArray[np.uint8]  # [T,S,S,3] the frames under FLAT
    masks: NDArray[np.bool_]  # [T,S,S] person
    faces: tuple[Face, ...]  # T, exact
    target: Lighting
    light: str  # preset's name, or random
    seed: int

    @property
    def frames(self) -> int:
        """Returns T."""
        return len(self.truth)


def target_of(index: int) -> Lighting | None:
    """Returns the preset requested of case `index`; None where its light is random."""
    gallery = [preset.lighting for preset in PRESETS if preset.lighting.strength > 0]
    return gallery[index // 2 * GALLERY_STEP % len(gallery)] if index % 2 else None


def seed_of(index: int, seed: int) -> int:
    """Returns the seed of the head of case `index` for this evaluation seed.

    Raises ShapeError outside the reserved range.
    """
    if not (0 <= index < HEADS_MAX and 0 <= seed < 2**16):
        raise ShapeError(f"case {index} of seed {seed}", f"heads are 1…{HEADS_MAX}, seeds 0…{2**16 - 1}")
    return FIRST + seed * HEADS_MAX + index


def held_out_case(index: int, frames: int, size: int, seed: int = 0, kit: FaceKit | None = None) -> Case:
    """Renders case `index`, a drawn head or with `kit` a scanned one; the bytes are the same at every call.

    Raises ShapeError where a number is impossible.
    """
    if frames < 1:
        raise ShapeError(f"frames is {frames}", "give at least 1")
    head, target = seed_of(index, seed), target_of(index)
    film: Callable[..., HeadClip] = head_clip if kit is None else partial(scanned_head_clip, kit)
    clip = film(head, frames + 1, size, target=target)
    flat = film(head, frames + 1, size, lighting=FLAT, target=FLAT)
    # Each side has the camera noise of the same side of `clip`; their mean favours neither source nor truth.
    both = (flat.rgb[1:].astype(np.uint16) + flat.relit[1:] + 1) // 2
    return Case(
        reference=clip.rgb[0],
        reference_hint=clip.hints[0],
        reference_mask=clip.masks[0],
        hints=clip.target_hints[1:],
        source=clip.rgb[1:],
        truth=clip.relit[1:],
        flat=both.astype(np.uint8),
        masks=clip.masks[1:] > 0.5,
        faces=clip.faces[1:],
        target=clip.target,
        light="random" if target is None else target.name,
        seed=head,
    )
