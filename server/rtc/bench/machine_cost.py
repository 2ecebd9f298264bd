"""What a picture costs on a machine, and how many cores there are. Imports nothing of aiortc: workers read it first."""

import os
from pathlib import Path
from typing import NamedTuple

QUOTA = Path("/sys/fs/cgroup/cpu.max")


class FrameCost(NamedTuple):
    """The cost of one picture of a size."""

    pixels: int
    cpu_s: float  # of the process, all its threads
    device_s: float  # of the engine's device half, which is serial


class MachineCost(NamedTuple):
    """What was measured: the costs, smallest size first, and the cores that streams side by side keep busy."""

    frames: tuple[FrameCost, ...]
    cores: float


def available_cores() -> float:
    """Returns the cores that this process may use: its affinity, and the quota of its container (cgroup v2)."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = QUOTA.read_text().split()
        return cores if quota == "max" else min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        return cores
