"""The staggered mode on a tiny random model: through push, the live worker and beside a window."""

import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.eager import EagerBackend  # noqa: E402
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions, DiffusionStream  # noqa: E402
from engine.diffusion.mean_jump import MeanJump  # noqa: E402
from engine.diffusion.staggered import CHUNK_FRAMES  # noqa: E402
from engine.live.device import DeviceThread  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    CAMERA,
    COST,
    FAST,
    FPS,
    FULL,
    SIZE,
    TurningTracker,
    avatar,
    frame,
    opened,
    pushed,
)
from tests.engine.fakes import change, is_open, live_stream, until  # noqa: E402
from tests.engine.synthetic_person import RIGHT, DrawnMatte  # noqa: E402


class RecordingBackend(EagerBackend):
    """Keeps every call's requests, and how many frames went through the other stages."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.calls: list[list] = []
        self.hinted: list[int] = []
        self.decoded: list[int] = []

    def features(self, hints):
        self.hinted.append(len(hints))
        return super().features(hints)

    def denoise(self, requests):
        self.calls.append(list(requests))
        return super().denoise(requests)

    def decode(self, latents):
        self.decoded.append(len(latents))
        return super().decode(latents)


def engine_of(model, mode="staggered", batch=1) -> tuple[DiffusionEngine, RecordingBackend]:
    made = [RecordingBackend(model)]
    options = DiffusionOptions(SIZE, plan=FAST, mode=mode, batch=batch)
    engine = DiffusionEngine(lambda: made[0], options, TurningTracker, DrawnMatte, measure=lambda backend, size: COST)
    engine.warmup()
    made[0].__init__(model)  # forget the warm-up
    return engine, made[0]


@pytest.mark.parametrize(("steps", "levels"), [(1, 1), (8, 3)])
def test_one_call_a_chunk_and_every_frame_comes_out_once(tiny_lcvd, steps: int, levels: int) -> None:
    """index, t_s and arrival of the driver's frame; as many calls as chunks; only what leaves is decoded."""
    engine, backend = engine_of(tiny_lcvd)
    chunks = levels + 2
    out = pushed(opened(engine, steps=steps), chunks * CHUNK_FRAMES + 3)
    assert [f.index for f in out] == list(range(3 * CHUNK_FRAMES))
    for made in out:
        given = frame(made.index)
        assert made.rgb.shape == (SIZE, SIZE, 3)
        assert (made.t_s, made.arrived_s) == (given.t_s, given.arrived_s)
    assert [len(requests) for requests in backend.calls] == [1] * chunks
    assert backend.hinted == [1, levels * CHUNK_FRAMES, CHUNK_FRAMES, CHUNK_FRAMES]
    assert backend.decoded == [CHUNK_FRAMES] * 3


