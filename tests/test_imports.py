"""The layout stands on one-way imports, between the packages and inside each; heavy packages stay in their folder."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.source import parsed

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "lcvd": {"lcvd"},
    "engine": {"engine", "lcvd"},
    "server": {"server", "engine", "lcvd"},
    "training": {"training", "engine", "lcvd"},  # engine: for `training.surface`, whose network is the engine's
}
# A package that may be imported only under these paths.
HOMES = {
    "aiortc": ("server/rtc/",),
    "fastapi": ("server/",),
    "tensorrt": ("engine/backends/",),
    "torch_tensorrt": ("engine/backends/",),
    "mediapipe": ("lcvd/tracking/",),
    "decalib": ("lcvd/tracking/",),
    "training": ("training/", "server/cli/"),  # the console command is one program; nothing that serves may train
}
MAX_LINES, MAX_FILES = 400, 25  # of a file, and in a folder

SOURCES = sorted(str(path.relative_to(ROOT)) for package in ALLOWED for path in (ROOT / package).rglob("*.py"))
TRACKED = [
    path
    for path in (ROOT / line for line in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n"))
    if path.is_file()
]


def imported(source: str) -> set[str]:
    """Full dotted names of every absolute import, also inside functions; a relative import raises.

    `from package import name` gives both `package` and `package.name`, since `name` may be a module.
    """
    names: set[str] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return names


def violations(path: str, source: str) -> list[str]:
    """The imports of `source`, standing at `path`, that break the rules between packages."""
    package = path.split("/")[0]
    found = []
    for name in sorted(imported(source)):
        top = name.split(".")[0]
        if top in (*ALLOWED, "client_web", "tests") and top not in ALLOWED[package] and top not in HOMES:
            found.append(f"{path}: {package} may not import {name}")
        if top in HOMES and not path.startswith(HOMES[top]):
            found.append(f"{path}: {top} belongs to {', '.join(HOMES[top])}")
    return found


def module_of(path: str) -> str:
    """Dotted name of the module at `path`; a folder's `__init__.py` has the folder's own."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def module_graph() -> dict[str, set[str]]:
    """Module → modules of this project that it imports."""
    modules = {module_of(path) for path in SOURCES}
    graph = {}
    for path in SOURCES:
        names = imported((ROOT / path).read_text()) & modules
        # `from folder import module` imports the module; the folder itself only where a name of its own is wanted too.
        wanted = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
        graph[module_of(path)] = wanted - {module_of(path)}
    return graph


def folder_of(module: str) -> str:
    """The folder a module stands in; a module right under its package stands for itself, as does the package."""
    path = ROOT / module.replace(".", "/")
    if module.count(".") <= 1 and not path.is_dir():
        return module
    return module if path.is_dir() else module.rsplit(".", 1)[0]


def folder_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Folder → folders that its files import."""
    folders: dict[str, set[str]] = {}
    for module, names in graph.items():
        own = folder_of(module)
        folders.setdefault(own, set()).update({folder_of(name) for name in names} - {own})
    return folders


def circle(graph: dict[str, set[str]]) -> Iterable[str]:
    """A circle of `graph`, empty where it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return ()


@pytest.mark.parametrize("path", SOURCES)
def test_imports_run_one_way(path: str) -> None:
    """Each file imports only what its package may see."""
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lcvd/x.py", "import engine.frames"),
        ("engine/x.py", "def f():\n    from server import app"),
        ("engine/x.py", "import aiortc"),
        ("server/session/x.py", "from aiortc import RTCPeerConnection"),
        ("lcvd/x.py", "import torch_tensorrt"),
        ("training/x.py", "from server import settings"),
        ("server/session/session.py", "from training import data"),
    ],
)
def test_a_wrong_edge_is_found(path: str, source: str) -> None:
    """The check itself can fail."""
    assert violations(path, source)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checking count too."""
    assert list(circle(module_graph())) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    """Inside each package too, every folder stands above or below every other."""
    assert list(circle(folder_graph(module_graph()))) == []


def test_a_circle_is_found() -> None:
    """Two folders that import each other are told, although no two files do."""
    graph = {"engine.live.a": {"engine.ratio.b"}, "engine.ratio.c": {"engine.live.d"}}
    assert list(circle(graph)) == []
    assert set(circle(folder_graph(graph))) == {"engine.live", "engine.ratio"}


def test_no_file_is_too_long() -> None:
    """A file is one noun: Python and JavaScript, tests included."""
    scripts = [path for path in TRACKED if path.suffix in (".py", ".js")]
    long = [str(path) for path in scripts if len(path.read_text().splitlines()) > MAX_LINES]
    assert long == []


def test_no_folder_is_too_full() -> None:
    """A folder's files fit on one screen; `client_web` is flat by decision, its pages being one program."""
    counts: dict[Path, int] = {}
    for path in TRACKED:
        counts[path.parent] = counts.get(path.parent, 0) + 1
    assert [str(folder) for folder, count in counts.items() if count > MAX_FILES and folder.name != "client_web"] == []


def test_the_base_install_imports_without_torch() -> None:
    """What `make serve` and every command load at their start must want nothing of an extra."""
    absent = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "onnx", "onnxruntime", "matplotlib")
    commands = [module_of(path) for path in SOURCES if path.startswith("server/cli/")]
    assert len(commands) > 8
    wanted = ["lcvd.types", "lcvd.lighting.lighting", "lcvd.hints", "engine", "engine.ratio.engine"]
    wanted += ["engine.avatar.engine", "engine.live.stream", "server.http.app", "server.http.serve"]
    wanted += ["server.rtc.bench.loopback", "training.prepare.run", *commands]
    code = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\nimport {', '.join(wanted)}\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
