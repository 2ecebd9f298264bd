"""All tensors of a weights folder, their comparison, and the published adapters' names. Needs torch."""

from pathlib import Path

import torch

from lcvd.weights.load import find_weights, read_part


def all_tensors(path: Path) -> dict:
    found = find_weights(path)
    return {f"{name}.{key}": value.clone() for name in found.parts for key, value in read_part(found, name).items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def names_of_the_release() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published adapters, written out."""
    sizes = [(3, 3, 3), (16, 3, 4), (16, 16, 3), (32, 16, 4), (32, 32, 3), (64, 32, 4), (64, 64, 3), (128, 64, 3)]
    shapes: dict[str, tuple[int, ...]] = {"scale": (1,), "final_proj.bias": (320,)}
    shapes["final_proj.weight"] = (320, 128, 1, 1)
    for index, (out, inside, kernel) in enumerate(sizes):
        shapes[f"conv_layers.{2 * index}.weight"] = (out, inside, kernel, kernel)
        shapes[f"conv_layers.{2 * index}.bias"] = (out,)
    return shapes
