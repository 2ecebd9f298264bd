"""Weights folder to weights folder, and weights folder to a report: convert, verify, describe.

`convert` writes one safetensors file for each part, `lcvd.json` (configurations, SHA-256, counts) and a model card;
it appears under its name only when it is whole. `verify` reads every tensor: hashes where a manifest has them, names,
shapes, finite values, and the one mistake no name shows, an adapter copied over another.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lcvd.errors import WeightsError
from lcvd.networks.student import NOTES, steps_note
from lcvd.weights.file import damaged_record, sha256_of
from lcvd.weights.load import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    FoundWeights,
    PartName,
    build_part,
    check_part,
    few,
    find_weights,
    read_part,
)
from lcvd.weights.location import check_new_folder

# Of the published model; a tiny one has others, which is no error.
PUBLISHED_PARAMETERS = {"unet": 1_524_623_082, "adapters": 3 * 205_557}
OnPart = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PartReport:
    """A PartReport is one line of `relight weights show`."""

    name: PartName
    files: tuple[Path, ...]
    bytes: int  # 0 where a file is missing
    parameters: int  # of the network the configuration describes
    published: bool | None  # the published model's count; None where the part has none


def describe(found: FoundWeights) -> list[PartReport]:
    """Report each part of a folder from its configurations and file sizes; no tensor is read."""
    reports = []
    for name, part in found.parts.items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build_part(name, part.config).parameters())
        files = tuple(dict.fromkeys(file.path for file in part.files))
        size = sum(path.stat().st_size for path in files if path.exists())
        expected = PUBLISHED_PARAMETERS.get(name)
        reports.append(PartReport(name, files, size, count, None if expected is None else count == expected))
    return reports


def verify(found: FoundWeights, on_part: OnPart | None = None) -> list[str]:
    """Return the faults of a folder, one line each; empty when there are none."""
    problems: list[str] = []
    for name in found.parts:
        if on_part is not None:
            on_part(name)
        problems += _hash_problems(found, name)
        try:
            tensors = read_part(found, name)
            check_part(found, name, tensors)
        except WeightsError as error:
            problems.append(error.message)
            continue
        problems += [
            f"{file.path}: checksum of record {record} is wrong"
            for file in found.parts[name].files
            if (record := damaged_record(file.path))
        ]
        problems += _value_problems(name, tensors)
    return problems


def _value_problems(name: PartName, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """What is wrong with values whose names and shapes are right."""
    bad = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    problems = [f"{name}: values that are not finite in {few(bad)}"] if bad else []
    if name == "adapters":
        problems += _copied_adapters(tensors)
    return problems


def _hash_problems(found: FoundWeights, name: PartName) -> Iterator[str]:
    entry = found.manifest.get("parts", {}).get(name)
    if entry is None:
        return
    path = found.parts[name].files[0].path
    if path.exists() and (actual := sha256_of(path)) != entry.get("sha256"):
        yield f"{path}: SHA-256 is {actual}, the manifest says {entry.get('sha256')}"


def _copied_adapters(tensors: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Adapters are interchangeable in shape, so a file copied over another has every name right."""
    names = ("light", "ref", "head")
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            keys = [key for key in tensors if key.startswith(f"{one}.") and key.endswith("weight")]
            if all(torch.equal(tensors[key], tensors[key.replace(f"{one}.", f"{other}.", 1)]) for key in keys):
                yield f"adapters: {one}_embedder and {other}_embedder hold the same values: a copied file"


