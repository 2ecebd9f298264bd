"""Tells what numba compiled in this process, of the project's own kernels."""

import sys

from numba.core.dispatcher import Dispatcher


def signatures() -> dict[str, int]:
    """Returns for how many types of arguments each kernel of the loaded modules has been compiled, or loaded."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith(("engine.", "lcvd."))]
    kernels = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Dispatcher)}
    return {f"{each.py_func.__module__}.{each.py_func.__name__}": len(each.signatures) for each in kernels.values()}


def gained(before: dict[str, int]) -> list[str]:
    """Returns the kernels that have been compiled for more types of arguments since `before`."""
    return [name for name, count in signatures().items() if count > before.get(name, 0)]
