"""random_scanned_person draws one identity: the shape of a head, its skin, hair, clothes and glasses."""

import numpy as np
from numpy.typing import NDArray

from training.heads.hair import random_hair
from training.heads.noise import ramp
from training.heads.scanned.body import add_body
from training.heads.scanned.facekit import FaceKit
from training.heads.scanned.glasses import add_glasses
from training.heads.scanned.hair import add_hair
from training.heads.scanned.paint import paint_head
from training.heads.scanned.parts import Mesh, Parts
from training.heads.skin import random_skin


def random_scanned_person(rng: np.random.Generator, kit: FaceKit) -> Mesh:
    """Draws and paints one identity."""
    head = kit.neutral_of((0.9 * rng.standard_normal(len(kit.identity))).astype(np.float32))
    skin = random_skin(rng)
    hair = random_hair(rng, skin.tone)
    brow = 0.75 * hair.natural + 0.05 * skin.tone
    albedo, gloss, part = paint_head(rng, kit, skin, brow, hair.brow, hair.beard, hair.moustache)
    parts = Parts()
    # The neck turns with the head above and stays with the trunk below.
    body = ramp(kit.neutral[:, 1], -8.0, -15.0)
    parts.add(head, _neck_only(kit), albedo, part, gloss=gloss, source=np.arange(len(head)), body=body)
    add_body(rng, parts)
    add_hair(rng, parts, kit, head, hair)
    add_glasses(rng, parts, head)
    return parts.mesh()


def _neck_only(kit: FaceKit) -> NDArray[np.int32]:
    """Returns the kit's triangles without its shoulders, which would stand out of the clothes."""
    x, y, z = kit.neutral.T
    shoulder = (y < -11.5) & (np.hypot(x, z + 1.2) > 7.4 + 0.5 * np.minimum(y + 11.5, 0))
    return kit.triangles[~shoulder[kit.triangles].any(1)]
