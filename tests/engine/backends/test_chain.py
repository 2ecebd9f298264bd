"""engine.backends.chain: what fails is passed over with its reason, at the start and while running."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.build import TOLERANCES  # noqa: E402
from engine.backends.chain import BackendChain, chain_limit_s, chain_names  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.backends.make_backend import make_backend  # noqa: E402
from engine.backends.parity import FP8_TOLERANCE, TOLERANCE, parity  # noqa: E402
from engine.backends.serial_executor import CallTimeout, SerialExecutor  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from lcvd.errors import ShapeError  # noqa: E402
from tests.engine.fakes import until  # noqa: E402

SIZE, FRAMES = 64, 4
SHAPES = (SIZE, FRAMES, (1,), (1,))
LATENTS = torch.zeros(2, 4, SIZE // 8, SIZE // 8)


class Troubled(EagerBackend):
    """A fast backend that misbehaves as told."""

    name = "compiled"

    def __init__(self, model, warmup=None, decode=None, off_by=0.0) -> None:
        super().__init__(model)
        self._at_warmup, self._at_decode, self._off_by = warmup, decode, off_by
        self.threads: set[str] = set()

    def warmup(self, *shapes) -> None:
        self.threads.add(threading.current_thread().name)
        if self._at_warmup:
            self._at_warmup()
        super().warmup(*shapes)

    def denoise(self, requests):
        return [(v1 if v1 is None else v1 * (1 - self._off_by), v2) for v1, v2 in super().denoise(requests)]

    def decode(self, latents):
        self.threads.add(threading.current_thread().name)
        if self._at_decode:
            self._at_decode()
        return super().decode(latents)


def fails(error: Exception, when=lambda: True):
    def trouble() -> None:
        if when():
            raise error

    return trouble


def chain_of(model, troubled, names=("compiled", "eager"), limit_s=60.0, grace_s=60.0) -> BackendChain:
    """A chain whose "compiled" is `troubled`, or the exception that making it raises."""

    def make(name, model):
        if name == "eager":
            return EagerBackend(model)
        if isinstance(troubled, Exception):
            raise troubled
        return troubled

    return BackendChain(model, names, make, dict.fromkeys(names, limit_s), grace_s)


def test_the_first_that_works_runs_in_one_thread(tiny_lcvd) -> None:
    """Warm-up and calls share a thread, because CUDA graphs belong to theirs; the caller may be any."""
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend)
    assert chain.name == ""
    chain.warmup(*SHAPES)
    assert (chain.name, chain.reasons) == ("compiled", [])
    assert (chain.decode(LATENTS) == EagerBackend(tiny_lcvd).decode(LATENTS)).all()
    other = threading.Thread(target=chain.decode, args=(LATENTS,))
    other.start()
    other.join()
    assert backend.threads == {"lcvd-compiled"}
    chain.close()
    until(lambda: "lcvd-compiled" not in {t.name for t in threading.enumerate()})


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (EngineUnavailable("TensorRT is not installed", "pip install tensorrt"), "TensorRT is not installed"),
        (ImportError("No module named 'tensorrt'"), "ImportError No module named"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "OutOfMemoryError CUDA out of memory"),
    ],
)
def test_what_cannot_be_made_is_passed_over(tiny_lcvd, trouble: Exception, words: str) -> None:
    """Not installed, no plan, out of memory: eager runs, and the reason is kept for the participant."""
    for troubled in (trouble, Troubled(tiny_lcvd, warmup=fails(trouble))):
        chain = chain_of(tiny_lcvd, troubled)
        chain.warmup(*SHAPES)
        assert chain.name == "eager"
        assert len(chain.reasons) == 1
        assert chain.reasons[0].startswith(f"compiled: {words}")
        chain.close()


def test_a_warm_up_that_does_not_end_is_left_behind(tiny_lcvd) -> None:
    """At the limit the next backend is tried; what hangs keeps only its thread."""
    gate = threading.Event()
    chain = chain_of(tiny_lcvd, Troubled(tiny_lcvd, warmup=lambda: gate.wait(30)))
    chain._limits_s = {"compiled": 0.05, "eager": 60.0}
    chain.warmup(*SHAPES)
    assert chain.name == "eager"
    assert "did not return within" in chain.reasons[0]
    gate.set()
    chain.close()


def test_wrong_numbers_are_refused(tiny_lcvd) -> None:
    """A backend that differs from eager is not used, with the stage and the figures; rounding is no difference."""
    chain = chain_of(tiny_lcvd, Troubled(tiny_lcvd, off_by=0.5))
    chain.warmup(*SHAPES)
    assert chain.name == "eager"
    assert "its denoiser differs from eager's" in chain.reasons[0]
    chain.close()
    near = chain_of(tiny_lcvd, Troubled(tiny_lcvd, off_by=0.01))
    near.warmup(*SHAPES)
    assert near.name == "compiled"
    near.close()


def test_none_that_works_is_an_error_with_every_reason(tiny_lcvd) -> None:
    """The live core falls back to an engine without networks, and the words say why."""
    chain = chain_of(tiny_lcvd, ImportError("no such thing"), names=("compiled",))
    with pytest.raises(EngineUnavailable, match=r"None of LCVD's backends works here \(compiled: ImportError no such"):
        chain.warmup(*SHAPES)
    with pytest.raises(EngineUnavailable, match="no such thing"):
        chain.decode(LATENTS)


def test_one_failing_call_is_tried_again(tiny_lcvd) -> None:
    """A passing shortage of memory costs nothing but the time."""
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend)
    chain.warmup(*SHAPES)
    left = [1]
    backend._at_decode = fails(torch.OutOfMemoryError("CUDA out of memory"), when=lambda: left and left.pop())
    assert chain.decode(LATENTS).shape == (2, SIZE, SIZE, 3)
    left.append(1)  # not in a row with the first
    assert chain.decode(LATENTS).shape == (2, SIZE, SIZE, 3)
    assert chain.name == "compiled"
    chain.close()


def test_two_failing_calls_in_a_row_bring_the_next_backend(tiny_lcvd) -> None:
    """The very call that failed is answered by the next; who waits sees no error, the reason is kept."""
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend)
    chain.warmup(*SHAPES)
    backend._at_decode = fails(RuntimeError("CUDA error: an illegal memory access was encountered\nmore words"))
    expected = EagerBackend(tiny_lcvd).decode(LATENTS)
    assert (chain.decode(LATENTS) == expected).all()
    assert chain.name == "eager"
    assert chain.reasons == ["compiled: RuntimeError CUDA error: an illegal memory access was encountered"]
    chain.close()


def test_while_the_next_is_being_prepared_calls_say_so(tiny_lcvd) -> None:
    """A next backend that takes long does not block the device thread; once it is ready, calls go through."""
    gate = threading.Event()
    slow = EagerBackend(tiny_lcvd)
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend, grace_s=0.0)
    chain.warmup(*SHAPES)

    def make(name, model):
        gate.wait(30)
        return slow

    chain._make = make
    backend._at_decode = fails(RuntimeError("CUDA error"))
    with pytest.raises(EngineUnavailable, match=r"being prepared \(compiled: RuntimeError CUDA error"):
        chain.decode(LATENTS)
    gate.set()
    until(lambda: chain.name == "eager")
    assert chain.decode(LATENTS).shape == (2, SIZE, SIZE, 3)
    chain.close()


def test_a_call_that_hangs_is_left_behind(tiny_lcvd) -> None:
    """The host gives its caller up and calls again from a new thread: that one gets the next backend."""
    gate = threading.Event()
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend)
    chain.warmup(*SHAPES)
    hanging = threading.Event()

    def hang() -> None:
        hanging.set()
        gate.wait(30)

    backend._at_decode = hang
    stuck = threading.Thread(target=chain.decode, args=(LATENTS,), daemon=True)
    stuck.start()
    assert hanging.wait(10)
    assert chain.decode(LATENTS).shape == (2, SIZE, SIZE, 3)
    assert chain.name == "eager"
    gate.set()
    stuck.join(10)
    chain.close()


def test_bad_input_is_the_callers_fault(tiny_lcvd) -> None:
    """A wrong shape raises at once and costs no backend."""
    chain = chain_of(tiny_lcvd, Troubled(tiny_lcvd))
    chain.warmup(*SHAPES)
    with pytest.raises(ShapeError):
        chain.decode(torch.zeros(2, 5, 8, 8))
    assert chain.name == "compiled"
    chain.close()


def test_the_last_backend_raises_and_stays(tiny_lcvd) -> None:
    """With nothing after it, the error reaches the participant's lane; the next call is tried anew."""
    backend = Troubled(tiny_lcvd)
    chain = chain_of(tiny_lcvd, backend, names=("compiled",))
    chain.warmup(*SHAPES)
    backend._at_decode = fails(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        chain.decode(LATENTS)
    backend._at_decode = None
    assert chain.decode(LATENTS).shape == (2, SIZE, SIZE, 3)
    chain.close()


def test_the_order_is_the_devices() -> None:
    """auto: TensorRT, compiled, eager on CUDA and eager alone on a CPU; whatever is named ends with eager."""
    assert chain_names("auto", "cuda") == ("tensorrt", "compiled", "eager")
    assert chain_names("auto", "cpu") == ("eager",)
    assert chain_names("compiled", "cpu") == ("compiled", "eager")
    assert chain_names("eager", "cuda") == ("eager",)
    with pytest.raises(ValueError, match="auto, eager"):
        chain_names("tensorrt-llm", "cuda")
    assert chain_limit_s(chain_names("auto", "cuda")) > chain_limit_s(("eager",)) > 0


def test_auto_is_a_backend_by_name(tiny_lcvd) -> None:
    """make_backend gives the chain; on a CPU it runs eager."""
    chain = make_backend("auto", tiny_lcvd)
    chain.warmup(*SHAPES)
    assert chain.name == "eager"
    chain.close()  # type: ignore[attr-defined]


def test_agreement_sees_scale_spikes_and_nan() -> None:
    """Equal arrays agree; half the size, one wrong value, and NaN do not; zeros agree with zeros."""
    x = np.random.default_rng(0).standard_normal(1000)
    assert parity("a", x, x).within(TOLERANCE)
    assert parity("a", x * 1.01, x).within(TOLERANCE)
    assert not parity("a", x * 0.5, x).within(TOLERANCE)
    spike = x.copy()
    spike[3] += 5 * np.abs(x).max()
    assert not parity("a", spike, x).within(TOLERANCE)
    assert not parity("a", np.full(1000, np.nan), x).within(TOLERANCE)
    assert parity("a", np.zeros(3), np.zeros(3)).within(TOLERANCE)
    assert not parity("a", np.ones(3), np.zeros(3)).within(TOLERANCE)
    rough = x + 0.25 * np.random.default_rng(1).standard_normal(1000)  # as fp8 rounds
    assert parity("a", rough, x).within(FP8_TOLERANCE)
    assert not parity("a", rough, x).within(TOLERANCE)


def test_fp8_may_stray_as_far_as_its_plan_was_allowed_to() -> None:
    """Else a plan that was verified when it was built would be refused when it is used."""
    assert TOLERANCES["fp8"] == FP8_TOLERANCE


def test_a_thread_of_its_own_tells_its_errors_apart() -> None:
    """A TimeoutError of the function is its own; a call over the limit is CallTimeout; calls run without autograd."""
    thread = SerialExecutor("test")
    assert thread.call(torch.is_inference_mode_enabled)
    with pytest.raises(TimeoutError, match="its own"):
        thread.call(fails(TimeoutError("its own")), limit_s=10)
    gate = threading.Event()
    with pytest.raises(CallTimeout, match="within"):
        thread.call(gate.wait, limit_s=0.01)
    with pytest.raises(CallTimeout, match="earlier"):
        thread.call(int)
    gate.set()
    until(lambda: thread._last.done())
    assert thread.call(int) == 0
    thread.close()


def test_a_closed_thread_answers_at_once() -> None:
    """A call that comes after the close is refused and does not wait for ever; closing twice is no trouble."""
    thread = SerialExecutor("test")
    assert thread.call(int, "7") == 7
    thread.close()
    thread.close()
    with pytest.raises(CallTimeout, match="closed"):
        thread.call(int, "8")
