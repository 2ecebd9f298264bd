"""The settings of `relight train`: a TOML file is read into one checked TrainConfig whose defaults are the paper's.

Unknown names are errors, and each error gives the field, its value and the legal ones. Relative paths start at the
working directory.
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
    """Base of all tables: frozen, and unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PartSource(Section):
    """One network of a fresh model is read from a folder, or built with random weights from a configuration."""

    path: Folder | None = None  # diffusers/transformers folder (config.json, weights), or weights in our layout
    config: dict[str, Any] | None = None  # contents of config.json

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.config is None):
            raise ValueError("give either path or config")
        return self


class ModelConfig(Section):
    """Chooses the weights that training starts from."""

    source: Literal["weights", "svd", "fresh"] = "svd"  # weights: an LCVD to train further
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
    """Trains on rendered heads: `training.data.synthetic`."""

    facekit: Folder | None = None  # facekit.npz of ICT-FaceKit: scanned heads in place of drawn ones
    heads: int = Field(default=1000, ge=1)
    first: int = Field(default=0, ge=0, lt=2**31)  # seed of the first head; 2³¹ and above are held out
    clip_frames: int = Field(default=0, ge=0)  # rendered of each head; 0: as many as the model sees
    relit_pairs: Share = 0.5  # share whose reference stands under another light than the clip
    cache: Folder | None = None  # folder for rendered clips
    cache_gb: Positive = 4.0  # its bound


class DataConfig(Section):
    """Chooses the training clips and how they are read."""

    folders: tuple[Folder, ...] = ()  # prepared by relight data prepare
    synthetic: SyntheticConfig | None = None
    frames: int = Field(default=16, ge=2, le=256)  # of a clip, reference included
    size: int = Field(default=512, ge=32, le=2048)  # px
    threads: int = Field(default=2, ge=0, le=64)  # that read or render ahead
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
    """Draws σ = exp(N(p_mean, p_std)), and exp(N(reference_mean, reference_std)) for the reference's augmentation."""

    p_mean: float = 0.7
    p_std: float = Field(default=1.6, ge=0)
    levels: tuple[Positive, ...] = ()  # where given, σ is drawn uniformly from these instead
    reference_mean: float = -3.0
    reference_std: float = Field(default=0.5, ge=0)


class StaggeredConfig(Section):
    """Gives a share of the sequences one noise level a row, for the live engine's staggered mode (docs/lcvd.md).

    Either `steps` or `levels` is given. Rows that are clean already are left out of the loss.
    """

    share: Share = 0.5
    chunk: int = Field(default=4, ge=1)
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()  # chunks under way: the engine's levels and start-up for each
    sampler: SamplerName = "euler"  # whose levels `steps` are
    levels: tuple[Positive, ...] = ()  # of the chunks under way, falling: the newest (last in the window) has the first
    jitter: float = Field(default=0.2, ge=0)  # each level times exp(N(0, jitter))

    @property
    def under_way(self) -> int:
        """Returns the largest number of frames that are not clean."""
        return self.chunk * max(self.steps or (len(self.levels),))

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.steps) == bool(self.levels):
            raise ValueError("give either steps or levels")
        if any(b >= a for a, b in pairwise(self.levels)):
            raise ValueError("levels: each must be smaller than the one before")
        return self


class AdversarialConfig(Section):
    """Teaches a student of one step by a discriminator in place of phases (SF-V, arXiv 2406.04324; docs/distill.md)."""

    weight: Positive = 0.03  # of the adversarial loss beside the pseudo-Huber loss
    lr: Positive = 5e-4  # of the discriminator's heads
    width: int = Field(default=64, ge=4, multiple_of=4)  # channels of a head
    r1: float = Field(default=0.01, ge=0)  # of the gradient penalty on what the heads get
    p_mean: float = -0.5  # the discriminator sees both clips with noise of σ = exp(N(p_mean, p_std))
    p_std: float = Field(default=1.0, ge=0)


class DistillConfig(Section):
    """Configures `relight distill`: a student of few steps with guidance folded in.

    model.path names the weights it starts from.
    """

    teacher: Folder | None = None  # None: model.path
    steps: tuple[Literal[1, 2, 4, 8], ...] = (
        4,
        2,
        1,
    )  # a student each; each starts from the one before
    omega: float = Field(default=OMEGA, ge=0, le=20)  # the teacher's guidance, which the student learns
    sampler: SamplerName = "euler"  # whose few-step levels
    teacher_steps: int = Field(default=32, ge=1, le=1000)  # of the teacher's path from noise to picture
    huber: Positive = 0.00054  # c of the loss √(e² + c²) − c
    adversarial: AdversarialConfig | None = None  # given: that recipe, for one step
    heads: int = Field(default=8, ge=0)  # held out, for the table at the end; 0: no table

    @model_validator(mode="after")
    def _meets(self) -> Self:
        if not self.steps or len(set(self.steps)) != len(self.steps):
            raise ValueError("steps: give at least one number, each once")
        if any(self.teacher_steps % steps for steps in self.steps):
            raise ValueError(f"teacher_steps is {self.teacher_steps}: must be a multiple of {self.steps}")
        if self.adversarial is not None and self.steps != (1,):
            raise ValueError(f"steps is {list(self.steps)}: [distill.adversarial] teaches one step; set steps = [1]")
        if self.adversarial is not None and self.omega != 1.0:
            raise ValueError(
                f"omega is {self.omega:g}: [distill.adversarial] learns from clips, not from a guided teacher; set "
                "omega = 1.0"
            )
        return self


