"""Run as a program, this compiles the avatar engine's kernels (engine.precompile), giving way to who serves."""

import os

from engine import make_engine
from engine.precompile import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)
    make_engine("avatar").warmup()
