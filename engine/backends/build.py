"""Plans built, verified against the eager networks and kept: export → build → verify → cache.

Resumable: a finished plan is skipped, an export that outlived an interrupted build is used again. A plan whose output
strays further from eager than its precision may (`TOLERANCES`) is refused and never reaches the cache.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from engine.backends.fp8 import fp8_network
from engine.backends.networks import Network, decoder_network, shading_network, unet_network
from engine.backends.onnx import FILE as ONNX_FILE
from engine.backends.onnx_export import export_onnx
from engine.backends.plans import EXPORT, Plan, PlanKey, PlanMismatch, PlanMissing, PlanRefused, PlanStore, Verification
from engine.backends.runtime import PRECISIONS, Runner, Runtime, dtype_word, plan_key
from engine.errors import EngineUnavailable
from lcvd.model import LcvdModel

Stage = Literal["export", "build", "verify", "kept", "done", "refused"]
Progress = Callable[[str, Stage, float | None], None]  # plan's stem, what is done with it, fraction where known

# (least cosine, largest error over the largest output). What rounding at this precision did to the tiny model, times
# ten or more, because the full UNet is deeper; a wrong layer or a swapped input is far outside (docs/engine_build.md).
TOLERANCES = {"fp32": (0.99999, 1e-3), "fp16": (0.999, 0.05), "bf16": (0.99, 0.15), "fp8": (0.95, 0.5)}


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Says which plans an engine will need. ValueError names field, value and remedy."""

    size: int = 512  # px
    frames: int = 16
    branches: tuple[int, ...] = (1, 2)
    batch: int = 1  # windows that may share a call: plans for 1 … batch
    precision: str = "fp16"

    def __post_init__(self) -> None:
        if self.size % 8 or not 64 <= self.size <= 1024:
            raise ValueError(f"size={self.size}: must be a multiple of 8 from 64 to 1024")
        if not self.branches or set(self.branches) - {1, 2}:
            raise ValueError(f"branches={self.branches}: use 1 (no guidance), 2 (guidance) or both")
        if not 1 <= self.batch <= 16:
            raise ValueError(f"batch={self.batch}: must lie in 1 … 16")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: use one of {', '.join(PRECISIONS)}")

    @property
    def rows(self) -> list[int]:
        """Batch sizes of the UNet: branches × windows."""
        return sorted({each * batch for each in self.branches for batch in range(1, self.batch + 1)})


def networks(model: LcvdModel, request: BuildRequest) -> list[Network]:
    """The networks a request needs plans for, the quickest first."""
    return [
        shading_network(model, request.size),
        decoder_network(model, request.size),
        *(unet_network(model, rows, request.frames, request.size) for rows in request.rows),
    ]


def key_of(model: LcvdModel, runtime: Runtime, network: Network, precision: str) -> PlanKey:
    """The key of a network's plan here. Raises EngineUnavailable for a precision that is not to be had."""
    words = {"fp8", dtype_word(model.dtype)} & set(runtime.precisions)
    if precision not in words:
        raise EngineUnavailable(
            f"precision {precision}: backend {runtime.name} with a model in {dtype_word(model.dtype)} "
            f"has {' and '.join(sorted(words)) or 'none'}",
            "load the model in that precision, or choose another backend",
        )
    return plan_key(model, runtime.name, runtime.version(), network.name, network.shapes, precision)


def build_plans(
    model: LcvdModel,
    runtime: Runtime,
    store: PlanStore,
    request: BuildRequest,
    progress: Progress = lambda stem, stage, fraction: None,
    keep_exports: bool = False,
) -> list[Plan]:
    """Every plan of the request, those that are there already included. Raises PlanRefused, EngineUnavailable."""
    # Exporting refuses inference tensors, and warm-up may call us from inference mode.
    with torch.inference_mode(False):
        return [
            _built(model, runtime, store, network, request.precision, progress, keep_exports)
            for network in networks(model, request)
        ]


