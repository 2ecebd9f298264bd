"""engine.backends.tensorrt and torch_tensorrt through stand-ins for NVIDIA's packages."""

import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
pytest.importorskip("onnx", reason="pip install onnx==1.22.0")
pytest.importorskip("onnxscript", reason="pip install onnxscript")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from engine.backends.build import BuildRequest, build_plans, key_of, verified  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.backends.make_backend import make_backend  # noqa: E402
from engine.backends.make_runtime import make_runtime  # noqa: E402
from engine.backends.networks import shading_network  # noqa: E402
from engine.backends.options import PlanOptions  # noqa: E402
from engine.backends.plans import PlanMismatch, PlanStore  # noqa: E402
from engine.backends.tensorrt import FILE, TIMINGS, TensorRTRuntime  # noqa: E402
from engine.backends.torch_tensorrt import TorchTensorRTRuntime  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from engine.protocols import DenoiseRequest  # noqa: E402
from tests.engine.backends.fake_tensorrt import Setting, fake_tensorrt, fake_torch_tensorrt  # noqa: E402
from tests.engine.backends.tiny_plans import FRAMES, SIZE, tiny_model, tiny_store  # noqa: E402

CPU = torch.device("cpu")
REQUEST = BuildRequest(SIZE, FRAMES, (1, 2), 1, "fp32")


@pytest.fixture(params=["10.13.3", "11.0.0"])
def trt(request, monkeypatch):
    """NVIDIA's package, as far as our code can tell."""
    module = fake_tensorrt(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


def test_plans_are_built_verified_and_run(trt, tmp_path) -> None:
    """The whole way: ONNX → engine → bound tensors → the same window as eager, with progress on the way."""
    model, store, told = tiny_model(), tiny_store(tmp_path / "plans"), []
    runtime = make_runtime("tensorrt", CPU, store.root)
    plans = build_plans(model, runtime, store, REQUEST, lambda *args: told.append(args))
    assert [plan.key.module for plan in plans] == ["shading", "decoder", "unet", "unet"]
    assert all(plan.verification.passed and plan.verification.cosine > 0.99999 for plan in plans)
    assert {plan.key.runtime_version for plan in plans} == {trt.__version__}
    stem = plans[-1].key.stem
    # Both exports were there already; the inner phase of the build is not told.
    assert [args[1:] for args in told if args[0] == stem] == [
        ("build", None),
        ("build", 0.5),
        ("build", 1.0),
        ("verify", None),
        ("done", None),
    ]
    backend = make_backend("tensorrt", model, PlanOptions(store.root))
    backend.warmup(SIZE, FRAMES, (1, 2), (1,))
    outputs = []
    for each in (backend, EagerBackend(model)):
        with torch.inference_mode():
            reference = each.encode(
                np.full((SIZE, SIZE, 3), 90, np.uint8), np.ones((SIZE, SIZE)), torch.zeros(1, 3, SIZE, SIZE)
            )
            features = each.features(np.full((FRAMES, SIZE, SIZE, 3), 200, np.uint8))
            x = torch.linspace(-2, 2, FRAMES * 4 * 64).reshape(FRAMES, 4, 8, 8)
            outputs.append((each.denoise([DenoiseRequest(x, 4.0, reference, features, 2)])[0], each.decode(x[:3])))
    ((v1, v2), pictures), ((w1, w2), same) = outputs
    torch.testing.assert_close(v1, w1, atol=1e-4, rtol=0)
    torch.testing.assert_close(v2, w2, atol=1e-4, rtol=0)
    assert np.abs(pictures.astype(int) - same).max() <= 1


def test_the_builder_is_asked_for_what_we_mean(trt, tmp_path) -> None:
    """No TF32 behind fp32's back; timings are kept from one build to the next."""
    store = tiny_store(tmp_path / "plans")
    (store.root / TIMINGS).write_bytes(b"of another GPU")  # is not taken, and does not stop the build
    runtime = make_runtime("tensorrt", CPU, store.root)
    build_plans(tiny_model(), runtime, store, BuildRequest(SIZE, FRAMES, (1,), 1, "fp32"))
    assert len(trt.configs) == 3
    assert all(Setting.TF32 not in config.flags for config in trt.configs)
    assert (store.root / TIMINGS).read_bytes() == b"ttt"


def test_another_tensorrt_is_refused(trt, tmp_path, monkeypatch) -> None:
    """An engine of one version is not opened by another; both versions are named."""
    store, model = tiny_store(tmp_path / "plans"), tiny_model()
    build_plans(model, make_runtime("tensorrt", CPU, store.root), store, BuildRequest(SIZE, FRAMES, (1,), 1, "fp32"))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("11.9.0"))
    with pytest.raises(PlanMismatch) as caught:
        make_backend("tensorrt", model, PlanOptions(store.root)).warmup(SIZE, FRAMES, (1,), (1,))
    assert f"runtime_version is '{trt.__version__}', here it is '11.9.0'" in caught.value.message


