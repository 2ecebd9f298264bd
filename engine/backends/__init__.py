"""Where LCVD's networks run. All that differs between eager, compiled and TensorRT is a Backend of this folder."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineUnavailable
from engine.protocols import Backend

if TYPE_CHECKING:
    from lcvd.model import LcvdModel

BACKENDS = ("auto", "eager", "compiled", "tensorrt", "torch-tensorrt", "onnx")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Where the backends that run plans find them, and which they take."""

    folder: Path | None = None  # None: the user's cache
    precision: str | None = None  # None: the model's own; "fp8" where such plans were built
    rebuild: bool = False  # build at warm-up what is missing or does not match
    weights: str = "NAME"  # what the build command shall say


def make_backend(name: str, model: "LcvdModel", plans: PlanOptions | None = None) -> Backend:
    """The backend called `name` around `model`. ValueError names the legal ones; EngineUnavailable: not here."""
    if name == "auto":
        from engine.backends.chain import BackendChain, chain_names

        return BackendChain(model, chain_names(name, model.device.type), partial(make_backend, plans=plans))
    if name == "eager":
        from engine.backends.eager import EagerBackend

        return EagerBackend(model)
    if name == "compiled":
        import shutil

        from engine.backends.compiled import CompiledBackend

        if model.device.type == "cpu" and not any(shutil.which(cc) for cc in ("c++", "g++", "clang++")):
            raise EngineUnavailable("backend compiled: inductor needs a C++ compiler on the CPU", "use backend eager")
        return CompiledBackend(model)
    if name in ("tensorrt", "torch-tensorrt", "onnx"):
        from engine.backends.planned import PlannedBackend
        from engine.backends.plans import PlanStore
        from engine.backends.runtime import make_runtime

        options = plans or PlanOptions()
        store = PlanStore(options.folder)
        runtime = make_runtime(name, model.device, store.root)
        return PlannedBackend(model, runtime, store, options.precision, options.rebuild, options.weights)
    raise ValueError(f"backend={name!r} does not exist; choose one of {', '.join(BACKENDS)}")
