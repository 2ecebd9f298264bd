"""export writes the trained model in the converted safetensors layout, which `load_lcvd` and the server read."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lcvd.networks.student import steps_note
from lcvd.weights.convert import write_part
from lcvd.weights.load import FORMAT, FORMAT_VERSION, MANIFEST
from training.data.shards import raise_disk_full
from training.loop.networks import Networks, part_configs

_PREFIX = {"unet": "denoiser.unet.svd.", "adapters": "adapters."}


def export(
    destination: Path,
    parts: Networks,
    trained: Mapping[str, Tensor],  # by TrainableModel's names; the other tensors come from `parts`
    about: Mapping[str, Any],  # for the card and the manifest: step, seed, data, …
    preprocess: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    notes: Mapping[str, Any] = MappingProxyType({}),  # manifest entries, see `lcvd.networks.student`
    whole: bool = False,  # `trained` has every tensor of its parts, which themselves hold shards
) -> Path:
    """Writes or replaces `destination`; the old folder stays until the new one is complete.

    Raises DiskFull, DataError.
    """
    part_folder = destination.with_name(f".{destination.name}.part")
    with raise_disk_full(destination.parent):
        shutil.rmtree(part_folder, ignore_errors=True)
        part_folder.mkdir(parents=True)
        try:
            written: dict[str, dict[str, Any]] = {}
            for name, config in part_configs(parts):
                network = parts[name].svd if name == "unet" else parts[name]
                prefix = _PREFIX.get(name)
                given: dict[str, Tensor] = {}
                if prefix is not None:
                    given = {key[len(prefix) :]: value for key, value in trained.items() if key.startswith(prefix)}
                tensors = given if given and whole else dict(network.state_dict()) | given
                kept = {key: value.detach().to("cpu", dtype).contiguous() for key, value in tensors.items()}
                # transformers' table of positions is in no published weights file
                kept = {key: value for key, value in kept.items() if not key.endswith("position_ids")}
                written[name] = write_part(part_folder, name, kept, json.loads(json.dumps(config)), ["relight train"])
            manifest = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "parts": written,
                "preprocess": dict(preprocess),
                "training": dict(about),
                **notes,
            }
            (part_folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            (part_folder / "README.md").write_text(_card(written, {**about, **notes}), encoding="utf-8")
            put_in_place(part_folder, destination)
        finally:
            shutil.rmtree(part_folder, ignore_errors=True)
    return destination


def put_in_place(part: Path, destination: Path) -> None:
    """Renames a complete folder to its final name, and only then removes the one that had it."""
    old = destination.with_name(f".{destination.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if destination.exists():
        destination.rename(old)
    part.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def parts_table(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a markdown table of the manifest's parts."""
    rows = [
        f"| `{part['file']}` | {part['parameters']:,} | {', '.join(part['dtypes'])} | `{part['sha256']}` |"
        for part in parts.values()
    ]
    return "\n".join(["| file | parameters | dtype | SHA-256 |", "|---|---|---|---|", *rows])


def _card(parts: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    return f"""# LCVD weights trained with `relight train`

Use: `relight video CLIP -o OUT.mp4 --engine lcvd --weights THIS_FOLDER`. Check: `relight weights verify THIS_FOLDER`.

{steps_note(about)}

{facts}

{parts_table(parts)}

What the data and the model that training began with bind, binds these weights too.
"""