def test_an_engine_tensorrt_will_not_load_is_told(trt, tmp_path, monkeypatch) -> None:
    """deserialize gives nothing: words, not an AttributeError."""
    store = tiny_store(tmp_path / "plans")
    runtime = make_runtime("tensorrt", CPU, store.root)
    build_plans(tiny_model(), runtime, store, BuildRequest(SIZE, FRAMES, (1,), 1, "fp32"))
    key = key_of(tiny_model(), runtime, shading_network(tiny_model(), SIZE), "fp32")
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("12.0.0"))
    with pytest.raises(EngineUnavailable, match="cannot load"):
        TensorRTRuntime(CPU, tmp_path).load(store.find(key).folder, "features")


def test_a_build_that_fails_leaves_no_plan(tmp_path, monkeypatch) -> None:
    """TensorRT returns nothing: no plan, and the export stays for the next try."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(build_fails=True))
    store = tiny_store(tmp_path / "plans")
    before = store.folders()
    with pytest.raises(EngineUnavailable, match="could not build shading"):
        build_plans(tiny_model(), make_runtime("tensorrt", CPU, store.root), store, REQUEST)
    assert store.folders() == before


def test_a_file_the_parser_does_not_take_is_told(trt, tmp_path) -> None:
    """With the parser's own words."""
    (tmp_path / "plan.onnx").write_bytes(b"\xff no model")
    network = shading_network(tiny_model(), SIZE)
    with pytest.raises(EngineUnavailable, match=r"does not take shading: .+"):
        TensorRTRuntime(CPU, tmp_path).build(
            network, network.module, tmp_path / "plan.onnx", tmp_path, lambda *_args: None
        )
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("name", ["tensorrt", "torch-tensorrt"])
def test_without_nvidias_packages_it_is_told(monkeypatch, tmp_path, name: str) -> None:
    """The pip command, and no traceback of an import."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailable) as caught:
        make_backend(name, tiny_model(), PlanOptions(tmp_path))
    assert "pip install -e '.[tensorrt]'" in caught.value.hint


def test_an_old_tensorrt_is_refused(monkeypatch, tmp_path) -> None:
    """Version 8 has another API."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("8.6.1"))
    with pytest.raises(EngineUnavailable, match=r"8\.6\.1 is too old"):
        TensorRTRuntime(CPU, tmp_path)


def test_torch_tensorrt_compiles_saves_and_loads(monkeypatch, tmp_path) -> None:
    """Explicit typing is asked for; the saved program answers as the module does."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt())
    module = fake_torch_tensorrt()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    runtime = TorchTensorRTRuntime(CPU)
    assert runtime.version() == "2.13.0 on 11.0.0"
    network = shading_network(tiny_model(), SIZE)
    store = PlanStore(tmp_path)
    with store.writing(key_of(tiny_model(), runtime, network, "fp32")) as draft:
        runtime.build(network, network.module, None, draft.folder, lambda *_args: None)
        plan = draft.finish(verified(network, runtime.load(draft.folder, "features"), "fp32"))
    assert module.settings == [(True, True)]
    assert plan.verification.passed
    (case,) = network.cases()
    with torch.inference_mode():
        torch.testing.assert_close(runtime.load(plan.folder, "features")(case), network.module(*case.values()))
    with pytest.raises(EngineUnavailable, match="precision fp8: backend torch-tensorrt"):
        key_of(replace(tiny_model()), runtime, network, "fp8")
