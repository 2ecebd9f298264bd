"""Plans run by onnxruntime: on the CPU everywhere, on a GPU where its CUDA provider is installed.

The plan is the exported ONNX file itself. Tensors are bound by address, so that on a GPU they stay there.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.backends.networks import Network
from engine.backends.runtime import Runner, Say
from engine.errors import EngineUnavailable

FILE = "plan.onnx"
# onnx.TensorProto's numbers: onnxruntime asks for them where numpy has no such type.
_ELEMENT = {torch.float32: 1, torch.float16: 10, torch.bfloat16: 16}
_TORCH = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(bfloat16)": torch.bfloat16}


class OnnxRuntime:
    """Runtime (protocol)."""

    name = "onnx"
    precisions: tuple[str, ...] = ("fp32", "fp16", "fp8")  # the CPU provider has no bf16 convolution
    takes_onnx = True

    def __init__(self, device: torch.device) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise EngineUnavailable(
                "backend onnx needs onnxruntime", "pip install onnxruntime (onnxruntime-gpu on a GPU)"
            ) from None
        self._ort: Any = onnxruntime
        self._device = device
        cuda = device.type == "cuda"
        if cuda and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise EngineUnavailable(
                "backend onnx: this onnxruntime has no CUDA provider",
                "pip uninstall onnxruntime && pip install onnxruntime-gpu",
            )
        self._provider: Any = "CPUExecutionProvider"
        if cuda:
            # torch's stream, so that neither has to wait for the other
            stream = str(torch.cuda.current_stream(device).cuda_stream)
            self._provider = (
                "CUDAExecutionProvider",
                {"device_id": device.index or 0, "user_compute_stream": stream, "do_copy_in_default_stream": "1"},
            )

    def version(self) -> str:
        """onnxruntime's version and the provider that runs."""
        provider = self._provider if isinstance(self._provider, str) else self._provider[0]
        return f"{self._ort.__version__} {provider}"

    def build(self, network: Network, module: nn.Module, onnx_file: Path | None, folder: Path, say: Say) -> None:
        """A copy of the ONNX file and its weights."""
        assert onnx_file is not None
        for path in sorted(onnx_file.parent.glob(f"{onnx_file.name}*")):
            # Not a hard link: onnx takes weights that have two names for an attack.
            shutil.copyfile(path, folder / path.name)

    def load(self, folder: Path, output: str) -> Runner:
        """A session, its output bound to one buffer."""
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        if b"QuantizeLinear" in (folder / FILE).read_bytes():
            # FP8: the optimisations of onnxruntime 1.32 give wrong numbers (extended in fp32, basic in fp16).
            options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = self._ort.InferenceSession(str(folder / FILE), options, providers=[self._provider])
        # Its exceptions have no public common parent but this one.
        except RuntimeError as error:
            raise EngineUnavailable(f"backend onnx cannot load {folder.name}: {error}", "build it again") from error
        return _Session(session, output, self._device)


class _Session:
    def __init__(self, session: Any, output: str, device: torch.device) -> None:
        self._session, self._name, self._device = session, output, device
        self._inputs = [(each.name, _TORCH[each.type]) for each in session.get_inputs()]
        (made,) = session.get_outputs()
        self._output = torch.empty(tuple(made.shape), dtype=_TORCH[made.type], device=device)
        self._binding = session.io_binding()
        self._bind("output", output, self._output)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        held = [(name, inputs[name].to(self._device, dtype).contiguous()) for name, dtype in self._inputs]
        for name, value in held:
            self._bind("input", name, value)
        self._session.run_with_iobinding(self._binding)
        return self._output

    def _bind(self, way: str, name: str, value: Tensor) -> None:
        bind = getattr(self._binding, f"bind_{way}")
        place = self._device
        bind(name, place.type, place.index or 0, _ELEMENT[value.dtype], tuple(value.shape), value.data_ptr())
