"""On a machine's first start a part of the kernels is compiled in a process of its own.

numba compiles one kernel at a time in each process and keeps it on disk (`cache=True`), where all others find it. A
module that compiles a part is run as a program: PIXELS beside the first warm-up, AVATAR after it, at a low priority, so
that who chooses an avatar need not wait for a compiler.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0  # one part takes 10 to 40 s of CPU
PIXELS, AVATAR = "engine.ratio.precompile", "engine.precompile_avatar"
_begun: dict[str, subprocess.Popen[bytes]] = {}


def begin(module: str) -> None:
    """Run `module`, once, in a process that ends when this one does, however that ends.

    Where it cannot be run, its kernels are compiled by whoever needs them.
    """
    if module in _begun:
        return
    none = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        _begun[module] = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=none, stderr=none
        )


def end_with_parent() -> None:
    """End this process when the one that began it has ended, which closes the other end of stdin."""

    def watch() -> None:
        os.read(0, 1)  # without a lock of sys.stdin, which would be missed at the end
        os._exit(1)

    threading.Thread(target=watch, name="relight-parent", daemon=True).start()


def is_begun(module: str) -> bool:
    """Return whether `begin` ran `module`."""
    return module in _begun


def wait_for(module: str, seconds: float = PATIENCE_S) -> bool:
    """Wait for the end of `module` where it was begun, up to `seconds`. Returns whether it compiled everything."""
    process = _begun.get(module)
    if process is None:
        return False
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:  # a busy machine: what is missing is compiled twice
        return False
    if process.stdin is not None:
        process.stdin.close()
    return status == 0


def compiles(kernel: Any, call: Callable[[], object]) -> bool:
    """Call `call`, which runs `kernel` of numba, and return whether that had to be compiled."""
    before = len(kernel.stats.cache_misses)
    call()
    return len(kernel.stats.cache_misses) > before
