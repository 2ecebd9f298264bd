"""This child process trains: `run_tiny.py CONFIG.json`."""

import json
import sys
from pathlib import Path

from training.config import config_from
from training.loop.train import train

if __name__ == "__main__":
    train(config_from(json.loads(Path(sys.argv[1]).read_text())))
