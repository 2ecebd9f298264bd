"""The model in time: frames in order through an Engine, live or offline. No sockets.

`ENGINES` is the table of engines: a new one is a class and a row of it. Heavy imports stay inside a row's functions,
so that `import engine` needs neither torch nor the model files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal

from engine.diffusion.config import LcvdConfig
from engine.diffusion.make import lcvd_missing, lcvd_title, make_lcvd
from engine.errors import EngineUnavailable, UnknownEngine
from engine.protocols import Engine
from engine.trackers import TrackerName, tracker_maker

SurfaceName = Literal["network", "mesh"]
PartsName = Literal["network", "off"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Holds everything an operator may set that an engine is made with."""

    models_dir: Path | None = None  # where tracking networks are looked for first
    lcvd: LcvdConfig = field(default_factory=LcvdConfig)
    tracker: TrackerName = "mesh"  # of every engine that follows a face
    surface: SurfaceName = "network"  # what the CPU engines take normals and source light from
    parts: PartsName = "network"  # what mends mistakes of the ratio engine's person mask


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One row of the table: an engine as menus, servers and `make_engine` know it before it is made."""

    name: str
    title: str  # for menus; equal to the trait of the engine itself
    make: Callable[[EngineConfig], Engine]  # raises EngineUnavailable where it cannot run here
    shows_avatar: bool = False  # in place of the person, so it needs a portrait; equal to the engine's own trait
    has_qualities: bool = False  # it has the quality presets and obeys an Avatar's steps, omega, stride and mode
    fallbacks: tuple[str, ...] = ()  # engines that run in its place where it cannot, the best first
    reason: Callable[[EngineConfig], str] = lambda config: ""  # why it cannot run here; "" where it can
    title_for: Callable[[EngineConfig], str] | None = None  # where the title depends on the configuration


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One line of a menu. `reason` says why an engine is not available, else it is empty."""

    name: str
    title: str
    available: bool
    reason: str = ""
    shows_avatar: bool = False  # in place of the person
    has_qualities: bool = False


def _make_ratio(config: EngineConfig) -> Engine:
    import cv2

    from engine.ratio.engine import RatioEngine
    from engine.surface.network import SurfaceNetwork
    from lcvd.matting.multiclass import MulticlassMatte
    from lcvd.matting.selfie import SelfieMatte

    cv2.setNumThreads(1)  # two threads inside a stage of 2 ms never paid; two pipelined stages do
    directory = config.models_dir
    return RatioEngine(
        tracker_maker(config.tracker, directory, others=True, rests="light"),
        partial(SelfieMatte, directory=directory),
        SurfaceNetwork if config.surface == "network" else None,
        partial(MulticlassMatte, directory=directory) if config.parts == "network" else None,
    )


def _make_avatar(config: EngineConfig) -> Engine:
    import cv2

    from engine.avatar.engine import AvatarEngine
    from engine.avatar.iris import iris_finder
    from engine.surface.network import SurfaceNetwork
    from lcvd.matting.portrait import CalibratedMatte
    from lcvd.matting.selfie import SelfieMatte

    cv2.setNumThreads(1)
    directory = config.models_dir
    return AvatarEngine(
        tracker_maker(config.tracker, directory, rests="expression"),
        lambda: CalibratedMatte(SelfieMatte(directory=directory)),
        SurfaceNetwork if config.surface == "network" else None,
        iris_finder(directory),
    )


def _make_passthrough(config: EngineConfig) -> Engine:
    from engine.passthrough import PassthroughEngine

    return PassthroughEngine()


def _import_error(module: str) -> str:
    """Tell why `module` cannot be imported here; "" where it can."""
    try:
        import_module(module)
    except (ImportError, EngineUnavailable) as error:
        return f"{error}"
    return ""


_LCVD_TITLE = "Avatar (LCVD)"

ENGINES: dict[str, EngineSpec] = {  # in the order of menus
    spec.name: spec
    for spec in (
        EngineSpec(
            "ratio",
            "Ratio image (CPU)",
            _make_ratio,
            fallbacks=("passthrough",),
            reason=lambda config: _import_error("engine.ratio.engine"),
        ),
        EngineSpec(
            "avatar",
            "Avatar (CPU preview)",
            _make_avatar,
            shows_avatar=True,
            fallbacks=("ratio", "passthrough"),
            reason=lambda config: _import_error("engine.avatar.engine"),
        ),
        EngineSpec(
            "lcvd",
            _LCVD_TITLE,
            lambda config: make_lcvd(config.lcvd, config.models_dir, config.tracker),
            shows_avatar=True,
            has_qualities=True,
            fallbacks=("avatar", "ratio", "passthrough"),
            reason=lambda config: "; ".join(lcvd_missing(config.lcvd.weights) or ()),
            title_for=lambda config: lcvd_title(config.lcvd.weights, _LCVD_TITLE),
        ),
        EngineSpec("passthrough", "Untouched picture", _make_passthrough),
    )
}
DEFAULT_ENGINE = next(iter(ENGINES))
_DEFAULTS = EngineConfig()


def make_engine(name: str = DEFAULT_ENGINE, config: EngineConfig = _DEFAULTS) -> Engine:
    """Make the engine called `name` as `config` says.

    Raises UnknownEngine with the legal names, EngineUnavailable with what is missing.
    """
    if name not in ENGINES:
        raise UnknownEngine(f"engine={name!r} does not exist; choose one of {', '.join(ENGINES)}")
    return ENGINES[name].make(config)


def available_engines(config: EngineConfig = _DEFAULTS) -> list[EngineInfo]:
    """Describe every engine of the table and tell whether it can run here. Imports, but loads no weights."""
    found = []
    for spec in ENGINES.values():
        reason = spec.reason(config)
        title = spec.title if spec.title_for is None else spec.title_for(config)
        found.append(EngineInfo(spec.name, title, not reason, reason, spec.shows_avatar, spec.has_qualities))
    return found


def camera_engines() -> tuple[str, ...]:
    """Return the names of the engines that light the camera's own picture, the best first."""
    return tuple(name for name, spec in ENGINES.items() if not spec.shows_avatar)


def fallbacks(name: str) -> tuple[str, ...]:
    """Return the engines that run where `name` cannot, the best first; for a stranger to the table, the camera's."""
    return ENGINES[name].fallbacks if name in ENGINES else camera_engines()


def avatar_fallback(name: str) -> str | None:
    """Return the engine that shows avatars where `name`, which shows them too, cannot; None where there is none.

    For a stranger to the table it is the first avatar engine of the table.
    """
    candidates = ENGINES[name].fallbacks if name in ENGINES else tuple(ENGINES)
    return next((each for each in candidates if ENGINES[each].shows_avatar), None)