class DropoutConfig(Section):
    """Sets how often a condition is dropped, which guidance needs in order to compare with and without it."""

    keep: Share = 0.5  # probability of each adapter, independently
    all_dropped: Share = 0.1
    all_kept: Share = 0.1
    clip: Share = 0.2
    latent: Share = 0.2
    both: Share = 0.1  # clip and latent together; included in each

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.all_dropped + self.all_kept > 1:
            raise ValueError("all_dropped + all_kept must not exceed 1")
        if self.both > min(self.clip, self.latent) or self.clip + self.latent - self.both > 1:
            raise ValueError("both must not exceed clip or latent, and clip + latent − both not 1")
        return self


class OptimizerConfig(Section):
    """Chooses the optimizer and its learning rate."""

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
    """The exported weights are an exponential moving average of the trained ones; decay 0 switches it off."""

    decay: float = Field(default=0.9999, ge=0, lt=1)
    warmup: bool = True  # decay grows as (1 + n)/(10 + n)


class CheckpointConfig(Section):
    """Sets how often a run is saved, which bounds the steps that a crash can lose."""

    every: int = Field(default=500, ge=1)  # steps
    keep: int = Field(default=2, ge=1)
    export: bool = True  # also write weights/ then, which the server loads


class ValidationConfig(Section):
    """Validates on held-out clips, with the same noise each time."""

    every: int = Field(default=500, ge=0)  # steps; 0: never
    clips: int = Field(default=8, ge=1)
    folders: tuple[Folder, ...] = ()  # prepared; empty: held-out synthetic heads, or clips of data.folders
    sigmas: tuple[Positive, ...] = (0.1, 0.5, 2.0, 8.0, 40.0)  # the loss is measured at each
    grid: int = Field(default=2, ge=0)  # clips in the picture; 0: none
    steps: int = Field(default=8, ge=1, le=100)  # of the sampler, for the picture
    omega: float = Field(default=2.0, ge=0)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if not self.sigmas or len({f"{sigma:g}" for sigma in self.sigmas}) < len(self.sigmas):
            raise ValueError("sigmas: give at least one number, each once")
        return self


class DistributedConfig(Section):
    """Configures several processes, as accelerate or torchrun launched them."""

    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    options: dict[str, Any] = Field(default_factory=dict)  # of FullyShardedDataParallelPlugin or DeepSpeedPlugin


class TrainConfig(Section):
    """Holds every setting of one run."""

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
    conditions: tuple[ConditionWord, ...] = ("shading", "reference")  # the adapters that get an input
    region: Literal["portrait", "background"] = "portrait"  # of the loss's second term; the paper prints background
    # steps in a row without a finite loss and gradient after which the run stops
    bad_steps: int = Field(default=10, ge=1)
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
        # An adapter without an input gets no gradient, and DistributedDataParallel would wait for it.
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
        if self.distill is not None and self.distill.adversarial is not None and self.precision == "fp16":
            raise ValueError(
                "precision is 'fp16': [distill.adversarial] steps two optimizers, and one loss scaler serves one; set "
                '"bf16" or "no"'
            )
        return self

    @property
    def clips_a_step(self) -> int:
        """Returns the clips that one process sees in an optimizer step."""
        return self.batch * self.accumulation


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a TOML file and applies overrides `a.b=value`, whose value is TOML or an unquoted string.

    Raises ConfigError.
    """
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
    """Validates a table. Raises ConfigError naming the field, its value and the legal values."""
    try:
        return TrainConfig.model_validate(table)
    except ValidationError as error:
        problems = []
        for each in error.errors(include_url=False):
            field = ".".join(map(str, each["loc"])) or "the file"
            value = each["input"]
            if each["type"] == "extra_forbidden":
                problems.append(f"{field}: unknown name; legal here: {', '.join(_names(each['loc'][:-1]))}")
            elif each["type"] == "missing":
                problems.append(f"{field}: is needed")
            else:
                shown = ":" if isinstance(value, dict | BaseModel) else f" is {value!r}:"
                problems.append(f"{field}{shown} {each['msg'].removeprefix('Value error, ')}")
        raise ConfigError(f"{name}: {'; '.join(problems)}", "docs/training.md lists every setting") from None


def _names(loc: tuple[int | str, ...]) -> list[str]:
    """Returns the field names of the table at `loc`."""
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
