"""Writes prepared folders without footage: random clips through the real writers."""

from pathlib import Path

import numpy as np

from training.data.assembly import STATE, Assembly, part_path, record_path
from training.data.processed_clip import ProcessedClip
from training.data.sample_files import encode
from training.data.shards import PartWriter, atomic_write, write_json
from training.prepare.settings import PrepareSettings

FRAMES, SIZE = 4, 64


def clip(name: str, seed: int) -> ProcessedClip:
    """Frames, hints and masks are random and differ from each other."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
    hints = rng.integers(0, 256, frames.shape, np.uint8)
    masks = rng.integers(0, 256, frames.shape[:3], np.uint8)
    return ProcessedClip(name, frames, hints, masks, {"sh": rng.random((FRAMES, 9, 3), np.float32)}, {"seed": seed})


def write_source(data: Path, number: int, samples: int, group: str | None = None) -> None:
    """Writes what a worker leaves of one source."""
    for folder in ("parts", "sealed"):
        (data / STATE / folder).mkdir(parents=True, exist_ok=True)
    group = group or f"video{number}-000"
    with atomic_write(part_path(data, number)) as file:
        part = PartWriter(file)
        for i in range(samples):
            made = clip(f"{group}-{i:06d}", 100 * number + i)
            part.add(made.name, group, encode(made, 0))
        part.end()
    rows = [entry.as_json() for entry in part.entries]
    write_json(record_path(data, number), {"source": group, "frames": 9, "rejected": [], "samples": rows})


def write_synthetic_data(data: Path, sources: int = 3, samples: int = 2, shard_bytes: int = 2**30) -> Path:
    """Writes a finished folder, with png frames so that pixels come back exactly."""
    for number in range(sources):
        write_source(data, number, samples)
    settings = PrepareSettings(size=SIZE, frames=FRAMES, jpeg_quality=0)
    Assembly(data, sources, shard_bytes).finish({"settings": settings.identity(), "plan_sha256": ""})
    return data
