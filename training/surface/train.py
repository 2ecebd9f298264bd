"""train_surface trains the surface network on stored samples and writes its weights for the engine.

The normal is what the engine had plus the network's change, brought to length one; its error is taken as Laplace's with
a width that the network predicts, log b + |n − n̂| / b (Kendall and Gal, "What Uncertainties Do We Need", NeurIPS 2017),
so that the network says where it does not know. Light is compared by its logarithm, so a dark half counts as a bright
one does. An exponential mean of the weights is what is tested and written.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.surface.crop import SIDE
from training.errors import DataError
from training.heads.scanned.parts import Part
from training.surface.network import SurfaceNetwork
from training.surface.tflite import write_tflite

EMA = 0.998
# How much a pixel of each part counts; hair's true normals are noisy, and behind glasses the face is hidden.
WEIGHTS = {Part.SKIN: 2.0, Part.HAIR: 0.5, Part.CLOTH: 0.6, Part.EYE: 0.7, Part.MOUTH: 0.5, Part.GLASSES: 0.3}
NORMAL, LIGHT = 1.0, 0.6
FIELDS = ("rgb", "mesh", "mask", "normal", "light", "part", "cover")
OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class SurfaceRun:
    """Holds the settings of a training."""

    samples: Path  # folder of .npz files (`relight surface data`)
    output: Path  # folder for surface.tflite, card and log
    steps: int = 6000
    batch: int = 32
    lr: float = 2e-3
    seed: int = 0
    held_out: int = 400  # samples of the last file, whose people are in no other


class Samples:
    """Holds stored samples in memory."""

    def __init__(self, paths: list[Path]) -> None:
        if not paths:
            raise DataError("no samples (*.npz) there", "make them with `relight surface data`")
        columns: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
        for path in paths:
            with np.load(path, allow_pickle=False) as stored:
                for name in FIELDS:
                    columns[name].append(stored[name])
        self.columns = {name: torch.from_numpy(np.concatenate(values)) for name, values in columns.items()}

    def __len__(self) -> int:
        return len(self.columns["rgb"])

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Returns float32 tensors [B,C,S,S] of the samples of `index`."""
        taken = {name: values[index] for name, values in self.columns.items()}
        return {
            "rgb": taken["rgb"].permute(0, 3, 1, 2).float() / 127.5 - 1,
            "mesh": taken["mesh"].permute(0, 3, 1, 2).float() / 127,
            "mask": taken["mask"][:, None].float() / 127.5 - 1,
            "normal": taken["normal"].permute(0, 3, 1, 2).float() / 127,
            "light": taken["light"].permute(0, 3, 1, 2).float(),
            "part": taken["part"][:, None],
            "cover": taken["cover"][:, None].float() / 255,
        }


