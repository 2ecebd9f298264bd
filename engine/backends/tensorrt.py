"""Plans run by TensorRT (10 and 11): ONNX → a strongly typed network → a serialised engine → torch's tensors.

Precision is what the ONNX file says, layer by layer, FP8 as QuantizeLinear/DequantizeLinear pairs; TensorRT 11 knows
no other way. Inputs are copied into buffers the engine is bound to, so that a CUDA graph can be recorded once.
Written to NVIDIA's documented Python API; no GPU was at hand when it was written (docs/engine_build.md).
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.backends.networks import Network
from engine.backends.runtime import Runner, Say
from engine.errors import EngineUnavailable

logger = logging.getLogger(__name__)

FILE = "plan.engine"
TIMINGS = "tensorrt.timings"  # in the runtime's cache: kernels already timed make the next build faster
OLDEST = 10


class TensorRTRuntime:
    """Runtime (protocol)."""

    name = "tensorrt"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "fp8")
    takes_onnx = True

    def __init__(self, device: torch.device, cache: Path, graphs: bool = True) -> None:
        try:
            import tensorrt as trt
        except ImportError:
            raise EngineUnavailable(
                "backend tensorrt needs the package tensorrt", "pip install -e '.[tensorrt]' on a GPU machine"
            ) from None
        if int(trt.__version__.split(".")[0]) < OLDEST:
            raise EngineUnavailable(f"backend tensorrt: version {trt.__version__} is too old", "pip install tensorrt")
        self._trt: Any = trt
        self._device, self._cache, self._graphs = device, cache, graphs
        self._logger = trt.Logger(trt.Logger.WARNING)

    def version(self) -> str:
        """TensorRT's version: an engine runs on the one that built it."""
        return str(self._trt.__version__)

    def build(self, network: Network, module: nn.Module, onnx_file: Path | None, folder: Path, say: Say) -> None:
        """Parse the ONNX file, let TensorRT choose its kernels (minutes at full size), write the engine."""
        trt = self._trt
        assert onnx_file is not None
        builder = trt.Builder(self._logger)
        # Needed by 10; ignored by 11, where it is always so.
        definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(definition, self._logger)
        if not parser.parse_from_file(str(onnx_file)):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise EngineUnavailable(f"TensorRT {trt.__version__} does not take {network.name}: {errors}")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and fp32 is asked for where fp32 is meant
        config.progress_monitor = _monitor(trt, say)
        timings = self._cache / TIMINGS
        known = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
        if known is None or not config.set_timing_cache(known, ignore_mismatch=False):  # of another version or GPU
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        engine = builder.build_serialized_network(definition, config)
        if engine is None:
            raise EngineUnavailable(
                f"TensorRT {trt.__version__} could not build {network.name}",
                "its own log above says why; more free GPU memory often helps",
            )
        (folder / FILE).write_bytes(memoryview(engine))
        partial = self._cache / f".{TIMINGS}"
        partial.write_bytes(memoryview(config.get_timing_cache().serialize()))
        partial.replace(timings)

    def load(self, folder: Path, output: str) -> Runner:
        """The engine on the device, ready to run."""
        runtime = self._trt.Runtime(self._logger)
        engine = runtime.deserialize_cuda_engine((folder / FILE).read_bytes())
        if engine is None:
            raise EngineUnavailable(f"TensorRT cannot load {folder.name}", "build it again: relight engine build")
        return _Engine(self._trt, runtime, engine, output, self._device, self._graphs)


class _Engine:
    """One engine, its context and the buffers it is bound to. One thread."""

    def __init__(self, trt: Any, runtime: Any, engine: Any, output: str, device: torch.device, graphs: bool) -> None:
        self._held = runtime, engine  # a context dies with its engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineUnavailable("TensorRT: no memory for an execution context", "free GPU memory")
        self._output = output
        self._buffers: dict[str, Tensor] = {}
        self._inputs = []
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            shape, dtype = tuple(engine.get_tensor_shape(name)), _torch_dtype(trt, engine.get_tensor_dtype(name))
            self._buffers[name] = torch.zeros(shape, dtype=dtype, device=device)
            if not self._context.set_tensor_address(name, self._buffers[name].data_ptr()):
                raise EngineUnavailable(f"TensorRT: tensor {name} cannot be bound")
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._inputs.append(name)
        self._cuda = device.type == "cuda"
        # Not the default stream: TensorRT would synchronise at every call.
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        self._graph: Any = None
        if self._cuda and graphs:
            self._graph = self._recorded()

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        for name in self._inputs:
            self._buffers[name].copy_(inputs[name])
        if self._stream is None:
            self._run(0)
            return self._buffers[self._output]
        callers = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(callers)
        with torch.cuda.stream(self._stream):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._run(self._stream.cuda_stream)
        callers.wait_stream(self._stream)
        return self._buffers[self._output]

    def _run(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise RuntimeError("TensorRT: the engine could not be enqueued")

    def _recorded(self) -> Any:
        """The call as a CUDA graph; None where this engine cannot be captured."""
        assert self._stream is not None
        with torch.cuda.stream(self._stream):
            self._run(self._stream.cuda_stream)  # the first call allocates, which a capture may not
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._run(self._stream.cuda_stream)
        except RuntimeError as error:
            logger.warning("TensorRT: no CUDA graph, every call is enqueued: %s", error)
            return None
        return graph


def _torch_dtype(trt: Any, dtype: Any) -> torch.dtype:
    known = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16, trt.DataType.BF16: torch.bfloat16}
    if dtype not in known:
        raise EngineUnavailable(f"TensorRT: a tensor of type {dtype} was not expected", "build the plan again")
    return known[dtype]


def _monitor(trt: Any, say: Say) -> Any:
    """TensorRT's progress, told in our words."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._outermost: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            if parent_phase is None:
                self._outermost = phase_name

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._outermost:
                say("build", (step + 1) / max(self._steps[phase_name], 1))
            return True  # False would cancel

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
