"""`relight train`'s settings: TOML in, one checked TrainConfig out. The defaults are the paper's.

Unknown names are errors, and each error says field, value and what is legal. Relative paths start at the working
directory.
"""

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lcvd.networks.guidance import OMEGA
from lcvd.networks.schedule import SamplerName
from training.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
TrainedPart = Literal["unet", "temporal", "light", "ref", "head"]
ConditionWord = Literal["shading", "reference"]


class Section(BaseModel):
    """A table of the file: strict, frozen, no unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PartSource(Section):
    """One network of a fresh model: from a folder, or random from a configuration."""

    path: Folder | None = None  # diffusers/transformers folder (config.json, weights), or weights in our layout
    config: dict[str, Any] | None = None  # config.json as a table

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.config is None):
            raise ValueError("give either path or config")
        return self


class ModelConfig(Section):
    """Where the networks begin."""

    source: Literal["weights", "svd", "fresh"] = "svd"  # weights: an LCVD to go on from
    path: Folder | None = None  # of the weights or of the SVD folder
    unet: PartSource | None = None  # fresh only
    adapters: PartSource | None = None  # fresh only; absent: as they are initialised
    vae: PartSource | None = None  # fresh: needed
    image_encoder: PartSource | None = None  # fresh: needed

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "fresh":
            missing = [name for name in ("unet", "vae", "image_encoder") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"source 'fresh' needs {', '.join(f'model.{name}' for name in missing)}")
        elif self.path is None:
            raise ValueError(f"source {self.source!r} needs model.path, a folder")
        elif self.unet or self.adapters or self.vae or self.image_encoder:
            raise ValueError(f"source {self.source!r} takes its networks from model.path; parts belong to 'fresh'")
        return self


class SyntheticConfig(Section):
    """Heads that we render: `training.data.synthetic`."""

    heads: int = Field(default=1000, ge=1)
    first: int = Field(default=0, ge=0, lt=2**31)  # seed of the first head; 2³¹ and above are held out
    clip_frames: int = Field(default=0, ge=0)  # rendered of each head; 0: as many as the model sees
    relit_pairs: Share = 0.5  # share whose reference stands under another light than the clip
    cache: Folder | None = None  # folder for rendered clips
    cache_gb: Positive = 4.0  # its bound


class DataConfig(Section):
    """What is trained on."""

    folders: tuple[Folder, ...] = ()  # prepared by relight data prepare
    synthetic: SyntheticConfig | None = None
    frames: int = Field(default=16, ge=2, le=256)
    size: int = Field(default=512, ge=32, le=2048)  # px
    threads: int = Field(default=2, ge=0, le=64)  # reading or rendering ahead
    latents: Literal["fresh", "cached"] = "fresh"  # cached: each picture passes the frozen VAE and CLIP once
    latents_dir: Folder | None = None  # where; None: in the run's folder
    latents_gb: Positive = 4.0
    reference_draws: int = Field(default=4, ge=1, le=64)  # noisy versions of each reference, when latents are cached

    @field_validator("size")
    @classmethod
    def _eighth(cls, value: int) -> int:
        if value % 8:
            raise ValueError("a latent is an eighth of it: give a multiple of 8")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.folders) == (self.synthetic is not None):
            raise ValueError("give either folders or [data.synthetic]")
        if self.synthetic and 0 < self.synthetic.clip_frames < self.frames:
            raise ValueError(f"synthetic.clip_frames is {self.synthetic.clip_frames}: at least frames ({self.frames})")
        return self


class NoiseConfig(Section):
    """σ = exp(N(p_mean, p_std)); the reference's augmentation exp(N(reference_mean, reference_std))."""

    p_mean: float = 0.7
    p_std: float = Field(default=1.6, ge=0)
    levels: tuple[Positive, ...] = ()  # σ is one of these, each as often as the others, instead
    reference_mean: float = -3.0
    reference_std: float = Field(default=0.5, ge=0)


