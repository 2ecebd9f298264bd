"""On a machine's first start a part of the kernels is compiled in a process of its own.

numba compiles one kernel at a time in each process and keeps it on disk (`cache=True`), where all others find it. A
module that compiles a part is run as a program: PIXELS beside the first warm-up, AVATAR after it, at a low priority, so
that who chooses an avatar need not wait for a compiler.
"""

import atexit
import subprocess
import sys
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0  # one part takes 10 to 40 s of CPU
PIXELS, AVATAR = "engine.ratio.precompile", "engine.precompile_avatar"
_begun: dict[str, subprocess.Popen[bytes]] = {}


def begin(module: str) -> None:
    """Run `module` in a process that ends as this one does, unless this one is killed; once.

    Where it cannot be run, its kernels are compiled by whoever needs them.
    """
    if module in _begun:
        return
    none = subprocess.DEVNULL
    try:
        process = subprocess.Popen([sys.executable, "-m", module], stdin=none, stdout=none, stderr=none)
    except OSError:
        return
    _begun[module] = process
    atexit.register(_end, process)


def is_begun(module: str) -> bool:
    """Return whether `begin` ran `module`."""
    return module in _begun


def wait_for(module: str, seconds: float = PATIENCE_S) -> bool:
    """Wait for the end of `module` where it was begun, up to `seconds`. Returns whether it compiled everything."""
    if module not in _begun:
        return False
    try:
        return _begun[module].wait(seconds) == 0
    except subprocess.TimeoutExpired:  # a busy machine: what is missing is compiled twice
        return False


def compiles(kernel: Any, call: Callable[[], object]) -> bool:
    """Call `call`, which runs `kernel` of numba, and return whether that had to be compiled."""
    before = len(kernel.stats.cache_misses)
    call()
    return len(kernel.stats.cache_misses) > before


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