def test_rows_that_leave_one_by_one_have_no_step_taken_out(tiny_lcvd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whole windows have joins: the staggered mode shows its rows as they were denoised."""
    monkeypatch.setattr(MeanJump, "spread", None)  # a call would fail
    engine, _ = engine_of(tiny_lcvd)
    assert len(pushed(opened(engine, steps=1), 3 * CHUNK_FRAMES)) == 3 * CHUNK_FRAMES


def test_guidance_asks_both_branches(tiny_lcvd) -> None:
    """With ω both branches are predicted in the same one call, and the pictures are others."""
    engine, backend = engine_of(tiny_lcvd, mode="window")
    plain = pushed(opened(engine, mode="staggered", steps=2), 8)
    assert [request.branches for requests in backend.calls for request in requests] == [1, 1]
    engine.options = DiffusionOptions(SIZE)
    guided = pushed(opened(engine, mode="staggered", steps=2, omega=3.0), 8)
    assert [request.branches for requests in backend.calls[2:] for request in requests] == [2, 2]
    assert any((a.rgb != b.rgb).any() for a, b in zip(plain, guided, strict=True))


def test_a_new_light_belongs_to_the_frames_that_enter(tiny_lcvd) -> None:
    """Hints of frames under way keep their light: features differ in the rows of newer frames alone."""
    engine, backend = engine_of(tiny_lcvd)
    pushed(opened(engine, steps=2), 16)
    still, backend.calls = backend.calls, []
    pushed(opened(engine, steps=2), 16, {10: RIGHT})
    differing = set()
    for call, (a, b) in enumerate(zip(still, backend.calls, strict=True)):
        rows = (a[0].features != b[0].features).flatten(1).any(1).nonzero().flatten().tolist()
        newest = max(call, 1) * CHUNK_FRAMES + CHUNK_FRAMES - 1  # the first two calls are the start-up of two chunks
        differing |= {newest - (15 - row) for row in rows}
    assert differing == set(range(10, 16))


def test_live_equals_offline(tiny_lcvd, monkeypatch: pytest.MonkeyPatch) -> None:
    """push and the live worker give the same bytes; what is under way at the end is held, as with windows."""
    engine, _ = engine_of(tiny_lcvd)
    expected = pushed(opened(engine), 22, {6: RIGHT})
    taken: list[int] = []
    prepare = DiffusionStream.prepare
    monkeypatch.setattr(DiffusionStream, "prepare", lambda self, f: (prepare(self, f), taken.append(f.index))[0])
    host = DeviceThread(engine)
    assert host.wait_ready(60)
    stream = live_stream(host, FULL, threading.Event().set, avatar=avatar(), stall_s=60.0)
    out = []

    def collect() -> int:
        while (got := stream.next_output(time.monotonic())[0]) is not None:
            if got.relit:  # until the first chunk the portrait itself may be shown
                out.append(got)
        return len(out)

    try:
        until(lambda: is_open(stream))
        for i in range(22):
            if i == 6:
                change(stream, lighting=RIGHT)
            stream.submit(frame(i, CAMERA).rgb, i / FPS)
            until(lambda n=i: len(taken) > n)
            if i % CHUNK_FRAMES == CHUNK_FRAMES - 1:
                until(lambda n=i: collect() >= n + 1 - CHUNK_FRAMES)
    finally:
        stream.close()
        host.close()
    assert [f.index for f in out] == [f.index for f in expected] == list(range(16))
    for a, b in zip(out, expected, strict=True):
        assert (a.rgb == b.rgb).all()


def test_beside_a_window_each_gets_what_it_gets_alone(tiny_lcvd) -> None:
    """Staggered and windowed streams share calls, one σ beside a σ a row, and nobody's pictures change by it."""
    engine, backend = engine_of(tiny_lcvd, batch=3)
    kinds = ({"mode": "staggered"}, {"mode": "window", "stride": 8}, {"mode": "staggered"})
    alone = [pushed(opened(engine, **kind), 16) for kind in kinds[:2]]
    alone.append(alone[0])
    streams = [opened(engine, **kind) for kind in kinds]
    out: list[list] = [[], [], []]
    backend.calls = []
    for i in range(16):
        waiting = [(k, work) for k, stream in enumerate(streams) if (work := stream.prepare(frame(i)))]
        order = [k for k, _ in waiting]

        def take(free: int, waiting=waiting):
            taken, waiting[:] = waiting[:free], waiting[free:]
            return [(streams[k], work) for k, work in taken]

        for place, frames in engine.render_together(take):
            assert not isinstance(frames, Exception), frames
            out[order[place]] += frames
    for together, single in zip(out, alone, strict=True):
        assert [f.index for f in together] == [f.index for f in single]
        for a, b in zip(together, single, strict=True):
            assert np.abs(a.rgb.astype(int) - b.rgb).max() <= 1
    assert {len(requests) for requests in backend.calls} == {1, 2, 3}  # a window alone, two staggered, all together
    assert {
        isinstance(request.sigma, float) for requests in backend.calls if len(requests) == 3 for request in requests
    } == {True, False}


def test_what_cannot_be_is_refused_with_words() -> None:
    """The modes are named."""
    with pytest.raises(ValueError, match="mode='rolling'"):
        DiffusionOptions(SIZE, mode="rolling")