class StaggeredConfig(Section):
    """Share of sequences with a noise level a row, for the live engine's staggered mode (docs/lcvd.md).

    Either `steps` or `levels`. Rows that are clean already are not in the loss.
    """

    share: Share = 0.5
    chunk: int = Field(default=4, ge=1)
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()  # chunks under way: the engine's levels and start-up for each
    sampler: SamplerName = "euler"  # whose levels `steps` are
    levels: tuple[Positive, ...] = ()  # of the chunks under way, falling: the newest (last in the window) has the first
    jitter: float = Field(default=0.2, ge=0)  # each level times exp(N(0, jitter))

    @property
    def under_way(self) -> int:
        """Frames that are not clean, at most."""
        return self.chunk * max(self.steps or (len(self.levels),))

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.steps) == bool(self.levels):
            raise ValueError("give either steps or levels")
        if any(b >= a for a, b in pairwise(self.levels)):
            raise ValueError("levels: each must be smaller than the one before")
        return self


class DistillConfig(Section):
    """`relight distill`: a student of few steps, with guidance folded in; model.path names the weights it begins as."""

    teacher: Folder | None = None  # None: model.path
    steps: tuple[Literal[1, 2, 4, 8], ...] = (4, 2, 1)  # a student each, in this order; each begins as the one before
    omega: float = Field(default=OMEGA, ge=0, le=20)  # of the teacher; what the student does by itself
    sampler: SamplerName = "euler"  # whose few-step levels
    teacher_steps: int = Field(default=32, ge=1, le=1000)  # of the teacher's path from noise to picture
    huber: Positive = 0.00054  # c of the loss √(e² + c²) − c
    heads: int = Field(default=8, ge=0)  # held out, for the table at the end; 0: no table

    @model_validator(mode="after")
    def _meets(self) -> Self:
        if not self.steps or len(set(self.steps)) != len(self.steps):
            raise ValueError("steps: give at least one number, each once")
        if any(self.teacher_steps % steps for steps in self.steps):
            raise ValueError(f"teacher_steps is {self.teacher_steps}: must be a multiple of {self.steps}")
        return self


class DropoutConfig(Section):
    """How often a condition is taken away, so that guidance has something to compare with."""

    keep: Share = 0.5  # each adapter by itself
    all_dropped: Share = 0.1
    all_kept: Share = 0.1
    clip: Share = 0.2
    latent: Share = 0.2
    both: Share = 0.1  # of clip and latent, included in either

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.all_dropped + self.all_kept > 1:
            raise ValueError("all_dropped + all_kept must not exceed 1")
        if self.both > min(self.clip, self.latent) or self.clip + self.latent - self.both > 1:
            raise ValueError("both must not exceed clip or latent, and clip + latent − both not 1")
        return self


class OptimizerConfig(Section):
    """How weights move."""

    name: Literal["adamw8bit", "adamw"] = "adamw8bit"
    lr: Positive = 1e-5
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=0, ge=0)  # steps from 0 to lr
    decay: Literal["constant", "cosine", "linear"] = "constant"  # after the warm-up, until the last step
    floor: Share = 0.0  # share of lr that a decay ends at
    clip_norm: Positive = 1.0


class EmaConfig(Section):
    """The exported weights: an exponential average of the trained ones. decay 0: none."""

    decay: float = Field(default=0.9999, ge=0, lt=1)
    warmup: bool = True  # decay grows as (1 + n)/(10 + n)


class CheckpointConfig(Section):
    """What a crash can cost."""

    every: int = Field(default=500, ge=1)  # steps
    keep: int = Field(default=2, ge=1)
    export: bool = True  # also write weights/ then, which the server loads


class ValidationConfig(Section):
    """Held-out clips, the same noise each time."""

    every: int = Field(default=500, ge=0)  # steps; 0: never
    clips: int = Field(default=8, ge=1)
    folders: tuple[Folder, ...] = ()  # prepared; empty: held-out synthetic heads, or the data's own first clips
    sigmas: tuple[Positive, ...] = (0.1, 0.5, 2.0, 8.0, 40.0)  # one in each band
    grid: int = Field(default=2, ge=0)  # clips in the picture; 0: none
    steps: int = Field(default=8, ge=1, le=100)  # of the sampler, for the picture
    omega: float = Field(default=2.0, ge=0)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if not self.sigmas or len({f"{sigma:g}" for sigma in self.sigmas}) < len(self.sigmas):
            raise ValueError("sigmas: give at least one number, each once")
        return self


