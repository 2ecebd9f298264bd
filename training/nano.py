"""`relight nano` makes the demonstration model in one call, which continues after an interruption, and packages it.

Its stages are heads (training.heads), vae (training.vae_train), image_encoder (random weights, not trained), adapters
(trained on the VAE's latents of their pictures as a start), run (training.loop.train with configs/nano.toml) and
weights (fp16, the converted layout, a manifest with `demonstration`). All lie in one folder; finished stages are not
repeated. Weights that such a run has made can be trained further, on other heads (configs/nano_further.toml): their
image encoder stays, and their adapters and UNet are the start.
"""

import gzip
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lcvd.networks.image_encoder import SIZE, embed_image
from lcvd.networks.student import steps_note
from lcvd.weights.convert import convert
from lcvd.weights.load import MANIFEST, build_part
from lcvd.weights.location import weights_folder, weights_manifest
from training.config import TrainConfig, load_config
from training.data.shards import raise_disk_full, write_json
from training.data.synthetic import HeadSource, renderer
from training.errors import ConfigError, TrainingError
from training.heads.scanned.facekit import load_facekit
from training.loop.export import parts_table, put_in_place
from training.loop.log import LOG as RUN_LOG
from training.loop.runtime import check_machine, fast_bf16
from training.loop.train import TrainResult, head_source, train
from training.loop.trainer import StepReport
from training.prepare.workers import run_jobs
from training.vae_train import LOG as VAE_LOG
from training.vae_train import TERMS, VaeRun, further, start_of, train_vae
from training.vae_train import WEIGHTS as VAE_WEIGHTS

TITLE = "Nano demonstration (synthetic heads)"
CONFIGS = Path(__file__).parent / "configs"
TOML, FURTHER = CONFIGS / "nano.toml", CONFIGS / "nano_further.toml"
JOB_HEADS = 20  # rendered by a worker before it reports; a single job runs in this process
LIVE = {"steps": 1, "guidance": "none"}  # runs in real time on a CPU and has the best scores (docs/nano/README.md)
SERVED = 1.25  # times the size trained at: sharper, and the largest that keeps up with 25 fps on two cores
WARM_STEPS, WARM_BATCH, WARM_LR = 300, 4, 3e-3
IMAGE_ENCODER: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 32,
    "projection_dim": 32,
    "hidden_act": "gelu",
}
MARK = "nano.json"  # the settings that the first stages depend on
STARTED = ("unet", "adapters", "image_encoder")  # the parts that a further run takes from earlier weights
MADE = ("vae", "image_encoder", "adapters", "run", "weights")  # results of the stages, beside the heads
VAE_IDENTITY = ("steps", "batch", "crop", "whole", "lr", "warmup", "kl", "edges", "colour", "guide", "seed")
OnStage = Callable[[str, int, int, str], None]  # (stage, done, total, text)


@dataclass(frozen=True, slots=True)
class NanoResult:
    """Holds the packaged weights and the result of the training run."""

    weights: Path
    train: TrainResult
    bytes: int  # of the weights' folder


@dataclass(frozen=True, slots=True)
class NanoSource:
    """Says what a run begins with."""

    facekit: Path | None = None  # file of ICT-FaceKit: scanned heads in place of drawn ones
    start: Path | None = None  # weights of an earlier run, which are trained further
    hint_gain: float = 1.0  # of the hint's features in the package: as guidance does, but without a second branch

    def check(self) -> None:
        """Reads what is named, before anything is rendered. Raises ConfigError, DataError, WeightsError."""
        if not (math.isfinite(self.hint_gain) and self.hint_gain > 0):
            raise ConfigError(f"--hint-gain is {self.hint_gain}", "give a number above 0; 1 leaves the hint as it is")
        if self.facekit is not None:
            load_facekit(self.facekit)
        if self.start is not None:
            start_of(self.start)


