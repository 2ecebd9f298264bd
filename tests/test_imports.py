"""The house stands on one-way imports: server → engine → lcvd, training → lcvd; heavy packages stay at home."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "lcvd": {"lcvd"},
    "engine": {"engine", "lcvd"},
    "server": {"server", "engine", "lcvd"},
    "training": {"training", "lcvd"},
}
# A package that may be imported only under these paths.
HOMES = {
    "aiortc": ("server/",),
    "fastapi": ("server/",),
    "tensorrt": ("engine/backends/",),
    "torch_tensorrt": ("engine/backends/",),
    "mediapipe": ("lcvd/tracking/",),
    "decalib": ("lcvd/tracking/",),
}


def imported(source: str) -> set[str]:
    """Full dotted names of every absolute import, also inside functions; a relative import raises."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names.add(node.module or "")
    return names


def violations(path: str, source: str) -> list[str]:
    """What `source`, standing at `path`, imports against the rules."""
    package = path.split("/")[0]
    found = []
    for name in sorted(imported(source)):
        top = name.split(".")[0]
        if top == "training" and package == "server" and path.startswith("server/cli/"):
            continue  # the console command is one program; nothing that serves may call training
        if top in (*ALLOWED, "client_web", "tests") and top not in ALLOWED[package]:
            found.append(f"{path}: {package} may not import {name}")
        if top in HOMES and not path.startswith(HOMES[top]):
            found.append(f"{path}: {top} belongs to {', '.join(HOMES[top])}")
    return found


SOURCES = sorted(str(path.relative_to(ROOT)) for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


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
        ("lcvd/x.py", "import torch_tensorrt"),
        ("training/x.py", "from engine import frames"),
        ("server/session/session.py", "from training import data"),
    ],
)
def test_a_wrong_edge_is_found(path: str, source: str) -> None:
    """The check itself can fail."""
    assert violations(path, source)


def test_the_base_install_imports_without_torch() -> None:
    """What `make serve` and every command load at their start must want nothing of an extra."""
    absent = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "onnx", "onnxruntime", "matplotlib")
    commands = [f"server.cli.{path.stem}" for path in (ROOT / "server" / "cli").glob("*.py") if path.stem != "__init__"]
    wanted = ["lcvd.types", "lcvd.lighting.lighting", "lcvd.hints", "engine", "engine.ratio.engine"]
    wanted += ["engine.avatar.engine", "engine.live.stream", "server.http.app", "server.http.serve"]
    wanted += ["server.rtc.loopback", "training.prepare.run", *commands]
    assert len(commands) > 8
    code = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\nimport {', '.join(wanted)}\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
