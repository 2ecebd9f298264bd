"""engine.backends.onnx, onnx_export, planned, fp8: the tiny model in onnxruntime on the CPU against eager."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
pytest.importorskip("onnx", reason="pip install onnx==1.22.0")
pytest.importorskip("onnxscript", reason="pip install onnxscript")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from dataclasses import replace  # noqa: E402

from torch import nn  # noqa: E402

from engine.backends.build import key_of  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.backends.fp8 import Fp8Layer, fp8_network  # noqa: E402
from engine.backends.make_backend import make_backend  # noqa: E402
from engine.backends.make_runtime import make_runtime  # noqa: E402
from engine.backends.networks import Network, decoder_network, shading_network, unet_network  # noqa: E402
from engine.backends.onnx import FILE, OnnxRuntime  # noqa: E402
from engine.backends.onnx_export import export_onnx  # noqa: E402
from engine.backends.options import PlanOptions  # noqa: E402
from engine.backends.plans import PlanMismatch, PlanMissing  # noqa: E402
from engine.backends.runtime import plan_key  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from engine.protocols import DenoiseRequest  # noqa: E402
from tests.engine.backends.tiny_plans import FRAMES, SIZE, tiny_model, tiny_store  # noqa: E402

CPU = torch.device("cpu")
RNG = np.random.default_rng(5)
PORTRAIT = RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
HINTS = RNG.integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A copy of the plans; nothing in this module changes it."""
    return tiny_store(tmp_path_factory.mktemp("onnx") / "plans")


