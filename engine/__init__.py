"""The model in time: frames in order through an Engine, live or offline. No sockets.

`make_engine` is the only place that knows every engine; a heavy import happens inside its branch, so that
`import engine` needs neither torch nor the model files.
"""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from engine.errors import EngineUnavailable, UnknownEngine
from engine.protocols import Engine

ENGINES = ("ratio", "avatar", "lcvd", "passthrough")  # in the order of preference
DEFAULT_ENGINE = ENGINES[0]
LCVD_WEIGHTS = "lcvd-published"
SMALL_CHANNELS = 128  # a UNet up to this width is a toy that a CPU can run
DEFAULT_BATCH = {"cuda": 2, "cpu": 1}  # windows that share a call; on a CPU two take twice as long (docs/LOG.md)
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "fp8")
LCVD_PACKAGES = ("torch", "diffusers", "transformers", "safetensors")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a menu shows. `reason` says why an engine is not available, else it is empty."""

    name: str
    title: str
    available: bool
    reason: str = ""
    needs_portrait: bool = False  # it shows an avatar in place of the person


def make_engine(
    name: str = DEFAULT_ENGINE,
    models_dir: Path | None = None,
    *,
    weights: Path | str = LCVD_WEIGHTS,  # of lcvd: a folder, or a name under the user's weights folder
    backend: str = "auto",  # of lcvd: see engine.backends; what fails is followed by the next, at last eager
    size: int | None = None,  # of lcvd: side of the avatar in px; None: what its weights were trained for
    plans: Path | None = None,  # of lcvd: folder of its plans; None: the user's cache
    decoder: Literal["image", "tiny"] = "image",  # of lcvd: tiny is TAESD, where its files are beside the weights
    precision: str = "auto",  # of lcvd: fp32, fp16, bf16, or fp8 where such plans were built; auto: by device
    batch: int | None = None,  # of lcvd: participants who may share a call; None: 2 on a GPU, 1 on a CPU
) -> Engine:
    """The engine called `name`; its tracking networks are looked for in `models_dir` first.

    UnknownEngine names the legal ones; EngineUnavailable says what is missing.
    """
    if name == "ratio":
        import cv2

        from engine.ratio.engine import RatioEngine
        from lcvd.matting.selfie import SelfieMatte
        from lcvd.tracking.mesh import MeshTracker

        cv2.setNumThreads(1)  # two threads inside a stage of 2 ms never paid; two pipelined stages do
        return RatioEngine(partial(MeshTracker, directory=models_dir), partial(SelfieMatte, directory=models_dir))
    if name == "avatar":
        import cv2

        from engine.avatar.engine import AvatarEngine
        from lcvd.matting.portrait import CalibratedMatte
        from lcvd.matting.selfie import SelfieMatte
        from lcvd.tracking.mesh import MeshTracker

        cv2.setNumThreads(1)
        return AvatarEngine(
            partial(MeshTracker, directory=models_dir), lambda: CalibratedMatte(SelfieMatte(directory=models_dir))
        )
    if name == "lcvd":
        if reason := _lcvd_missing(weights):
            raise EngineUnavailable(*reason)
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
        from lcvd.tracking.mesh import MeshTracker
        from lcvd.weights.load import find_weights
        from lcvd.weights.location import trained_size

        device, dtype = "cuda" if torch.cuda.is_available() else "cpu", _lcvd_dtype(precision)
        manifest = find_weights(weights).manifest
        plan = SamplerPlan.of_weights(student_of(manifest), manifest.get("live"))
        names = chain_names(backend, device)
        make = partial(
            make_backend, plans=PlanOptions(plans, "fp8" if precision == "fp8" else None, weights=str(weights))
        )
        return DiffusionEngine(
            lambda: BackendChain(load_lcvd(weights, device, dtype, decoder), names, make),
            DiffusionOptions(size or trained_size(weights), plan=plan, batch=batch or DEFAULT_BATCH[device]),
            partial(MeshTracker, directory=models_dir),
            lambda: CalibratedMatte(SelfieMatte(directory=models_dir)),
            fit=lambda options: fit_to_memory(options, weights, device, dtype),
            warmup_limit_s=WARMUP_LIMIT_S + chain_limit_s(names),
        )
    if name == "passthrough":
        from engine.passthrough import PassthroughEngine

        return PassthroughEngine()
    raise UnknownEngine(f"engine={name!r} does not exist; choose one of {', '.join(ENGINES)}")


def _lcvd_dtype(precision: str) -> str:
    """bf16 where the GPU multiplies it as fast as fp16 (Ampere on): it has float32's range, so nothing overflows."""
    import torch

    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} does not exist; choose one of {', '.join(PRECISIONS)}")
    if precision not in ("auto", "fp8"):  # what is not in an fp8 plan runs as with auto
        return precision
    if not torch.cuda.is_available():
        return "float32"
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"


def available_engines(lcvd_weights: Path | str = LCVD_WEIGHTS) -> list[EngineInfo]:
    """Every engine this build knows and whether it can run here. Imports, but loads no weights."""
    return [
        _info("ratio", "Ratio image (CPU)"),
        _info("avatar", "Avatar (CPU preview)", needs_portrait=True),
        _lcvd_info(lcvd_weights),
        EngineInfo("passthrough", "Untouched picture", True),
    ]


def _info(name: str, title: str, needs_portrait: bool = False) -> EngineInfo:
    try:
        if name == "ratio":
            import engine.ratio.engine
        if name == "avatar":
            import engine.avatar.engine  # noqa: F401
    except (ImportError, EngineUnavailable) as error:
        return EngineInfo(name, title, False, f"{error}", needs_portrait)
    return EngineInfo(name, title, True, needs_portrait=needs_portrait)


def _lcvd_info(weights: Path | str) -> EngineInfo:
    from lcvd.weights.location import weights_manifest

    missing = _lcvd_missing(weights)
    manifest = weights_manifest(weights)
    # A toy says so wherever its name is read.
    title = str(manifest.get("title", "Demonstration")) if manifest.get("demonstration") is True else "Avatar (LCVD)"
    return EngineInfo("lcvd", title, missing is None, "; ".join(missing or ()), needs_portrait=True)


def _lcvd_missing(weights: Path | str) -> tuple[str, str] | None:
    """(what LCVD lacks here, the remedy), or None. Packages are looked for first: torch takes seconds to import."""
    absent = [name for name in LCVD_PACKAGES if find_spec(name) is None]
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
