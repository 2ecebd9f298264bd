"""augmented changes what the network is given, so that it relies on none of it: sides, colours, light, mask.

The light is changed as another lamp would: the picture is brightened by a field that follows the true normals, and the
true light with it. What is dark by paint stays as dark beside its surroundings, which tells the two apart.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.heads.scanned.parts import Part

LIT = 0.35  # largest change of log light that the field makes on a surface that faces its lamp
CODE = 1 / 2.2  # of a change of log light, in the logarithm of code values
DROPPED = 0.06  # share of the samples whose normals, and whose mask, are not given
VECTORS = ("mesh", "normal", "smooth")


def augmented(batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Returns a batch of `Samples` with everything above drawn anew for each sample, but sides for all of it."""
    if torch.rand((), generator=rng) < 0.5:
        batch = {name: value.flip(-1) for name, value in batch.items()}
        side = torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
        for name in VECTORS:
            batch[name] = batch[name] * side
    count = len(batch["rgb"])

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((count, 1, 1, 1), generator=rng)

    lamp = F.normalize(torch.randn((count, 3), generator=rng), dim=1)
    x, y, z = (lamp.view(count, 3, 1, 1) * draw(-LIT, LIT)).unbind(1)
    nx, ny, nz = batch["smooth"].unbind(1)
    field = (x * nx + y * ny + z * nz)[:, None]
    batch["light"] = batch["light"] + field - _level_change(batch, field)
    rgb = (batch["rgb"] + 1) / 2
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + draw(0.3, 1.4) * (rgb - grey)
    tint = 1 + 0.1 * torch.randn((count, 3, 1, 1), generator=rng)
    rgb = rgb.clamp(1e-3, 1) ** draw(0.8, 1.25) * (torch.exp(CODE * field) * (tint * draw(0.85, 1.15)))
    rgb = rgb.clamp(0, 1) + draw(0, 0.03) * torch.randn(rgb.shape, generator=rng)
    batch["rgb"] = 2 * rgb.clamp(0, 1) - 1
    front = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    batch["mesh"] = torch.where(draw(0, 1) < DROPPED, front, batch["mesh"])
    batch["mask"] = torch.where(draw(0, 1) < DROPPED, torch.ones(()), batch["mask"])
    return batch


def _level_change(batch: dict[str, Tensor], field: Tensor) -> Tensor:
    """Returns by how much the log of the mean light on skin grows with `field` [B,1,S,S]: light is relative to that."""
    skin = ((batch["part"] == int(Part.SKIN)) & (batch["cover"] > 0.9)).float()
    before = batch["light"].mean(1, keepdim=True).exp() * skin
    total = before.sum((2, 3), keepdim=True)
    return torch.log(((before * field.exp()).sum((2, 3), keepdim=True) + 1e-3) / (total + 1e-3))
