"""Where LCVD's networks run. All that differs between eager, compiled and TensorRT is a Backend of this folder."""

from typing import TYPE_CHECKING

from engine.errors import EngineUnavailable
from engine.protocols import Backend

if TYPE_CHECKING:
    from lcvd.model import LcvdModel

BACKENDS = ("auto", "eager", "compiled")


def make_backend(name: str, model: "LcvdModel") -> Backend:
    """The backend called `name` around `model`. ValueError names the legal ones; EngineUnavailable: not here."""
    if name == "auto":
        from engine.backends.chain import BackendChain, chain_names

        return BackendChain(model, chain_names(name, model.device.type))
    if name == "eager":
        from engine.backends.eager import EagerBackend

        return EagerBackend(model)
    if name == "compiled":
        import shutil

        from engine.backends.compiled import CompiledBackend

        if model.device.type == "cpu" and not any(shutil.which(cc) for cc in ("c++", "g++", "clang++")):
            raise EngineUnavailable("backend compiled: inductor needs a C++ compiler on the CPU", "use backend eager")
        return CompiledBackend(model)
    raise ValueError(f"backend={name!r} does not exist; choose one of {', '.join(BACKENDS)}")
