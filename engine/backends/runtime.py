"""Runtimes run plans: one each for onnxruntime, TensorRT and torch-tensorrt."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.backends.networks import Network
from engine.backends.plans import PlanKey
from lcvd.model import DTYPES, LcvdModel

PRECISIONS = ("fp32", "fp16", "bf16", "fp8")

Runner = Callable[[Mapping[str, Tensor]], Tensor]  # inputs by name, of the plan's shapes → output
Say = Callable[[str, float | None], None]  # what is being done, and how much of it where that is known


class Runtime(Protocol):
    """Builds and loads plans on one device. Raises EngineUnavailable where it cannot."""

    name: str
    precisions: tuple[str, ...]
    takes_onnx: bool  # builds from an ONNX file; else from the module

    def version(self) -> str: ...

    def build(self, network: Network, module: nn.Module, onnx_file: Path | None, folder: Path, say: Say) -> None:
        """Put the plan's files into `folder`."""

    def load(self, folder: Path, output: str) -> Runner:
        """Load the plan that computes `output`; a result may be overwritten by the next call."""


def plan_key(
    model: LcvdModel,
    runtime: str,
    runtime_version: str,
    module: str,
    inputs: tuple[tuple[str, tuple[int, ...]], ...],
    precision: str,
) -> PlanKey:
    """The key of a plan for this model on this machine."""
    packages = package_versions()
    return PlanKey(
        module=module,
        inputs=inputs,
        precision=precision if module == "unet" else dtype_word(model.dtype),  # only the UNet is worth FP8
        dtype=dtype_word(model.dtype),
        runtime=runtime,
        weights=weights_digest(model.identity),
        runtime_version=runtime_version,
        arch=arch_of(model.device),
        torch=packages["torch"],
        diffusers=packages["diffusers"],
    )


def weights_digest(identity: str) -> str:
    """LcvdModel.identity as a word of 16 digits."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a network computes or how it is written down."""
    return {name: version(name) for name in ("torch", "diffusers")}


def dtype_word(dtype: torch.dtype) -> str:
    """fp32, fp16 or bf16."""
    return next(word for word, value in DTYPES.items() if value == dtype and word in PRECISIONS)


def arch_of(device: torch.device) -> str:
    """Compute capability and name of a GPU (an engine is tuned to the model, not to its capability); a CPU's ISA."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor} {torch.cuda.get_device_name(device)}"
    return platform.machine()
