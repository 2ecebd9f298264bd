"""Stands in for NVIDIA's packages: `tensorrt` whose engine runs the ONNX file in onnxruntime, on real addresses.

It keeps TensorRT's rules that our code could break: a version 10 network must be strongly typed, every tensor must be
bound before the enqueue, names, types and shapes are the file's, an engine runs only on the version that built it, the
timing cache is bytes. It shows nothing of kernels, memory, streams or CUDA graphs.
"""

import ctypes
import enum
import pickle
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

NUMPY = {"FLOAT": np.float32, "HALF": np.float16}


class Flag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class Setting(enum.IntEnum):
    TF32 = 0


class Mode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, BF16, INT64 = range(4)


class Logger:
    WARNING = 2

    def __init__(self, level: int = 2) -> None:
        self.level = level


class IProgressMonitor:
    pass


class Definition:
    def __init__(self, typed: bool) -> None:
        self.typed, self.files = typed, {}


class OnnxParser:
    def __init__(self, network: Definition, logger: Logger) -> None:
        self._network, self._errors = network, []

    def parse_from_file(self, path: str) -> bool:
        try:
            onnx.checker.check_model(path)
        except Exception as error:
            self._errors.append(str(error))
            return False
        self._network.files = {each.name: each.read_bytes() for each in Path(path).parent.glob("plan.onnx*")}
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> str:
        return self._errors[index]


class TimingCache:
    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def serialize(self) -> bytes:
        return self.blob + b"t"


class Config:
    def __init__(self) -> None:
        self.flags = {Setting.TF32}
        self.progress_monitor: Any = None
        self._cache: TimingCache | None = None

    def clear_flag(self, flag: Setting) -> None:
        self.flags.discard(flag)

    def create_timing_cache(self, blob: bytes) -> TimingCache | None:
        assert isinstance(blob, bytes)
        return None if blob.startswith(b"of another") else TimingCache(blob)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        assert self._cache is not None
        return self._cache


class Context:
    def __init__(self, engine: "Engine") -> None:
        self._engine, self._addresses = engine, {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in self._engine.tensors or not address:
            return False
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        tensors = self._engine.tensors
        if set(self._addresses) != set(tensors) or not isinstance(stream_handle, int):
            return False
        arrays = {name: self._array(name) for name in tensors}
        inputs = {name: array for name, array in arrays.items() if tensors[name][0] is Mode.INPUT}
        outputs = [name for name in tensors if tensors[name][0] is Mode.OUTPUT]
        for name, value in zip(outputs, self._engine.session.run(outputs, inputs), strict=True):
            arrays[name][...] = value
        return True

    def _array(self, name: str) -> np.ndarray:
        _, dtype, shape = self._engine.tensors[name]
        kind = np.dtype(NUMPY[dtype.name])
        buffer = (ctypes.c_char * (int(np.prod(shape)) * kind.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(buffer, kind).reshape(shape)


class Engine:
    def __init__(self, files: dict[str, bytes]) -> None:
        folder = Path(tempfile.mkdtemp())
        for name, content in files.items():
            (folder / name).write_bytes(content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "plan.onnx"), options)
        types = {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF}
        self.tensors = {
            each.name: (Mode.INPUT, types[each.type], tuple(each.shape)) for each in self.session.get_inputs()
        }
        self.tensors |= {
            each.name: (Mode.OUTPUT, types[each.type], tuple(each.shape)) for each in self.session.get_outputs()
        }

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][2]

    def create_execution_context(self) -> Context:
        return Context(self)


def fake_tensorrt(version: str = "11.0.0", build_fails: bool = False) -> ModuleType:
    """A module to put into sys.modules["tensorrt"]; `.configs` are the configurations it built with."""
    trt: Any = ModuleType("tensorrt")
    major = int(version.split(".")[0])

    class Builder:
        def __init__(self, logger: Logger) -> None:
            pass

        def create_network(self, flags: int = 0) -> Definition:
            return Definition(bool(flags >> int(Flag.STRONGLY_TYPED) & 1) or major >= 11)

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Definition, config: Config) -> bytes | None:
            assert network.typed, "version 10 would choose its own precisions"
            assert network.files, "nothing was parsed"
            trt.configs.append(config)
            if build_fails:
                return None
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, 2)
            for step in range(2):
                monitor.phase_start("Timing", "Building Engine", 5)
                monitor.step_complete("Timing", 0)
                monitor.phase_finish("Timing")
                assert monitor.step_complete("Building Engine", step)
            monitor.phase_finish("Building Engine")
            return pickle.dumps((version, network.files))

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            pass

        def deserialize_cuda_engine(self, blob: bytes) -> Engine | None:
            built_with, files = pickle.loads(blob)
            return Engine(files) if built_with == version else None

    trt.__version__ = version
    trt.configs = []
    for name, value in {
        "Logger": Logger,
        "Builder": Builder,
        "NetworkDefinitionCreationFlag": Flag,
        "OnnxParser": OnnxParser,
        "BuilderFlag": Setting,
        "IProgressMonitor": IProgressMonitor,
        "Runtime": Runtime,
        "TensorIOMode": Mode,
        "DataType": DataType,
    }.items():
        setattr(trt, name, value)
    return trt


def fake_torch_tensorrt() -> ModuleType:
    """A module to put into sys.modules["torch_tensorrt"]: compiling changes nothing, saving is torch.export's."""
    import torch

    module: Any = ModuleType("torch_tensorrt")
    module.__version__ = "2.13.0"
    module.settings = []

    def compile(exported_program: Any, arg_inputs: Any, use_explicit_typing: bool, disable_tf32: bool) -> Any:
        module.settings.append((use_explicit_typing, disable_tf32))
        return exported_program.module()

    def save(compiled: Any, file_path: str, output_format: str, arg_inputs: Any) -> None:
        assert output_format == "exported_program"
        torch.export.save(torch.export.export(compiled, tuple(arg_inputs)), file_path)

    module.dynamo = SimpleNamespace(compile=compile)
    module.save = save
    return module