def train_surface(run: SurfaceRun, on_step: OnStep = lambda step, told: None) -> dict[str, float]:
    """Trains and writes `run.output`/surface.tflite. Returns the held-out figures. Raises DataError."""
    torch.manual_seed(run.seed)
    rng = torch.Generator().manual_seed(run.seed)
    paths = sorted(run.samples.glob("*.npz"))
    test = Samples(paths[-1:])
    train = Samples(paths[:-1] or paths)
    network = SurfaceNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = SurfaceNetwork()
    mean.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=run.lr, weight_decay=1e-3)
    run.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (run.output / "log.jsonl").open("w") as log:
        for step in range(run.steps):
            for group in optimizer.param_groups:
                group["lr"] = run.lr * min((step + 1) / 100, 0.5 + 0.5 * math.cos(math.pi * step / run.steps))
            batch = _augmented(train.batch(torch.randint(len(train), (run.batch,), generator=rng)), rng)
            losses = _losses(network(_given(batch)), batch)
            loss = NORMAL * losses["normal"] + LIGHT * losses["light"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            _follow(mean, network, min(EMA, (step + 1) / (step + 10)))
            if (step + 1) % 100 == 0 or step + 1 == run.steps:
                told = {name: float(value.detach()) for name, value in losses.items()}
                if (step + 1) % 1000 == 0 or step + 1 == run.steps:
                    told |= measure(mean, test, run.held_out)
                told["seconds"] = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": step + 1, **told}) + "\n")
                log.flush()
                on_step(step + 1, told)
    mean.eval()
    torch.save(mean.state_dict(), run.output / "surface.pt")
    write_tflite(mean, SIDE, run.output / "surface.tflite")
    return measure(mean, test, run.held_out)


def _given(batch: dict[str, Tensor]) -> Tensor:
    return torch.cat([batch["rgb"], batch["mesh"], batch["mask"]], 1).to(memory_format=torch.channels_last)


def normals(answer: Tensor, mesh: Tensor) -> Tensor:
    """Returns unit normals [B,3,S,S] of the network's answer and the engine's own normals."""
    return F.normalize(mesh + answer[:, :3], dim=1, eps=1e-4)


def _weight(batch: dict[str, Tensor]) -> Tensor:
    weight = torch.full_like(batch["cover"], 0.02)
    for part, value in WEIGHTS.items():
        weight = torch.where((batch["part"] == int(part)) & (batch["cover"] > 0.5), value, weight)
    return weight * (batch["normal"].norm(dim=1, keepdim=True) > 0.5)


def _losses(answer: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    weight = _weight(batch)
    whole = weight.sum() + 1e-6
    error = (normals(answer, batch["mesh"]) - batch["normal"]).norm(dim=1, keepdim=True)
    width = answer[:, 6:7].clamp(-4, 2)
    light = (answer[:, 3:6] - batch["light"]).abs().mean(1, keepdim=True)
    return {
        "normal": ((error * torch.exp(-width) + width + 0.5 * error) * weight).sum() / whole,
        "light": (light * weight).sum() / whole,
    }


def _augmented(batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Mirrors half of the batch and changes colours, mask and normals that are given, so that none is relied upon."""
    count = len(batch["rgb"])

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((count, 1, 1, 1), generator=rng)

    if torch.rand((), generator=rng) < 0.5:
        batch = {name: value.flip(-1) for name, value in batch.items()}
        side = torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
        batch["mesh"], batch["normal"] = batch["mesh"] * side, batch["normal"] * side
    rgb = (batch["rgb"] + 1) / 2
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + draw(0.3, 1.4) * (rgb - grey)
    tint = 1 + 0.1 * torch.randn((count, 3, 1, 1), generator=rng)
    rgb = (rgb.clamp(1e-3, 1) ** draw(0.8, 1.25) * tint * draw(0.85, 1.15)).clamp(0, 1)
    rgb = rgb + draw(0, 0.03) * torch.randn(rgb.shape, generator=rng)
    batch["rgb"] = 2 * rgb.clamp(0, 1) - 1
    kept = (torch.rand((count, 1, 1, 1), generator=rng) > 0.06).float()
    front = torch.zeros_like(batch["mesh"])
    front[:, 2] = 1
    batch["mesh"] = kept * batch["mesh"] + (1 - kept) * front
    kept = (torch.rand((count, 1, 1, 1), generator=rng) > 0.06).float()
    batch["mask"] = kept * batch["mask"] + (1 - kept)
    return batch


@torch.no_grad()
def _follow(mean: SurfaceNetwork, network: SurfaceNetwork, keep: float) -> None:
    for kept, now in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.mul_(keep).add_(now, alpha=1 - keep)
        else:
            kept.copy_(now)


@torch.no_grad()
def measure(network: SurfaceNetwork, samples: Samples, count: int) -> dict[str, float]:
    """Returns held-out figures: mean angle (°) of the engine's normals and the network's on skin and elsewhere, and
    the mean error of log light."""
    network.eval()
    sums: dict[str, float] = {}
    shares: dict[str, float] = {}
    for start in range(0, min(count, len(samples)), 64):
        batch = samples.batch(torch.arange(start, min(start + 64, count, len(samples))))
        answer = network(_given(batch))
        person = (batch["cover"] > 0.9) & (batch["normal"].norm(dim=1, keepdim=True) > 0.5)
        skin = person & (batch["part"] == int(Part.SKIN))
        for name, found in (("mesh", batch["mesh"]), ("network", normals(answer, batch["mesh"]))):
            cosine = F.cosine_similarity(found, batch["normal"], dim=1, eps=1e-4)[:, None].clamp(-1, 1)
            angle = torch.rad2deg(torch.arccos(cosine))
            for where, chosen in (("skin", skin), ("rest", person & ~skin)):
                key = f"{name}_{where}_deg"
                sums[key] = sums.get(key, 0.0) + float(angle[chosen].sum())
                shares[key] = shares.get(key, 0.0) + float(chosen.sum())
        wrong = (answer[:, 3:6] - batch["light"]).abs().mean(1, keepdim=True)
        sums["light"] = sums.get("light", 0.0) + float(wrong[person].sum())
        shares["light"] = shares.get("light", 0.0) + float(person.sum())
    network.train()
    return {name: round(total / max(shares[name], 1), 4) for name, total in sums.items()}
