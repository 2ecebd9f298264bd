"""LCVD's weights: a folder becomes checked networks. Two layouts, one loader.

published: `unet.pth`, `{light,ref,head}_embedder.pth` (or one accelerate checkpoint with the prefixes
`denoising_unet.` `light_embedder.` …) beside an SVD folder with `unet/config.json`, `image_encoder/`,
`feature_extractor/`, `sd-vae-ft-mse/` and perhaps `vae/`; perhaps `taesd/`. converted: `lcvd.json` and a safetensors
file for each part.
Every name and shape is compared with the network built from its configuration; `lcvd.weights.file` reads the files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lcvd.errors import WeightsError
from lcvd.networks.adapters import PUBLISHED_NAME, Adapters
from lcvd.networks.image_encoder import MEAN, STD
from lcvd.networks.unet import unet_from_config
from lcvd.weights.file import read_tensors, sha256_of
from lcvd.weights.location import MANIFEST, weights_folder, weights_home

PartName = Literal["unet", "adapters", "vae", "image_encoder", "temporal_vae", "tiny_vae"]
REQUIRED: tuple[PartName, ...] = ("unet", "adapters", "vae", "image_encoder")
OPTIONAL: tuple[PartName, ...] = ("temporal_vae", "tiny_vae")
FORMAT, FORMAT_VERSION = "lcvd-safetensors", 1
SVD_FOLDER = "stable-video-diffusion-img2vid-xt"
VAE_FOLDER = "sd-vae-ft-mse"
TAESD_FOLDER = "taesd"  # madebyollin/taesd, a small decoder of the same latents
_SVD_FOLDERS = (SVD_FOLDER, "svd-xt", "svd", ".")
_COMBINED = ("model.safetensors", "pytorch_model.bin", "checkpoint.safetensors", "checkpoint.pth", "model.pth")
_CLIP_FILES = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin")
_VAE_FILES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
)
NAMES_TOLD = 10  # of each kind of difference
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_UNTRAINED = ("vision_model.embeddings.position_ids",)  # older transformers stored it


@dataclass(frozen=True, slots=True)
class TensorFile:
    """One file of a part: which of its keys, and the prefix they get in the network."""

    path: Path
    source: str = ""  # accelerate's prefix; stripped where present
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """A network's configuration and the files that fill it."""

    config: dict[str, Any]
    files: tuple[TensorFile, ...]


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """Files and configurations found in a weights folder; no tensor has been read yet."""

    root: Path
    layout: Literal["published", "converted"]
    parts: dict[PartName, PartFiles]
    preprocess: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def image_normalisation(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return (mean, std) of feature_extractor/preprocessor_config.json."""
        mean, std = (tuple(self.preprocess.get(name, d)) for name, d in (("image_mean", MEAN), ("image_std", STD)))
        if len(mean) != 3 or len(std) != 3:
            raise WeightsError(f"{self.root}: image_mean and image_std must hold 3 numbers each")
        return mean, std

    def identity(self) -> str:
        """A string that changes when any weight file does: hashes where a manifest has them, else sizes and times."""
        if self.manifest:
            return sha256_of(self.root / MANIFEST)
        stats = [
            (file.path.name, file.path.stat().st_size, file.path.stat().st_mtime_ns)
            for part in self.parts.values()
            for file in part.files
        ]
        return repr(sorted(stats))


def find_weights(path: Path | str, svd: Path | None = None, taesd: Path | None = None) -> FoundWeights:
    """Recognise a folder's layout. `path` may be a name (see `weights_folder`); `svd` an SVD folder kept elsewhere,
    `taesd` a folder of diffusers' TAESD.

    Raises WeightsError saying which files were looked for.
    """
    root = weights_folder(path)
    if not root.is_dir():
        raise WeightsError(
            f"weights {str(path)!r}: no such folder, nor a name under {weights_home()}",
            "relight weights fetch, or relight weights tiny DIR for a random model",
        )
    found = _find_converted(root) if (root / MANIFEST).exists() else _find_published(root, svd)
    if taesd is not None:
        found.parts["tiny_vae"] = _component(taesd, _VAE_FILES)
    elif "tiny_vae" not in found.parts and (root / TAESD_FOLDER).is_dir():
        found.parts["tiny_vae"] = _component(root / TAESD_FOLDER, _VAE_FILES)
    return found


def _find_converted(root: Path) -> FoundWeights:
    manifest = read_json(root / MANIFEST)
    if manifest.get("format") != FORMAT or manifest.get("version") != FORMAT_VERSION:
        raise WeightsError(
            f"{root / MANIFEST}: expected format {FORMAT} version {FORMAT_VERSION}, "
            f"got {manifest.get('format')} version {manifest.get('version')}",
            "convert the published weights again: relight weights convert SRC DST",
        )
    parts: dict[PartName, PartFiles] = {}
    listed = manifest.get("parts")
    for name in (*REQUIRED, *OPTIONAL):
        entry = listed.get(name) if isinstance(listed, dict) else None
        if entry is None:
            continue
        if not (
            isinstance(entry, dict)
            and isinstance(entry.get("config"), dict)
            and isinstance(file := entry.get("file"), str)
            and Path(file).name
        ):
            raise WeightsError(f"{root / MANIFEST}: part {name} lacks its file or config", "convert the weights again")
        # A bare name only: a manifest from a stranger must not point outside its folder.
        parts[name] = PartFiles(entry["config"], (TensorFile(root / Path(file).name),))
    missing = [name for name in REQUIRED if name not in parts]
    if missing:
        raise WeightsError(f"{root / MANIFEST}: parts missing: {', '.join(missing)}", "relight weights convert SRC DST")
    return FoundWeights(root, "converted", parts, manifest.get("preprocess", {}), manifest)


def _find_published(root: Path, svd: Path | None) -> FoundWeights:
    places = [svd] if svd is not None else [root / name for name in _SVD_FOLDERS] + [root.parent / SVD_FOLDER]
    found = next((place for place in places if (place / "unet" / "config.json").is_file()), None)
    if found is None:
        raise WeightsError(
            f"{root}: no SVD folder; looked for unet/config.json in {', '.join(str(place) for place in places)}",
            "relight weights fetch, or name it with --svd",
        )
    unet_config = read_json(found / "unet" / "config.json")
    combined = None if (root / "unet.pth").exists() else _first(root, _COMBINED)
    if combined is None:
        unet_file = TensorFile(root / "unet.pth", "denoising_unet.")
        adapter_files = tuple(
            TensorFile(_adapter_file(root, name), f"{name}_embedder.", f"{name}.") for name in PUBLISHED_NAME.values()
        )
    else:
        unet_file = TensorFile(combined, "denoising_unet.")
        adapter_files = tuple(TensorFile(combined, f"{name}_embedder.", f"{name}.") for name in PUBLISHED_NAME.values())
    channels = unet_config.get("block_out_channels", [320])[0]
    vae = next((place for place in (found / VAE_FOLDER, root / VAE_FOLDER) if place.is_dir()), found / VAE_FOLDER)
    parts: dict[PartName, PartFiles] = {
        "unet": PartFiles(unet_config, (unet_file,)),
        "adapters": PartFiles({"out_channels": channels}, adapter_files),
        "vae": _component(vae, _VAE_FILES),
        "image_encoder": _component(found / "image_encoder", _CLIP_FILES),
    }
    if _first(found / "vae", _VAE_FILES) is not None:
        parts["temporal_vae"] = _component(found / "vae", _VAE_FILES)
    preprocess = found / "feature_extractor" / "preprocessor_config.json"
    return FoundWeights(root, "published", parts, read_json(preprocess) if preprocess.exists() else {})


def _adapter_file(root: Path, name: str) -> Path:
    # Some copies of the release call the reference adapter by its training name.
    older = root / "app_embedder.pth"
    path = root / f"{name}_embedder.pth"
    return older if name == "ref" and not path.exists() and older.exists() else path


def _component(folder: Path, names: tuple[str, ...]) -> PartFiles:
    file = _first(folder, names)
    if file is None:
        raise WeightsError(f"{folder}: none of {', '.join(names)} is there", "relight weights fetch")
    return PartFiles(read_json(folder / "config.json"), (TensorFile(file),))


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises WeightsError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file", "relight weights fetch") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error})", "fetch or copy the file again") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: holds a {type(value).__name__}, not an object", "fetch or copy the file again")
    return value


def build_part(name: PartName, config: Mapping[str, Any]) -> nn.Module:
    """The untrained network of a part whose state dict has the published names. Cheap under `torch.device("meta")`."""
    try:
        if name == "unet":
            return unet_from_config(config).svd
        if name == "adapters":
            return Adapters(int(config["out_channels"]))
        if name == "vae":
            from diffusers import AutoencoderKL

            return AutoencoderKL.from_config(dict(config))
        if name == "temporal_vae":
            from diffusers import AutoencoderKLTemporalDecoder

            return AutoencoderKLTemporalDecoder.from_config(dict(config))
        if name == "tiny_vae":
            from diffusers import AutoencoderTiny

            return AutoencoderTiny.from_config(dict(config))
        if name == "image_encoder":
            from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

            return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(dict(config)))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{name}: its config.json does not describe such a network ({error})") from error
    raise ValueError(f"part: unknown name {name!r}; use {', '.join((*REQUIRED, *OPTIONAL))}")


def read_part(found: FoundWeights, name: PartName) -> dict[str, Tensor]:
    """Read all tensors of a part under the network's own names; nothing is checked yet."""
    tensors: dict[str, Tensor] = {}
    for file in found.parts[name].files:
        raw = {_without_wrappers(key): value for key, value in read_tensors(file.path).items()}
        if file.source and any(key.startswith(file.source) for key in raw):
            raw = {key[len(file.source) :]: value for key, value in raw.items() if key.startswith(file.source)}
        tensors |= {file.prefix + key: value for key, value in raw.items() if key not in _UNTRAINED}
    if name in ("vae", "temporal_vae"):
        tensors = {_new_attention(key): _flat_attention(key, value) for key, value in tensors.items()}
    return tensors


def _without_wrappers(key: str) -> str:
    for wrapper in ("module.", "_orig_mod."):
        key = key.removeprefix(wrapper)
    return key


def _new_attention(key: str) -> str:
    if ".attentions." in key:
        for old, new in OLD_ATTENTION.items():
            key = key.replace(old, new)
    return key


def _flat_attention(key: str, value: Tensor) -> Tensor:
    # The oldest checkpoints kept attention's projections as 1x1 convolutions.
    return value[:, :, 0, 0] if ".attentions." in key and value.ndim == 4 else value


def check_part(found: FoundWeights, name: PartName, tensors: Mapping[str, Tensor]) -> None:
    """Compare names and shapes with the network's. Raises WeightsError naming ten of each difference."""
    with torch.device("meta"):
        wanted = {
            key: tuple(value.shape) for key, value in build_part(name, found.parts[name].config).state_dict().items()
        }
    groups = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "extra": sorted(tensors.keys() - wanted.keys()),
        "mis-shaped": [
            f"{key} (expected {list(shape)}, got {list(tensors[key].shape)})"
            for key, shape in wanted.items()
            if key in tensors and tuple(tensors[key].shape) != shape
        ],
        "not floating point": sorted(
            key for key in wanted.keys() & tensors.keys() if not tensors[key].is_floating_point()
        ),
    }
    wrong = [f"{len(keys)} {label}: {few(keys)}" for label, keys in groups.items() if keys]
    if wrong:
        files = ", ".join(sorted({str(file.path) for file in found.parts[name].files}))
        raise WeightsError(
            f"{name} ({files}): {'; '.join(wrong)}", "these are not LCVD's weights for this configuration"
        )


def few(keys: list[str]) -> str:
    """The first names of a list that may be hundreds long."""
    more = len(keys) - NAMES_TOLD
    return ", ".join(keys[:NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")


def load_part(found: FoundWeights, name: PartName, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a part as a frozen network in eval mode (`FeatureUNet` for the UNet). Raises WeightsError."""
    tensors = read_part(found, name)
    check_part(found, name, tensors)
    with torch.device("meta"):
        network: Any = build_part(name, found.parts[name].config)
    # A copy: a network on top of a mapped file dies with the file.
    placed = {key: value.to(device=device, dtype=dtype, copy=True) for key, value in tensors.items()}
    network.load_state_dict(placed, strict=True, assign=True)
    if name == "image_encoder":
        embeddings: Any = network.get_submodule("vision_model.embeddings")
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1], device=device)[None]
    left = [key for key, value in [*network.named_parameters(), *network.named_buffers()] if value.is_meta]
    assert not left, f"{name}: {left} have no values"
    network.eval().requires_grad_(False)
    if name == "unet":
        from lcvd.networks.unet import FeatureUNet

        return FeatureUNet(network)
    return network