def nano_config(folder: Path, changes: Sequence[str] = (), source: NanoSource = NanoSource()) -> TrainConfig:
    """Returns the run's TOML file with its paths in `folder`, this CPU's faster precision, and `changes` (`a.b=value`).

    Raises ConfigError, also for changes that the stages before the training would not follow.
    """
    places = {"output": folder / "run", "data.synthetic.cache": folder / "heads", "model.vae.path": folder / "vae"}
    if source.start is None:
        places |= {f"model.{name}.path": folder / name for name in ("image_encoder", "adapters")}
    else:
        places |= {f"model.{name}.path": weights_folder(source.start) for name in STARTED}
    if source.facekit is not None:
        places["data.synthetic.facekit"] = source.facekit
    inside = [f"{name}={json.dumps(str(place.resolve()))}" for name, place in places.items()]
    precision = ['precision="bf16"'] if fast_bf16() else []
    toml = TOML if source.start is None else FURTHER
    config, own = load_config(toml, [*inside, *precision, *changes]), load_config(toml, inside)
    for name in ("vae", *STARTED):
        if getattr(config.model, name) != getattr(own.model, name) and (name != "unet" or source.start is not None):
            raise ConfigError(f"model.{name}: relight nano makes its own", "leave it out, or use relight train")
    unet = config.model.unet.config if config.model.unet is not None else None
    dim = IMAGE_ENCODER["projection_dim"]
    if source.start is None and (unet is None or unet.get("cross_attention_dim") != dim):
        raise ConfigError(f"model.unet: needs a config with cross_attention_dim {dim}", "the image encoder's is fixed")
    return config


def train_nano(
    folder: Path,
    changes: Sequence[str] = (),  # over the run's TOML file
    vae: VaeRun | None = None,  # output and start are set here
    resume: bool = True,
    on_stage: OnStage = lambda stage, done, of, said: None,
    source: NanoSource = NanoSource(),
) -> NanoResult | None:
    """Runs every stage in order; returns None when a signal stopped the last one, which the same call continues.

    Raises TrainingError, also where the kit cannot be read, and WeightsError.
    """
    source.check()
    config = nano_config(folder, changes, source)
    check_machine(config)
    heads = head_source(config)
    half: Literal["no", "bf16"] = "bf16" if config.precision == "bf16" else "no"
    place = folder / "vae"
    if vae is None:
        kept: dict[str, Any] = {"seed": config.seed, "precision": half}
        vae = VaeRun(place, **kept) if source.start is None else further(place, source.start, **kept)
    claim(folder, config, vae, resume)
    render_heads(heads, config.threads or os.cpu_count() or 1, on_stage)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    if not (place / "config.json").exists():
        train_vae(vae, heads, resume, lambda step, loss: on_stage("VAE", step, vae.steps, f"loss {loss:.4f}"))
    if source.start is None and not (folder / "image_encoder" / "config.json").exists():
        write_image_encoder(folder / "image_encoder", heads, config.seed)
    if source.start is None and not (folder / "adapters" / "config.json").exists():
        warm_adapters(folder / "adapters", place, heads, config, on_stage)

    def show(report: StepReport, rate: float) -> None:
        on_stage("LCVD", report.step, config.steps, f"loss {report.loss:.3f}, {rate:.2f} steps/s")

    result = train(config, resume=resume, on_step=show)
    if result.step < config.steps:
        return None
    weights = package(folder, folder / "weights", config, source)
    size = sum(path.stat().st_size for path in weights.iterdir())
    return NanoResult(weights, result, size)


def claim(folder: Path, config: TrainConfig, plan: VaeRun, resume: bool) -> None:
    """Makes `folder`, or checks that `relight nano` made it with the settings that its first stages depend on.

    Raises TrainingError, DataError, DiskFull.
    """
    assert config.data.synthetic is not None
    assert config.model.unet is not None
    synthetic, unet = config.data.synthetic, config.model.unet
    about: dict[str, Any] = {
        "seed": config.seed,
        "data.synthetic.heads": synthetic.heads,
        "data.synthetic.first": synthetic.first,
        "data.synthetic.clip_frames": synthetic.clip_frames or config.data.frames,
        "data.size": config.data.size,
    }
    about |= {"--facekit": synthetic.facekit.name} if synthetic.facekit is not None else {}
    if unet.config is not None:
        about["block_out_channels[0]"] = unet.config["block_out_channels"][0]
    else:
        about["--start"] = unet_digest(unet.path)
    # Its folder, how often it is saved and its precision may change between two calls.
    about |= {f"vae.{key}": value for key, value in asdict(plan).items() if key in VAE_IDENTITY}
    mark = folder / MARK
    made = [name for name in MADE if (folder / name).exists()]
    with raise_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        begun = json.loads(mark.read_text()) if mark.exists() else None
    if begun is None and made:
        raise TrainingError(f"{folder} holds {', '.join(made)}, not made by relight nano", "name another folder")
    before = begun if begun is not None and resume else about
    other = [f"{key} {before.get(key)}" for key in about if before.get(key) != about[key]]
    if other:
        raise TrainingError(
            f"{folder} was begun with other settings: {', '.join(other)}",
            "give the same ones, another folder, or --fresh",
        )
    if not resume:
        for name in made:
            shutil.rmtree(folder / name)
    with raise_disk_full(folder):
        write_json(mark, about)


