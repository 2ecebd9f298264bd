"""engine.backends.build: what is built, skipped, resumed and refused. Runtimes are stand-ins: nothing is exported."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.build import TOLERANCES, BuildRequest, build_command, build_plans, verified, verify_again  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.backends.networks import LEVELS, unet_network  # noqa: E402
from engine.backends.planned import PlannedBackend  # noqa: E402
from engine.backends.plans import PlanMissing, PlanRefused, PlanStore  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from tests.engine.backends.tiny_plans import FRAMES, SIZE, tiny_model  # noqa: E402

REQUEST = BuildRequest(SIZE, FRAMES, (2,), 1, "fp32")


class Echo:
    """A runtime whose plan is the network itself, as it was, or spoilt on purpose."""

    name = "echo"
    precisions = ("fp32", "fp8")
    takes_onnx = False

    def __init__(self, spoil=lambda value: value, version="1") -> None:
        self.spoil, self._version = spoil, version
        self.built: list[str] = []
        self._modules: dict[str, torch.nn.Module] = {}

    def version(self) -> str:
        return self._version

    def build(self, network, module, onnx_file, folder: Path, say) -> None:
        assert onnx_file is None
        self.built.append(network.name)
        self._modules[network.name] = module
        (folder / "plan.echo").write_text(network.name)

    def load(self, folder: Path, output: str):
        module = self._modules[(folder / "plan.echo").read_text()]
        return lambda inputs: self.spoil(module(*inputs.values()))


def test_finished_plans_are_skipped(tmp_path) -> None:
    """The second run builds nothing; a plan that is gone is built again, alone."""
    runtime, store, told = Echo(), PlanStore(tmp_path), []
    plans = build_plans(tiny_model(), runtime, store, REQUEST)
    assert runtime.built == ["shading", "decoder", "unet"]
    assert all(plan.verification.cosine > 0.999999 and plan.verification.max_error < 1e-5 for plan in plans)
    again = build_plans(tiny_model(), runtime, store, REQUEST, lambda *args: told.append(args))
    assert again == plans
    assert runtime.built == ["shading", "decoder", "unet"]
    assert told == [(plan.key.stem, "kept", None) for plan in plans]
    store.remove(plans[1].folder)
    build_plans(tiny_model(), runtime, store, REQUEST)
    assert runtime.built == ["shading", "decoder", "unet", "decoder"]


def test_a_shape_more_builds_only_that(tmp_path) -> None:
    """Decoder and adapter are shared by every batch."""
    runtime, store = Echo(), PlanStore(tmp_path)
    build_plans(tiny_model(), runtime, store, REQUEST)
    build_plans(tiny_model(), runtime, store, replace(REQUEST, branches=(1, 2)))
    assert runtime.built == ["shading", "decoder", "unet", "unet"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value * 1.01,
        lambda value: value + 0.05 * value.abs().max(),
        lambda value: value.flip(0),
        lambda value: value * float("nan"),
        lambda value: torch.zeros_like(value),
    ],
    ids=["scaled", "shifted", "rows swapped", "nan", "nothing"],
)
def test_a_wrong_plan_is_refused(tmp_path, spoil) -> None:
    """It is not in the cache afterwards, and the words carry the numbers."""
    store, told = PlanStore(tmp_path), []
    with pytest.raises(PlanRefused, match=r"shading-.* differs too much from eager .*cosine .* max error"):
        build_plans(tiny_model(), Echo(spoil), store, REQUEST, lambda *args: told.append(args[1]))
    assert store.folders() == []
    assert told[-1] == "refused"


def test_a_new_version_of_the_runtime_builds_anew(tmp_path) -> None:
    """Plans of both versions stand side by side."""
    store = PlanStore(tmp_path)
    build_plans(tiny_model(), Echo(), store, REQUEST)
    newer = Echo(version="2")
    build_plans(tiny_model(), newer, store, REQUEST)
    assert newer.built == ["shading", "decoder", "unet"]
    assert len(store.plans()) == 6


def test_verification_reports_the_worst_window() -> None:
    """Cosine and largest error over all noise levels, one of which is spoilt."""
    network = unet_network(tiny_model(), 1, FRAMES, SIZE)
    with torch.inference_mode():
        eager = [network.module(*case.values()) for case in network.cases()]
    answers = [value.clone() for value in eager]
    answers[1][0, 3, 2, 1, 0] += 0.5
    queue = iter(answers)
    seen = verified(network, lambda _case: next(queue), "fp32")
    assert len(answers) == len(LEVELS) == 3
    assert seen.max_error == pytest.approx(0.5, abs=1e-5)
    assert seen.peak == pytest.approx(max(float(value.abs().max()) for value in eager))
    a, b = answers[1].flatten().double(), eager[1].flatten().double()
    assert seen.cosine == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-9)
    assert not seen.passed


def test_windows_of_verification_are_what_a_backend_is_given() -> None:
    """Both branches, every level, finite, the same each time."""
    network = unet_network(tiny_model(), 2, FRAMES, SIZE)
    first, second = network.cases(), network.cases()
    assert [tuple(value.shape) for value in first[0].values()] == [shape for _, shape in network.shapes]
    assert list(first[0]) == [name for name, _ in network.shapes]
    for sigma, a, b in zip(LEVELS, first, second, strict=True):
        torch.testing.assert_close(a["c_noise"], torch.full((2, FRAMES), 0.25 * float(torch.tensor(sigma).log())))
        assert a["clip"][0].abs().max() == 0  # c1 hears no CLIP
        assert a["clip"][1].abs().max() > 0
        for name in a:
            assert torch.equal(a[name], b[name])
            assert torch.isfinite(a[name]).all()
            assert not a[name].is_inference()


def test_verify_again_finds_what_has_changed(tmp_path) -> None:
    """A runtime that computes something else by now does not pass, though its plans once did."""
    runtime, store = Echo(), PlanStore(tmp_path)
    build_plans(tiny_model(), runtime, store, REQUEST)
    assert all(plan.verification.passed for plan in verify_again(tiny_model(), runtime, store, REQUEST))
    runtime.spoil = lambda value: value * 0.9
    assert not any(plan.verification.passed for plan in verify_again(tiny_model(), runtime, store, REQUEST))
    with pytest.raises(PlanMissing):
        list(verify_again(tiny_model(), Echo(), PlanStore(tmp_path / "none"), REQUEST))


def test_fp8_hands_the_runtime_a_quantised_unet(tmp_path) -> None:
    """Of the UNet, not of the decoder; it passes fp8's tolerance and would not pass fp32's."""
    runtime = Echo()
    *rest, unet = build_plans(tiny_model(), runtime, PlanStore(tmp_path), replace(REQUEST, precision="fp8"))
    assert [plan.key.precision for plan in rest] == ["fp32", "fp32"]
    assert unet.key.stem == "unet-2x16x8x8x8-fp8-fp32-echo"
    assert TOLERANCES["fp8"][0] <= unet.verification.cosine < TOLERANCES["fp32"][0]


def test_a_planned_backend_loads_only_what_fits(tmp_path) -> None:
    """It says which command builds the plans, and builds them itself where it may."""
    runtime, store = Echo(), PlanStore(tmp_path)
    with pytest.raises(PlanMissing) as caught:
        PlannedBackend(tiny_model(), runtime, store).warmup(SIZE, FRAMES, (2,), (1,))
    assert caught.value.hint == build_command("echo", "fp32", SIZE, (2,), 1, "NAME")
    PlannedBackend(tiny_model(), runtime, store, rebuild=True).warmup(SIZE, FRAMES, (2,), (1,))
    assert runtime.built == ["shading", "decoder", "unet"]
    PlannedBackend(tiny_model(), runtime, store).warmup(SIZE, FRAMES, (2,), (1,))


def test_each_decoder_has_a_plan_of_its_own(tmp_path) -> None:
    """decoder="tiny" decodes with TAESD's plan and not with the image VAE's, and names the command that builds it."""
    write_tiny(tmp_path / "tiny", taesd=True)
    image, tiny = (load_lcvd(tmp_path / "tiny", decoder=name) for name in ("image", "tiny"))
    runtime, store = Echo(), PlanStore(tmp_path / "plans")
    build_plans(image, runtime, store, REQUEST)
    with pytest.raises(PlanMissing, match="decoder-tiny-") as caught:
        PlannedBackend(tiny, runtime, store).warmup(SIZE, FRAMES, (2,), (1,))
    assert caught.value.hint.endswith("--batch 1 --decoder tiny")
    build_plans(tiny, runtime, store, REQUEST)
    assert runtime.built == ["shading", "decoder", "unet", "decoder-tiny"]
    latents = torch.randn(2, 4, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        planned, eager = (
            [make(model).decode(latents).astype(int) for model in (image, tiny)]
            for make in (lambda model: PlannedBackend(model, runtime, store), EagerBackend)
        )
    for got, expected in zip(planned, eager, strict=True):
        assert abs(got - expected).max() <= 1
    assert abs(eager[0] - eager[1]).mean() > 5


def test_interrupted_between_two_plans_the_next_run_goes_on(tmp_path) -> None:
    """Stopped while the second plan is being built: the first stays, the second starts again (kill: test_plans)."""

    class Stopped(Echo):
        def build(self, network, *rest) -> None:
            super().build(network, *rest)
            if network.name == "decoder":
                raise KeyboardInterrupt

    store = PlanStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_plans(tiny_model(), Stopped(), store, REQUEST)
    assert [plan.key.module for plan in store.plans()] == ["shading"]
    runtime = Echo()
    build_plans(tiny_model(), runtime, store, REQUEST)
    assert runtime.built == ["decoder", "unet"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".draft-")] == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 500}, "size=500"),
        ({"branches": ()}, "branches="),
        ({"branches": (3,)}, "branches="),
        ({"batch": 0}, "batch=0"),
        ({"precision": "int8"}, "precision='int8'"),
    ],
)
def test_a_request_names_what_is_wrong(wrong, words: str) -> None:
    """Field, value, and what would be right."""
    with pytest.raises(ValueError, match=words):
        BuildRequest(**wrong)


def test_rows_are_branches_times_windows() -> None:
    """Each batch size once."""
    assert BuildRequest(branches=(1, 2), batch=3).rows == [1, 2, 3, 4, 6]
    assert BuildRequest(branches=(2,), batch=2).rows == [2, 4]


def test_a_precision_that_is_not_to_be_had_is_told(tmp_path) -> None:
    """The model is in another one."""
    with pytest.raises(EngineUnavailable, match="precision fp16: backend echo with a model in fp32"):
        build_plans(tiny_model(), Echo(), PlanStore(tmp_path), replace(REQUEST, precision="fp16"))
