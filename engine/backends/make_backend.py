"""The one place that knows every Backend; each is imported where it is chosen."""

from functools import partial
from typing import TYPE_CHECKING

from engine.backends.options import BACKENDS, PlanOptions
from engine.errors import EngineUnavailable
from engine.protocols import Backend

if TYPE_CHECKING:
    from lcvd.model import LcvdModel


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
        from engine.backends.make_runtime import make_runtime
        from engine.backends.planned import PlannedBackend
        from engine.backends.plans import PlanStore

        options = plans or PlanOptions()
        store = PlanStore(options.folder)
        runtime = make_runtime(name, model.device, store.root)
        return PlannedBackend(model, runtime, store, options.precision, options.rebuild, options.weights)
    raise ValueError(f"backend={name!r} does not exist; choose one of {', '.join(BACKENDS)}")
