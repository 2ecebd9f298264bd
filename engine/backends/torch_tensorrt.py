"""Plans run by torch-tensorrt: torch.export → TensorRT subgraphs, and torch for what TensorRT does not take.

Explicit typing: the precision is the model's own. FP8 is built by backend tensorrt, whose Q/DQ pairs come from ONNX.
Written to the documented API of torch_tensorrt 2.13; no GPU was at hand when it was written (docs/engine_build.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.backends.networks import Network
from engine.backends.runtime import Runner, Say
from engine.errors import EngineUnavailable

FILE = "plan.ep"


class TorchTensorRTRuntime:
    """Runtime (protocol)."""

    name = "torch-tensorrt"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    takes_onnx = False

    def __init__(self, device: torch.device) -> None:
        try:
            import tensorrt
            import torch_tensorrt
        except ImportError as error:
            raise EngineUnavailable(
                f"backend torch-tensorrt: {error}", "pip install -e '.[tensorrt]' on a GPU machine"
            ) from None
        self._torch_tensorrt: Any = torch_tensorrt
        self._tensorrt_version = str(tensorrt.__version__)
        self._device = device

    def version(self) -> str:
        """The versions of torch-tensorrt and of the TensorRT below it."""
        return f"{self._torch_tensorrt.__version__} on {self._tensorrt_version}"

    def build(self, network: Network, module: nn.Module, onnx_file: Path | None, folder: Path, say: Say) -> None:
        """Export, compile, save as an ExportedProgram that carries its engines."""
        inputs = [value.to(self._device) for value in network.cases()[0].values()]
        with torch.no_grad():
            program = torch.export.export(module.eval(), tuple(inputs))
        say("build", None)
        compiled = self._torch_tensorrt.dynamo.compile(
            program, arg_inputs=inputs, use_explicit_typing=True, disable_tf32=True
        )
        self._torch_tensorrt.save(compiled, str(folder / FILE), output_format="exported_program", arg_inputs=inputs)

    def load(self, folder: Path, output: str) -> Runner:
        """The saved program; importing torch_tensorrt has registered the operator its engines run by."""
        module = torch.export.load(str(folder / FILE)).module()

        def run(inputs: Mapping[str, Tensor]) -> Tensor:
            made = module(*inputs.values())
            result: Tensor = made[0] if isinstance(made, tuple | list) else made
            return result

        return run