def unet_digest(weights: Path | None) -> str:
    """Returns the first digits of the SHA-256 of a converted folder's UNet."""
    parts = weights_manifest(weights or "").get("parts", {})
    return str(parts.get("unet", {}).get("sha256", ""))[:16]


def render_heads(heads: HeadSource, processes: int, on_stage: OnStage) -> None:
    """Fills the cache of `heads` with one process a core. Raises TrainingError where heads cannot be rendered."""
    jobs = [range(at, min(at + JOB_HEADS, heads.heads)) for at in range(0, heads.heads, JOB_HEADS)]
    done = 0

    def count(job: range, result: object) -> None:
        nonlocal done
        done += len(job)
        on_stage("heads", done, heads.heads, "rendered")

    def died(job: range, how: str) -> None:
        raise TrainingError(f"heads {job[0]} … {job[-1]} could not be rendered ({how})", "the same command goes on")

    in_process = processes == 1 or len(jobs) == 1
    run_jobs(
        jobs,
        renderer,
        (heads,),
        0 if in_process else processes,
        on_report=lambda job, n: None,
        on_done=count,
        on_died=died,
    )


@torch.no_grad()
def write_image_encoder(folder: Path, heads: HeadSource, seed: int) -> Path:
    """Writes a CLIP encoder of random weights, whose one token is a fixed random code of the whole portrait.

    Nothing at hand could train it: there are no captions and no identity labels, and the reference's adapter carries
    the identity. The projection is scaled so that the token's numbers have a standard deviation of 1 over portraits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1000)
        encoder: Any = build_part("image_encoder", IMAGE_ENCODER)
        for name, value in encoder.named_parameters():
            if value.ndim >= 2 and "position" not in name:
                torch.nn.init.normal_(value, std=value[0].numel() ** -0.5)
    pictures = np.stack([heads.pictures(index)[0, ..., :3] for index in range(min(heads.heads, 64))])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0
    tokens = embed_image(encoder.eval(), pixels)[:, 0]
    encoder.visual_projection.weight /= tokens.std(0).mean().clamp_min(1e-6)
    with raise_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        values = encoder.state_dict()
        kept = {key: value.contiguous() for key, value in values.items() if not key.endswith("position_ids")}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        write_json(folder / "config.json", IMAGE_ENCODER)
    return folder


def warm_adapters(folder: Path, vae_folder: Path, heads: HeadSource, config: TrainConfig, on_stage: OnStage) -> Path:
    """Trains four features of each adapter to be the VAE's latents of its picture; the others stay random mixtures.

    The published adapters start at zero beside a trained UNet. Beside an untrained UNet neither part would give the
    other a useful gradient for about a thousand steps.
    """
    unet, seed = config.model.unet, config.seed
    assert unet is not None
    assert unet.config is not None
    channels = int(unet.config["block_out_channels"][0])
    vae: Any = build_part("vae", json.loads((vae_folder / "config.json").read_text()))
    vae.load_state_dict(load_file(vae_folder / VAE_WEIGHTS))
    vae.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 2000)
        adapters: Any = build_part("adapters", {"out_channels": channels})
        for name in ("light", "ref"):
            torch.nn.init.normal_(getattr(adapters, name).final_proj.weight, std=128**-0.5)
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=WARM_LR, weight_decay=0.0)
    for step in range(WARM_STEPS):
        rng = np.random.default_rng([seed, step])
        films = [heads.pictures(int(rng.integers(heads.heads))) for _ in range(WARM_BATCH)]
        rows = [film[int(rng.integers(len(film)))] for film in films]
        lights = [int(rng.integers(2)) for _ in rows]
        pictures = np.stack([row[..., 3 * i : 3 * i + 3] for row, i in zip(rows, lights, strict=True)])
        hints = np.stack([row[..., 6 + 3 * i : 9 + 3 * i] for row, i in zip(rows, lights, strict=True)])
        loss = torch.zeros(())
        for adapter, shown, low, at in ((adapters.ref, pictures, -1.0, 0), (adapters.light, hints, 0.0, 4)):
            pixels = torch.from_numpy(shown).permute(0, 3, 1, 2).contiguous().float() / 255
            with torch.no_grad():
                latents = vae.encode(2 * pixels - 1).latent_dist.mode()
            made = adapter(pixels * (1 - low) + low)
            loss = loss + ((made[:, at : at + 4] - latents) ** 2).mean()
        for group in optimizer.param_groups:
            group["lr"] = WARM_LR * min(1.0, (step + 1) / 20, 4 * (WARM_STEPS - step) / WARM_STEPS)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapters.parameters(), 1.0)
        optimizer.step()
        on_stage("adapters", step + 1, WARM_STEPS, f"loss {float(loss.detach()):.3f}")
    with raise_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(adapters.state_dict()), folder / VAE_WEIGHTS, {"format": "pt"})
        write_json(folder / "config.json", {"out_channels": channels})
    return folder


def package(folder: Path, destination: Path, config: TrainConfig, source: NanoSource) -> Path:
    """Writes the run's newest weights as fp16 with manifest, card, configuration and logs.

    A folder that lies at `destination` is replaced only when the new one is complete. Raises WeightsError, DiskFull.
    """
    made, part = config.output / "weights", destination.with_name(f".{destination.name}.new")
    training = json.loads((made / MANIFEST).read_text())["training"]
    vae_log, synthetic = folder / "vae" / VAE_LOG, config.data.synthetic
    kind = "scanned (ICT-FaceKit, MIT)" if source.facekit is not None else "synthetic"
    trained: dict[str, Any] = {"data": f"{synthetic.heads if synthetic else 0} {kind} heads, no photograph"}
    if source.start is not None:
        before = weights_manifest(source.start).get("training", {})
        trained["before"] = f"{before.get('step')} steps, {before.get('data')}; UNet {unet_digest(source.start)}…"
    shutil.rmtree(part, ignore_errors=True)
    with raise_disk_full(folder):
        convert(made, part, torch.float16)
        path = part / MANIFEST
        manifest = json.loads(path.read_text())
        if source.hint_gain != 1:
            manifest["parts"]["adapters"]["sha256"] = amplify_hint(part / "adapters.safetensors", source.hint_gain)
            trained["hint_gain"] = source.hint_gain
        manifest |= {
            "title": TITLE,
            "demonstration": True,
            "size": config.data.size,
            "live": LIVE | {"size": 8 * round(SERVED * config.data.size / 8)},
            "training": training
            | trained
            | {
                "frames": config.data.frames,
                "precision": config.precision,
                "vae": {"loss": ", ".join(TERMS), "steps": len(vae_log.read_text().splitlines())},
            },
        }
        path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        # Paths relative to the folder: the package must not name the machine or the user that made it.
        asked = config.model_dump_json(indent=2).replace(f"{folder.resolve()}/", "")
        for outside in (source.facekit, source.start and weights_folder(source.start)):
            asked = asked.replace(str(outside.resolve()), outside.name) if outside else asked
        (part / "config.json").write_text(asked + "\n", encoding="utf-8")
        for log, name in ((vae_log, "vae-log.jsonl.gz"), (config.output / RUN_LOG, "log.jsonl.gz")):
            _compressed(log, part / name)
        (part / "README.md").write_text(_card(manifest), encoding="utf-8")
        put_in_place(part, destination)
    return destination


def amplify_hint(adapters: Path, gain: float) -> str:
    """Multiplies the features of the hint's adapter by `gain`, in its last layer; returns the file's new SHA-256.

    One step to the mean of all that fits goes only a part of the way to the wanted light (docs/nano/README.md).
    """
    values = load_file(adapters)
    for name in values:
        if name.startswith("light.final_proj."):
            values[name] = (values[name].float() * gain).to(values[name].dtype)
    save_file(values, adapters, {"format": "pt"})
    return sha256(adapters.read_bytes()).hexdigest()


def _compressed(source: Path, destination: Path) -> None:
    """Writes a gzip file without time and name, so that the same log gives the same bytes."""
    with destination.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed:
        packed.write(source.read_bytes())


def _card(manifest: dict[str, Any]) -> str:
    again = " --start WEIGHTS" if "before" in manifest["training"] else ""
    facts = "\n".join(f"- {name}: {value}" for name, value in sorted(manifest["training"].items()))
    return f"""# {manifest["title"]}

A small LCVD (CVPR 2025, arXiv 2502.19894) in the published layout, trained by relight-live on heads it renders itself.
It shows that the chain works; it is **not** a product and knows no photograph. {manifest["size"]} px.

Use: `relight serve --engine lcvd --weights nano`. Make it again: `relight nano DIR{again}`. What it can and cannot do:
docs/nano/README.md.

{steps_note(manifest)}

{facts}

{parts_table(manifest["parts"])}

`config.json` is the configuration, `log.jsonl.gz` and `vae-log.jsonl.gz` are the logs of the two trainings. No pictures
of people and no weights of others went into it: the project's own licence applies. Shapes of scanned heads are
ICT-FaceKit's (USC ICT, MIT).
"""
