"""Compiled kernels ask for nothing that the base installation lacks: numba's linear algebra needs SciPy."""

import ast
from pathlib import Path

from tests.source import parsed

ROOT = Path(__file__).resolve().parent.parent
ALGEBRA = {"dot", "vdot", "matmul", "linalg"}


def is_kernel(function: ast.FunctionDef) -> bool:
    """Tells whether numba compiles it."""
    return any("njit" in ast.unparse(decorator) for decorator in function.decorator_list)


def algebra(kernel: ast.FunctionDef) -> list[int]:
    """Returns the lines of matrix products and of numpy's linear algebra."""
    return [
        node.lineno
        for node in ast.walk(kernel)
        if (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult))
        or (isinstance(node, ast.Attribute) and node.attr in ALGEBRA)
    ]


def test_kernels_use_no_linear_algebra_of_scipy() -> None:
    """A kernel with `@` compiles here, where the tests' SciPy is, and fails in what `make serve` installs."""
    found, kernels = [], 0
    for folder in ("engine", "lcvd", "server"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(parsed(path.read_text())):
                if isinstance(node, ast.FunctionDef) and is_kernel(node):
                    kernels += 1
                    found += [f"{path.relative_to(ROOT)}:{line} in {node.name}" for line in algebra(node)]
    assert kernels > 20
    assert not found