def _built(
    model: LcvdModel,
    runtime: Runtime,
    store: PlanStore,
    network: Network,
    precision: str,
    progress: Progress,
    keep_exports: bool,
) -> Plan:
    key = key_of(model, runtime, network, precision)
    try:
        plan = store.find(key)
        progress(key.stem, "kept", None)
        return plan
    except (PlanMissing, PlanMismatch):
        pass
    with store.writing(key) as draft:
        try:  # another process may have built it while we waited for the lock
            return store.find(key)
        except (PlanMissing, PlanMismatch):
            pass
        module = network.module
        if key.precision == "fp8":
            module = fp8_network(module, network.cases())
        export = _exported(store, network, module, key, progress) if runtime.takes_onnx else None
        progress(key.stem, "build", None)
        runtime.build(
            network,
            module,
            None if export is None else export.folder / ONNX_FILE,
            draft.folder,
            lambda _what, fraction: progress(key.stem, "build", fraction),
        )
        progress(key.stem, "verify", None)
        seen = verified(network, runtime.load(draft.folder, network.output), key.precision)
        if not seen.passed:
            progress(key.stem, "refused", None)
            raise PlanRefused(
                f"plan {key.stem} differs too much from eager and is not used: {seen}",
                "try a finer precision, or another backend",
            )
        plan = draft.finish(seen)
    if export is not None and not keep_exports:
        store.remove(export.folder)
    progress(key.stem, "done", None)
    return plan


def _exported(store: PlanStore, network: Network, module: nn.Module, key: PlanKey, progress: Progress) -> Plan:
    """The network as ONNX, from an earlier run where there is one."""
    export = replace(key, runtime=EXPORT, runtime_version="")
    try:
        return store.find(export)
    except (PlanMissing, PlanMismatch):
        pass
    progress(key.stem, "export", None)
    with store.writing(export) as draft:
        try:
            return store.find(export)
        except (PlanMissing, PlanMismatch):
            pass
        export_onnx(network, draft.folder / ONNX_FILE, module)
        return draft.finish(None)


def verified(network: Network, runner: Runner, precision: str) -> Verification:
    """A plan against the eager network, on the network's own windows."""
    least, peak, error = 1.0, 0.0, 0.0
    with torch.inference_mode():
        for case in network.cases():
            expected = network.module(*case.values()).float()
            got = runner(case).float()
            least = _lower(least, float(_cosine(expected, got)))
            error = _higher(error, float((expected - got).abs().max()))
            peak = max(peak, float(expected.abs().max()))
    cosine, relative = TOLERANCES[precision]
    return Verification(least, error, peak, cosine, relative)


def verify_again(model: LcvdModel, runtime: Runtime, store: PlanStore, request: BuildRequest) -> Iterable[Plan]:
    """Each plan of the request with a fresh verification, which is not stored. Raises PlanMissing, PlanMismatch."""
    for network in networks(model, request):
        key = key_of(model, runtime, network, request.precision)
        plan = store.find(key)
        yield replace(plan, verification=verified(network, runtime.load(plan.folder, network.output), key.precision))


def build_command(
    runtime: str,
    precision: str,
    size: int,
    branches: Sequence[int],
    batch: int,
    weights: Path | str,
    decoder: str = "image",
) -> str:
    """Return the command that builds the plans an engine lacks."""
    return (
        f"relight engine build --weights {weights} --size {size} --backend {runtime} --precision {precision} "
        f"--branches {','.join(map(str, branches))} --batch {batch}"
        + ("" if decoder == "image" else f" --decoder {decoder}")
    )


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten().double(), b.flatten().double()
    return (a @ b) / (a.norm() * b.norm()).clamp_min(1e-30)


def _lower(held: float, value: float) -> float:
    """min that keeps a nan."""
    return value if not value >= held else held


def _higher(held: float, value: float) -> float:
    """max that keeps a nan."""
    return value if not value <= held else held
