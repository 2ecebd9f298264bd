"""The model in time: frames in order through an Engine, live or offline. No sockets.

`make_engine` is the only place that knows every engine; a heavy import happens inside its branch, so that
`import engine` needs neither torch nor the model files.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.errors import EngineUnavailable, UnknownEngine
from engine.protocols import Engine

ENGINES = ("ratio", "passthrough")  # in the order of preference
DEFAULT_ENGINE = ENGINES[0]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a menu shows. `reason` says why an engine is not available, else it is empty."""

    name: str
    title: str
    available: bool
    reason: str = ""


def make_engine(name: str = DEFAULT_ENGINE, models_dir: Path | None = None) -> Engine:
    """The engine called `name`; its tracking networks are looked for in `models_dir` first.

    UnknownEngine names the legal ones; EngineUnavailable says what is missing.
    """
    if name == "ratio":
        import cv2

        from engine.ratio import RatioEngine
        from lcvd.matting import SelfieMatte
        from lcvd.tracking.mesh import MeshTracker

        cv2.setNumThreads(1)  # two threads inside a stage of 2 ms never paid; two pipelined stages do
        return RatioEngine(partial(MeshTracker, directory=models_dir), partial(SelfieMatte, directory=models_dir))
    if name == "passthrough":
        from engine.passthrough import PassthroughEngine

        return PassthroughEngine()
    raise UnknownEngine(f"engine={name!r} does not exist; choose one of {', '.join(ENGINES)}")


def available_engines() -> list[EngineInfo]:
    """Every engine this build knows and whether it can run here. Imports, but loads no weights."""
    return [
        _info("ratio", "Ratio image (CPU)"),
        EngineInfo("passthrough", "Untouched picture", True),
    ]


def _info(name: str, title: str) -> EngineInfo:
    try:
        if name == "ratio":
            import engine.ratio  # noqa: F401
    except (ImportError, EngineUnavailable) as error:
        return EngineInfo(name, title, False, f"{error}")
    return EngineInfo(name, title, True)
