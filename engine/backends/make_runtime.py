"""The one place that knows every Runtime; each is imported where it is chosen."""

from pathlib import Path

import torch

from engine.backends.runtime import Runtime

RUNTIMES = ("onnx", "tensorrt", "torch-tensorrt")


def make_runtime(name: str, device: torch.device, cache: Path) -> Runtime:
    """The runtime called `name`, with a folder for notes of its own. ValueError names the legal ones."""
    if name == "onnx":
        from engine.backends.onnx import OnnxRuntime

        return OnnxRuntime(device)
    if name == "tensorrt":
        from engine.backends.tensorrt import TensorRTRuntime

        return TensorRTRuntime(device, cache)
    if name == "torch-tensorrt":
        from engine.backends.torch_tensorrt import TorchTensorRTRuntime

        return TorchTensorRTRuntime(device)
    raise ValueError(f"backend={name!r} builds no plans; choose one of {', '.join(RUNTIMES)}")
