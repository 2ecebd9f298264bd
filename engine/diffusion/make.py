"""LcvdConfig → DiffusionEngine, or the reason why LCVD cannot run here. Imports torch only when it is called."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from engine.diffusion.config import LcvdConfig
from engine.errors import EngineUnavailable
from engine.trackers import TrackerName, tracker_maker

if TYPE_CHECKING:
    from engine.diffusion.engine import DiffusionEngine

SMALL_CHANNELS = 128  # a UNet up to this width is a toy that a CPU can run
DEFAULT_BATCH = {"cuda": 2, "cpu": 1}  # windows that share a call; on a CPU two take twice as long (docs/LOG.md)
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "fp8")
PACKAGES = ("torch", "diffusers", "transformers", "safetensors")


def make_lcvd(config: LcvdConfig, models_dir: Path | None, tracker: TrackerName = "mesh") -> "DiffusionEngine":
    """The engine, its networks not loaded yet; tracking networks are looked for in `models_dir` first.

    Raises EngineUnavailable where LCVD cannot run here, ValueError for an unknown backend or precision.
    """
    if missing := lcvd_missing(config.weights):
        raise EngineUnavailable(*missing)
    import torch

    from engine.backends.chain import BackendChain, chain_limit_s, chain_names
    from engine.backends.make_backend import make_backend
    from engine.backends.options import PlanOptions
    from engine.diffusion.engine import WARMUP_LIMIT_S, DiffusionEngine, DiffusionOptions
    from engine.diffusion.memory import fit_to_memory
    from engine.diffusion.sampler import SamplerPlan
    from lcvd.matting.portrait import CalibratedMatte
    from lcvd.matting.selfie import SelfieMatte
    from lcvd.model import load_lcvd
    from lcvd.networks.student import student_of
    from lcvd.weights.load import find_weights
    from lcvd.weights.location import served_size

    weights = config.weights
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", _dtype(config.precision)
    manifest = find_weights(weights).manifest
    plan = SamplerPlan.of_weights(student_of(manifest), manifest.get("live"))
    names = chain_names(config.backend, device)
    plans = PlanOptions(config.plans, "fp8" if config.precision == "fp8" else None, weights=str(weights))
    return DiffusionEngine(
        lambda: BackendChain(
            load_lcvd(weights, device, dtype, config.decoder), names, partial(make_backend, plans=plans)
        ),
        DiffusionOptions(config.size or served_size(weights), plan=plan, batch=config.batch or DEFAULT_BATCH[device]),
        tracker_maker(tracker, models_dir),
        lambda: CalibratedMatte(SelfieMatte(directory=models_dir)),
        fit=lambda options: fit_to_memory(options, weights, device, dtype),
        warmup_limit_s=WARMUP_LIMIT_S + chain_limit_s(names),
    )


def lcvd_missing(weights: Path | str) -> tuple[str, str] | None:
    """(what LCVD lacks here, the remedy), or None. Packages are looked for first: torch takes seconds to import."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        return f"LCVD needs {', '.join(absent)}", "pip install -e '.[lcvd]'"
    from lcvd.weights.location import weights_folder

    folder = weights_folder(weights)
    if not folder.is_dir():
        return f"LCVD's weights are not in {folder}", "relight weights fetch"
    import torch

    from lcvd.errors import LcvdError
    from lcvd.weights.load import find_weights

    try:
        channels = find_weights(weights).parts["unet"].config.get("block_out_channels", ())
    except LcvdError as error:
        return error.message, error.hint
    if not torch.cuda.is_available() and max(channels, default=0) > SMALL_CHANNELS:
        return "LCVD needs a CUDA device: one second of video would take a CPU many minutes", "use the ratio engine"
    return None


def lcvd_title(weights: Path | str, title: str) -> str:
    """`title`, or the weights' own where their manifest calls them a demonstration: a toy says so in every menu."""
    from lcvd.weights.location import weights_manifest

    manifest = weights_manifest(weights)
    return str(manifest.get("title", "Demonstration")) if manifest.get("demonstration") is True else title


def _dtype(precision: str) -> str:
    """bf16 where the GPU multiplies it as fast as fp16 (Ampere on): it has float32's range, so nothing overflows."""
    import torch

    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} does not exist; choose one of {', '.join(PRECISIONS)}")
    if precision not in ("auto", "fp8"):  # what is not in an fp8 plan runs as with auto
        return precision
    if not torch.cuda.is_available():
        return "float32"
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
