"""train_surface trains the surface network on stored samples and writes its weights for the engine.

The normal is what the engine had plus the network's change, brought to length one. Its error e = |n − n̂| counts by
itself and squared, as the error of the light on it does. A width b that the network predicts learns that error as
Laplace's, log b + e / b (Kendall and Gal, "What Uncertainties Do We Need", NeurIPS 2017), so that the network says
where it does not know; e is held fixed there, or what is hard would hardly be learned (Seitzer et al., "On the Pitfalls
of Heteroscedastic Uncertainty Estimation", ICLR 2022). Light is compared by its logarithm, so a dark half counts as a
bright one does; half of that is luminance, and its means over cells count once more, since the engine takes a fit of
order 2 and broad shadows from it. An exponential mean of the weights is what is tested and written.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.surface.crop import SIDE
from lcvd.lighting.colour import LUMA
from training.heads.scanned.parts import Part
from training.surface.augment import augmented
from training.surface.measure import given, length, measure, normals
from training.surface.network import SurfaceNetwork
from training.surface.samples import ALL_OF_IT, Samples
from training.surface.tflite import read_tflite, write_tflite

EMA = 0.999
LR, WARM_LR = 2e-3, 1e-3
WARM_UP = 200  # steps until the full rate
# Until this share of the training is done a part of the square is shown, somewhere in it: that costs less, and places
# change. Then the network gets to know the square's border.
WHOLE_FROM, WINDOW = 0.7, 80
# How much a pixel of each part counts; behind glasses the face is hidden.
WEIGHTS = {Part.SKIN: 2.0, Part.HAIR: 1.0, Part.CLOTH: 0.6, Part.EYE: 0.7, Part.MOUTH: 0.5, Part.GLASSES: 0.3}
WIDTH, DOUBT, LIGHT, BROAD = 0.3, 0.1, 0.6, 0.6  # shares of the loss beside the normal's
CELLS = (8, 24)  # px, over which light is compared broadly
NOBODY_ERROR = 1.5  # that is to be expected off the person, whatever the mask says
TOLD, KEPT = 100, 500  # steps between two lines of the log, and between two files of weights
OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class SurfaceRun:
    """Holds the settings of a training. It ends after `steps` or `minutes`, whichever comes first."""

    samples: Path  # folder of .npz files; those that appear during the run are taken in
    output: Path  # folder for surface.tflite and log.jsonl
    steps: int = 6000
    minutes: float = math.inf
    batch: int = 32
    lr: float | None = None  # default: LR, or WARM_LR from weights to go on from
    seed: int = 0
    held_out: int = 400  # samples at most of the first file, whose people are in no other
    start: Path | None = None  # weights (.tflite) to go on from
    half: bool = False  # convolutions in bfloat16, where the processor has it


def train_surface(run: SurfaceRun, on_step: OnStep = lambda step, told: None) -> dict[str, float]:
    """Trains and writes `run.output`/surface.tflite. Returns the held-out figures. Raises DataError."""
    torch.manual_seed(run.seed)
    rng = torch.Generator().manual_seed(run.seed)
    test, train = _samples(run)
    network = SurfaceNetwork(None if run.start is None else read_tflite(run.start))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = SurfaceNetwork(None if run.start is None else read_tflite(run.start))
    mean.load_state_dict(network.state_dict())
    rate = run.lr if run.lr is not None else LR if run.start is None else WARM_LR
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    run.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    step, done = 0, 0.0
    with (run.output / "log.jsonl").open("w") as log:
        while done < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * done))
            index = torch.randint(len(train), (run.batch,), generator=rng)
            batch = augmented(train.batch(index, _window(rng) if done < WHOLE_FROM else ALL_OF_IT), rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=run.half):
                answer = network(given(batch))
            losses = _losses(answer.float(), batch)
            loss = losses["normal"] + WIDTH * losses["width"] + DOUBT * losses["doubt"] + LIGHT * losses["light"]
            loss = loss + BROAD * losses["broad"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            _follow(mean, network, min(EMA, step / (step + 9)))
            done = max(step / run.steps, (time.monotonic() - began) / max(60 * run.minutes, 1e-6))
            if step % TOLD == 0 or done >= 1:
                told = {name: float(value.detach()) for name, value in losses.items()}
                if step % (2 * KEPT) == 0:
                    told |= measure(mean, test, run.held_out)
                told |= {"samples": len(train), "seconds": round(time.monotonic() - began, 1)}
                log.write(json.dumps({"step": step, **told}) + "\n")
                log.flush()
                on_step(step, told)
            if step % KEPT == 0:
                _keep(mean, run.output)
                train.take(_files(run)[1:])
    _keep(mean, run.output)
    return measure(mean, test, run.held_out)


def _files(run: SurfaceRun) -> list[Path]:
    return sorted(run.samples.glob("*.npz"))


def _samples(run: SurfaceRun) -> tuple[Samples, Samples]:
    """Returns the held-out samples and those to learn from."""
    paths = _files(run)
    return Samples(paths[:1]), Samples(paths[1:] or paths)


def _keep(mean: SurfaceNetwork, folder: Path) -> None:
    """Writes the weights whole or not at all, so that a run that is broken off leaves some."""
    mean.eval()
    part = folder / "surface.part"
    write_tflite(mean, SIDE, part)
    os.replace(part, folder / "surface.tflite")


def _window(rng: torch.Generator) -> tuple[slice, slice]:
    top, left = torch.randint(SIDE - WINDOW + 1, (2,), generator=rng).tolist()
    return slice(top, top + WINDOW), slice(left, left + WINDOW)


def _weight(batch: dict[str, Tensor]) -> Tensor:
    weight = torch.full_like(batch["cover"], 0.02)
    for part, value in WEIGHTS.items():
        weight = torch.where((batch["part"] == int(part)) & (batch["cover"] > 0.5), value, weight)
    return weight * (length(batch["normal"]) > 0.5)


def _losses(answer: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    weight = _weight(batch)
    whole = weight.sum() + 1e-6
    change, said, width = answer.split([3, 3, 1], 1)
    error = length(normals(change, batch["mesh"]) - batch["smooth"])
    width = width.clamp(-4, 2)
    nobody = (batch["cover"] < 0.02).float()
    light = said - batch["light"]
    luma = (light * torch.from_numpy(LUMA).float().view(1, 3, 1, 1)).sum(1, keepdim=True)
    return {
        "normal": ((2 * error + 3 * error.square()) * weight).sum() / whole,
        "width": ((error.detach() * torch.exp(-width) + width) * weight).sum() / whole,
        "doubt": ((NOBODY_ERROR * torch.exp(-width) + width) * nobody).sum() / (nobody.sum() + 1),
        "light": ((0.5 * light.abs().mean(1, keepdim=True) + 0.5 * luma.abs()) * weight).sum() / whole,
        "broad": torch.stack([_broad(luma, weight, cell) for cell in CELLS]).mean(),
    }


def _broad(error: Tensor, weight: Tensor, cell: int) -> Tensor:
    """Returns the mean size of the weighted mean of `error` [B,1,S,S] over cells of that many px."""
    count = F.avg_pool2d(weight, cell)
    return F.avg_pool2d(error * weight, cell).abs().sum() / (count.sum() + 1e-6)


@torch.no_grad()
def _follow(mean: SurfaceNetwork, network: SurfaceNetwork, keep: float) -> None:
    for kept, now in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.mul_(keep).add_(now, alpha=1 - keep)
        else:
            kept.copy_(now)