class DistributedConfig(Section):
    """Several processes, as accelerate or torchrun launched them."""

    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    options: dict[str, Any] = Field(default_factory=dict)  # of FullyShardedDataParallelPlugin or DeepSpeedPlugin


class TrainConfig(Section):
    """Everything that decides a run."""

    output: Folder
    steps: int = Field(default=30_000, ge=1)
    batch: int = Field(default=1, ge=1)  # clips of one process at once
    accumulation: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda)$")
    threads: int = Field(default=0, ge=0)  # of torch on the CPU; 0: leave as it is
    precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    parts: tuple[TrainedPart, ...] = ("unet", "light", "ref")
    conditions: tuple[ConditionWord, ...] = ("shading", "reference")  # the adapters that are given anything
    region: Literal["portrait", "background"] = "portrait"  # of the loss's second term; the paper prints background
    bad_steps: int = Field(
        default=10, ge=1
    )  # steps in a row with a loss or gradient that is not finite, until it stops
    tensorboard: bool = True
    model: ModelConfig
    data: DataConfig
    noise: NoiseConfig = NoiseConfig()
    staggered: StaggeredConfig | None = None
    distill: DistillConfig | None = None  # of relight distill
    dropout: DropoutConfig = DropoutConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EmaConfig = EmaConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig = ValidationConfig()
    distributed: DistributedConfig = DistributedConfig()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.parts:
            raise ValueError("parts: name at least one of unet, temporal, light, ref, head")
        # An adapter that is given nothing gets no gradient; DistributedDataParallel would wait for it.
        for part, condition in (("light", "shading"), ("ref", "reference")):
            if part in self.parts and condition not in self.conditions:
                raise ValueError(f"parts: {part!r} is trained by condition {condition!r}, which conditions leaves out")
        if "head" in self.parts:
            raise ValueError("parts: 'head' sees landmark maps, which training clips do not carry")
        if self.staggered is not None and self.staggered.under_way > self.data.frames - 2:
            raise ValueError(
                f"staggered: {self.staggered.under_way} frames under way; with data.frames {self.data.frames} at most "
                f"{self.data.frames - 2}"
            )
        if self.distill is not None and (self.staggered is not None or self.model.source != "weights"):
            raise ValueError('distill: needs model.source "weights", the teacher, and no [staggered]')
        return self

    @property
    def clips_a_step(self) -> int:
        """Of one process."""
        return self.batch * self.accumulation


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file and apply `a.b=value` (value in TOML; a bare word is a string). Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "training/configs holds examples") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML ({error})", "mend the line it names") from None
    for override in overrides:
        _set(table, override)
    return config_from(table, str(path))


def config_from(table: dict[str, Any], name: str = "config") -> TrainConfig:
    """Check a table. Raises ConfigError naming field, value and legal values."""
    try:
        return TrainConfig.model_validate(table)
    except ValidationError as error:
        said = []
        for each in error.errors(include_url=False):
            field = ".".join(map(str, each["loc"])) or "the file"
            value = each["input"]
            if each["type"] == "extra_forbidden":
                said.append(f"{field}: unknown name; legal here: {', '.join(_names(each['loc'][:-1]))}")
            elif each["type"] == "missing":
                said.append(f"{field}: is needed")
            else:
                shown = ":" if isinstance(value, dict | BaseModel) else f" is {value!r}:"
                said.append(f"{field}{shown} {each['msg'].removeprefix('Value error, ')}")
        raise ConfigError(f"{name}: {'; '.join(said)}", "docs/training.md lists every setting") from None


def _names(loc: tuple[int | str, ...]) -> list[str]:
    """Field names of the table at `loc`."""
    section: Any = TrainConfig
    for word in loc:
        if isinstance(word, str) and word in section.model_fields:
            kinds = [section.model_fields[word].annotation]
            kinds += getattr(kinds[0], "__args__", ())
            section = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)


def _set(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    words = key.strip().split(".")
    if not equals or not all(words):
        raise ConfigError(f"--set {override!r}: expected key=value", "--set optimizer.lr=1e-4")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    at = table
    for word in words[:-1]:
        at = at.setdefault(word, {})
        if not isinstance(at, dict):
            raise ConfigError(f"--set {override!r}: {word} is not a table", "name the field with its tables")
    at[words[-1]] = value
