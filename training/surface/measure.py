"""measure says how far a network's normals and light are from the truth on held-out samples."""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.heads.scanned.parts import Part
from training.surface.network import SurfaceNetwork
from training.surface.samples import Samples

BATCH = 64


def given(batch: dict[str, Tensor]) -> Tensor:
    """Returns the network's input [B,INPUTS,S,S]."""
    return torch.cat([batch["rgb"], batch["mesh"], batch["mask"]], 1).to(memory_format=torch.channels_last)


def normals(change: Tensor, mesh: Tensor) -> Tensor:
    """Returns unit normals [B,3,S,S] of the network's change [B,3,S,S] of the engine's own normals."""
    changed = mesh + change
    return changed / length(changed)


def length(vectors: Tensor) -> Tensor:
    """Returns the lengths [B,1,S,S] of [B,3,S,S]; torch's own norm over three channels takes ten times as long."""
    x, y, z = vectors.unbind(1)
    return torch.sqrt(x * x + y * y + z * z + 1e-8)[:, None]


def person_of(batch: dict[str, Tensor]) -> Tensor:
    """Returns where a person with a known surface is, bool [B,1,S,S]."""
    return (batch["cover"] > 0.9) & (batch["normal"].norm(dim=1, keepdim=True) > 0.5)


@torch.no_grad()
def measure(network: SurfaceNetwork, samples: Samples, count: int) -> dict[str, float]:
    """Returns mean angles (°) to the truth on the first `count` samples, and the mean error of log light.

    `mesh_…` are the engine's own normals, `network_…` the network's: on skin, hair, cloth, and on all that is not skin
    (`rest`); `smooth_hair` counts hair against its blurred normals (`training.surface.samples`).
    """
    training = network.training
    network.eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}

    def add(name: str, values: Tensor, where: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(())) + values[where].sum()
        counts[name] = counts.get(name, torch.zeros(())) + where.sum()

    count = min(count, len(samples))
    for start in range(0, count, BATCH):
        batch = samples.batch(torch.arange(start, min(start + BATCH, count)))
        answer = network(given(batch))
        person = person_of(batch)
        skin, hair, cloth = (person & (batch["part"] == int(p)) for p in (Part.SKIN, Part.HAIR, Part.CLOTH))
        for name, found in (("mesh", batch["mesh"]), ("network", normals(answer[:, :3], batch["mesh"]))):
            apart = angle(found, batch["normal"])
            for where, chosen in (("skin", skin), ("hair", hair), ("cloth", cloth), ("rest", person & ~skin)):
                add(f"{name}_{where}_deg", apart, chosen)
            add(f"{name}_smooth_hair_deg", angle(found, batch["smooth"]), hair)
        add("light", (answer[:, 3:6] - batch["light"]).abs().mean(1, keepdim=True), person)
    network.train(training)
    return {name: round(float(total / counts[name].clamp(min=1)), 4) for name, total in sums.items()}


def angle(found: Tensor, true: Tensor) -> Tensor:
    """Returns the angle [B,1,S,S] between vectors [B,3,S,S], °."""
    cosine = F.cosine_similarity(found, true, dim=1, eps=1e-4)[:, None].clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosine))