def convert(
    source: Path | str,
    destination: Path,
    dtype: torch.dtype | None = None,  # None keeps what the files have
    svd: Path | None = None,
    on_part: OnPart | None = None,
) -> Path:
    """Check `source` and write it in the one layout. Raises WeightsError; leaves nothing half-written behind."""
    found = find_weights(source, svd)
    check_new_folder(destination)
    part_folder = destination.with_name(destination.name + ".part")
    shutil.rmtree(part_folder, ignore_errors=True)
    part_folder.mkdir(parents=True)
    try:
        manifest = _write_parts(found, part_folder, dtype, on_part)
        (part_folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (part_folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
        if destination.exists():
            destination.rmdir()
        os.replace(part_folder, destination)
    finally:
        shutil.rmtree(part_folder, ignore_errors=True)
    return destination


def _write_parts(
    found: FoundWeights, folder: Path, dtype: torch.dtype | None, on_part: OnPart | None
) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name, part in found.parts.items():
        if on_part is not None:
            on_part(name)
        tensors = read_part(found, name)
        check_part(found, name, tensors)
        if problems := _value_problems(name, tensors):
            raise WeightsError("; ".join(problems), "take the files from where they were published again")
        kept = {key: value.to(dtype or value.dtype).contiguous() for key, value in tensors.items()}
        sources = sorted({file.path.name for file in part.files})
        parts[name] = write_part(folder, name, kept, part.config, sources)
    notes = {name: found.manifest[name] for name in NOTES if name in found.manifest}
    return {"format": FORMAT, "version": FORMAT_VERSION, "parts": parts, "preprocess": found.preprocess, **notes}


def write_part(
    folder: Path, name: PartName, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], sources: Sequence[str]
) -> dict[str, Any]:
    """Write one network's file; returns its entry in the manifest. The tensors are contiguous, on the CPU."""
    path = folder / f"{name}.safetensors"
    save_file(dict(tensors), path, {"format": "pt"})
    path.chmod(0o644)  # safetensors 0.8 keeps it from everybody else, the server's user too
    return {
        "file": path.name,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "tensors": len(tensors),
        "parameters": sum(value.numel() for value in tensors.values()),
        "dtypes": sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}),
        "config": dict(config),
        "sources": list(sources),
    }


def model_card(manifest: dict[str, Any]) -> str:
    """Write README.md of a converted folder: contents, origin, licences and hashes."""
    rows = "\n".join(
        f"| `{part['file']}` | {part['parameters']:,} | {', '.join(part['dtypes'])} | `{part['sha256']}` |"
        for part in manifest["parts"].values()
    )
    published = all(manifest["parts"][name]["parameters"] == count for name, count in PUBLISHED_PARAMETERS.items())
    size = (
        "The parameter counts are the published model's."
        if published
        else "The parameter counts are **not** the published model's: this is a reduced or random model."
    )
    return f"""---
license: other
library_name: relight-live
tags: [portrait-relighting, video-diffusion]
base_model: stabilityai/stable-video-diffusion-img2vid-xt
---
# LCVD weights, converted by relight-live

Lighting-controllable video diffusion for portraits: *High-Fidelity Relightable Monocular Portrait Animation with
Lighting-Controllable Video Diffusion Model*, Guo, Xing, Liu, CVPR 2025, arXiv 2502.19894. {size}

Use: `relight video CLIP -o OUT.mp4 --engine lcvd --weights THIS_FOLDER`. Check: `relight weights verify THIS_FOLDER`.

| file | parameters | dtype | SHA-256 |
|---|---|---|---|
{rows}

{steps_note(manifest)}

`{MANIFEST}` holds each network's configuration; tensor names are those of diffusers, transformers and
`lcvd.networks.adapters`.

## Origin and licences
- `unet`, `adapters`: MartinGuo/Relightable-Portrait-Animation, trained from Stable Video Diffusion.
- `image_encoder`, `temporal_vae` and the configuration: stabilityai/stable-video-diffusion-img2vid-xt, under
  Stability AI's licence, which restricts commercial use and binds derived weights.
- `vae`: stabilityai/sd-vae-ft-mse (MIT). `tiny_vae`, where it is listed: madebyollin/taesd (MIT).
- The model was trained with hints from DECA and FLAME, whose licences allow research use only; their files are not
  part of this folder.

## Intended use and limits
Relighting the face of a consenting person in a video. Trained on 512 x 512 crops of single frontal to half-profile
faces (CelebV-HQ, VFHQ); other sizes, several faces and occlusions are outside of that. Results are synthetic: say so.
"""