def results(backend, branches, sigma, requests=1):
    generator = torch.Generator().manual_seed(9)
    picture = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    x = torch.randn(FRAMES, 4, SIZE // 8, SIZE // 8, generator=generator)
    with torch.inference_mode():
        reference = backend.encode(PORTRAIT, np.ones((SIZE, SIZE), np.float32), picture)
        features = backend.features(HINTS)
        predicted = backend.denoise(
            [DenoiseRequest(x + i, sigma, reference, features, branches) for i in range(requests)]
        )
        return features, predicted, backend.decode(x[:5])


@pytest.mark.parametrize("name", ["unet 1", "unet 2", "decoder", "shading"])
def test_onnxruntime_agrees_with_torch(store, name: str) -> None:
    """Each exported network on inputs it was neither traced nor verified with: within 1e-4."""
    model = tiny_model()
    network = {
        "unet 1": lambda: unet_network(model, 1, FRAMES, SIZE),
        "unet 2": lambda: unet_network(model, 2, FRAMES, SIZE),
        "decoder": lambda: decoder_network(model, SIZE),
        "shading": lambda: shading_network(model, SIZE),
    }[name]()
    runtime = OnnxRuntime(CPU)
    run = runtime.load(store.find(key_of(model, runtime, network, "fp32")).folder, network.output)
    generator = torch.Generator().manual_seed(77)
    case = {key: torch.randn(shape, generator=generator) for key, shape in network.shapes}
    with torch.inference_mode():
        expected = network.module(*case.values())
    torch.testing.assert_close(run(case), expected, atol=1e-4, rtol=0)
    assert expected.abs().max() > 0.3


@pytest.mark.parametrize(("branches", "sigma"), [(1, 2.5), (2, 2.5), (2, np.geomspace(0.1, 50, FRAMES))])
def test_the_backend_answers_as_eager_does(store, branches: int, sigma) -> None:
    """Features, both branches, decoded pictures; one level for the window, or one for each frame."""
    backend = make_backend("onnx", tiny_model(), PlanOptions(store.root))
    assert backend.name == "onnx"
    features, predicted, pictures = results(backend, branches, sigma)
    same_features, same_answers, same_pictures = results(EagerBackend(tiny_model()), branches, sigma)
    torch.testing.assert_close(features, same_features, atol=1e-4, rtol=0)
    for (v1, v2), (w1, w2) in zip(predicted, same_answers, strict=True):
        torch.testing.assert_close(v2, w2, atol=1e-4, rtol=0)
        assert (v1 is None) == (branches == 1)
        if v1 is not None:
            torch.testing.assert_close(v1, w1, atol=1e-4, rtol=0)
    assert pictures.shape == (5, SIZE, SIZE, 3)
    assert np.abs(pictures.astype(int) - same_pictures).max() <= 1


def test_answers_outlive_the_next_call(store) -> None:
    """A plan's output buffer is used again; what was handed out stays."""
    backend = make_backend("onnx", tiny_model(), PlanOptions(store.root))
    ((_, first),) = results(backend, 1, 2.5)[1]
    kept = first.clone()
    results(backend, 1, 300.0)
    torch.testing.assert_close(first, kept, atol=0, rtol=0)


def test_two_windows_without_guidance_share_the_plan_of_one_with(store) -> None:
    """Rows are rows: 2 requests of 1 branch are the batch of 1 request of 2."""
    backend = make_backend("onnx", tiny_model(), PlanOptions(store.root))
    predicted = results(backend, 1, 2.5, requests=2)[1]
    for (_, v), (_, w) in zip(predicted, results(EagerBackend(tiny_model()), 1, 2.5, requests=2)[1], strict=True):
        torch.testing.assert_close(v, w, atol=1e-4, rtol=0)


def test_warmup_needs_every_plan_and_names_the_command(store) -> None:
    """A batch no plan was built for: the exact command, with the weights' name."""
    backend = make_backend("onnx", tiny_model(), PlanOptions(store.root, weights="my-weights"))
    backend.warmup(SIZE, FRAMES, (1, 2), (1,))
    with pytest.raises(PlanMissing, match="unet-4x16x8x8x8-fp32-onnx") as caught:
        backend.warmup(SIZE, FRAMES, (1, 2), (1, 2))
    assert caught.value.hint == (
        "relight engine build --weights my-weights --size 64 --backend onnx --precision fp32 --branches 1,2 --batch 2"
    )


def test_plans_of_other_weights_are_refused(store) -> None:
    """Retrained weights: the field that differs is named, and the command."""
    other = replace(tiny_model(), identity="retrained")
    backend = make_backend("onnx", other, PlanOptions(store.root))
    with pytest.raises(PlanMismatch, match=r"weights is .*here it is") as caught:
        backend.warmup(SIZE, FRAMES, (1,), (1,))
    assert caught.value.hint.startswith("relight engine build")


def test_rebuild_repairs_what_does_not_match(tmp_path) -> None:
    """On demand, a damaged plan is built again; the others stay."""
    copy, model = tiny_store(tmp_path / "plans"), tiny_model()
    runtime = make_runtime("onnx", CPU, copy.root)
    shading = key_of(model, runtime, shading_network(model, SIZE), "fp32")
    plan = copy.find(shading)
    (plan.folder / FILE).write_bytes(b"no model")
    kept = copy.find(key_of(model, runtime, unet_network(model, 1, FRAMES, SIZE), "fp32"))
    with pytest.raises(PlanMismatch, match=f"sha256 of {FILE}"):
        make_backend("onnx", model, PlanOptions(copy.root)).warmup(SIZE, FRAMES, (1,), (1,))
    with torch.inference_mode():  # as an engine may call it
        make_backend("onnx", model, PlanOptions(copy.root, rebuild=True)).warmup(SIZE, FRAMES, (1,), (1,))
    assert copy.find(shading).built_at_s > plan.built_at_s
    assert copy.find(kept.key).built_at_s == kept.built_at_s


def test_weights_lie_beside_the_graph(store) -> None:
    """A full UNet is beyond protobuf's 2 GB: its numbers must not be in the graph file."""
    model = tiny_model()
    network = unet_network(model, 1, FRAMES, SIZE)
    plan = store.find(key_of(model, OnnxRuntime(CPU), network, "fp32"))
    numbers = 4 * sum(value.numel() for value in network.module.parameters())
    beside = (plan.folder / f"{FILE}.data").stat().st_size
    assert beside > 0.95 * numbers  # equal tensors are stored once
    import onnx

    graph = onnx.load(plan.folder / FILE, load_external_data=False).graph
    assert "CastLike" not in {node.op_type for node in graph.node}  # TensorRT's parser wants plain casts
    inside = sum(len(each.raw_data) for each in graph.initializer)
    assert inside < 0.02 * numbers


def test_bf16_is_refused_with_words() -> None:
    """onnxruntime has no bf16 convolution on the CPU; nothing is built to find that out."""
    model = replace(tiny_model(), dtype=torch.bfloat16)
    with pytest.raises(EngineUnavailable, match=r"precision bf16: backend onnx .* has fp8"):
        key_of(model, OnnxRuntime(CPU), shading_network(tiny_model(), SIZE), "bf16")


def test_only_the_unet_is_fp8() -> None:
    """Decoder and adapter stay in the model's precision, so fp8 and fp16 engines share them."""
    model = tiny_model()
    keys = [
        plan_key(model, "onnx", "1", each.name, each.shapes, "fp8")
        for each in (unet_network(model, 1, FRAMES, SIZE), decoder_network(model, SIZE))
    ]
    assert [key.precision for key in keys] == ["fp8", "fp32"]


def test_a_missing_onnxruntime_is_told(monkeypatch) -> None:
    """With the pip command."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailable) as caught:
        OnnxRuntime(CPU)
    assert "pip install onnxruntime" in caught.value.hint


class Small(nn.Module):
    """What FP8 quantises, and one layer that it leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv_in = nn.Conv2d(4, 32, 3, padding=1)
        self.conv = nn.Conv2d(32, 32, 3, padding=1, stride=2)
        self.linear = nn.Linear(32, 24, bias=False)

    def forward(self, x):
        return self.linear(self.conv(self.conv_in(x).relu()).flatten(2).transpose(1, 2))


def small_case(seed: int = 1):
    return {"x": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fp8_in_onnx_is_fp8_in_torch(tmp_path, dtype) -> None:
    """QuantizeLinear/DequantizeLinear in onnxruntime round as the torch operators do."""
    module = Small().to(dtype).eval().requires_grad_(False)
    cases = [{"x": small_case(seed)["x"].to(dtype)} for seed in (1, 2)]
    quantised = fp8_network(module, cases)
    network = Network("small", module, (("x", (2, 4, 8, 8)),), "y", lambda: cases)
    export_onnx(network, tmp_path / FILE, quantised)
    run = OnnxRuntime(CPU).load(tmp_path, "y")
    with torch.inference_mode():
        expected, exact = quantised(*cases[0].values()).float(), module(*cases[0].values()).float()
    got = run(cases[0]).float()
    # onnxruntime computes half precision in float32: a value on the edge of two FP8 steps may take the other.
    step = 1e-5 if dtype == torch.float32 else 0.06
    assert (got - expected).abs().max() <= step * expected.abs().max()
    error = (got - exact).abs().max() / exact.abs().max()
    assert 1e-3 < error < 0.1  # rounded, and not wrong


def test_fp8_stores_and_keeps_what_it_says() -> None:
    """Weights are one byte each, conv_in and the original network stay, inputs beyond the scale saturate."""
    module = Small().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    quantised = fp8_network(module, [small_case()])
    assert isinstance(quantised.conv, Fp8Layer)
    assert isinstance(quantised.linear, Fp8Layer)
    assert type(quantised.conv_in) is nn.Conv2d
    assert quantised.conv.weight.dtype == torch.float8_e4m3fn
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    largest = float(quantised.linear.input_scale) * 448
    beyond = torch.full((1, 32), largest * 3)
    inside = torch.full((1, 32), largest)
    torch.testing.assert_close(quantised.linear(beyond), quantised.linear(inside), atol=0, rtol=0)
    assert torch.isfinite(quantised.linear(beyond)).all()
