"""engine.diffusion.engine: several participants in shared calls of the denoiser."""

import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.live.device import DeviceThread  # noqa: E402
from engine.protocols import Avatar, StreamConfig  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    FPS,
    FULL,
    CountingBackend,
    avatar,
    engine_of,
    frame,
    opened,
    together,
    works_of,
)
from tests.engine.fakes import is_open, live_stream, until  # noqa: E402
from tests.engine.synthetic_person import RIGHT, portrait  # noqa: E402
from tests.rounding import rounding  # noqa: E402


@pytest.mark.parametrize(
    ("plans", "windows"), [(({"steps": 2}, {"steps": 2}), 1), (({"steps": 2}, {"steps": 1, "omega": 2.0}), 2)]
)
def test_a_window_is_the_same_alone_and_shared(tiny_lcvd, plans, windows: int) -> None:
    """Two participants, two portraits, in shared calls of equal or other steps: what each has alone, but for rounding.

    A neighbour's portrait, light or noise lies more than 3 away, a light or level wrong by a thousandth 6e-3; the limit
    is below 1e-3, and kernels of five kinds stay below 3e-5.
    """
    made: list[CountingBackend] = []

    def backend(model):
        made.append(CountingBackend(model))
        return made[0]

    engine = engine_of(tiny_lcvd, SamplerPlan(2), stride=4, backend=backend, batch=2)
    portraits = (portrait((96, 96)), portrait((96, 96))[..., ::-1] // 2)  # of another colour
    people = [
        StreamConfig(light, avatar=Avatar(rgb, **plan))
        for light, rgb, plan in zip((FULL, RIGHT), portraits, plans, strict=True)
    ]
    alone, kept = [], []
    for config in people:
        stream = engine.open(config)
        made[0].latents.clear()
        alone.append([stream.render(work) for work in works_of(stream, windows)])
        kept.append(list(made[0].latents))
    streams = [engine.open(config) for config in people]
    works = [works_of(stream, windows) for stream in streams]
    for window in range(windows):
        made[0].calls.clear()
        made[0].latents.clear()
        got = together(engine, *zip(streams, [own[window] for own in works], strict=True))
        ended = sorted(range(2), key=lambda i: plans[i]["steps"])  # the shorter one is decoded first
        for i in range(2):
            latents = made[0].latents[ended.index(i)]
            limit = rounding(tiny_lcvd.denoiser, kept[i][window], calls=2 * windows)
            torch.testing.assert_close(latents, kept[i][window], atol=limit, rtol=0)
            for a, b in zip(got[i], alone[i][window], strict=True):
                assert a.index == b.index
                assert np.abs(a.rgb.astype(int) - b.rgb).max() <= 1
        few, many = (plans[i]["steps"] for i in ended)
        assert made[0].calls == [2] * few + [1] * (many - few)


def test_a_participants_trouble_is_its_own(tiny_lcvd) -> None:
    """A window that cannot be rendered ends alone; the other's pictures are those it has alone."""
    engine = engine_of(tiny_lcvd, stride=4, batch=2)
    good, bad = opened(engine), opened(engine)
    (work,), (broken,) = works_of(good, 1), works_of(bad, 1)
    broken = replace(broken, payload=replace(broken.payload, hints=broken.payload.hints[:, :-8]))
    got = together(engine, (bad, broken), (good, work))
    assert isinstance(got[0], Exception)
    assert [f.index for f in got[1]] == list(range(4))


def test_three_live_participants_share_the_device(tiny_lcvd) -> None:
    """Through threads and mailboxes, with two places: everyone's frames come out relit, and some calls were shared."""
    made: list[CountingBackend] = []

    def backend(model):
        made.append(CountingBackend(model))
        return made[0]

    host = DeviceThread(engine_of(tiny_lcvd, stride=4, backend=backend, batch=2))
    assert host.wait_ready(60)
    streams = [live_stream(host, FULL, lambda: None, avatar=avatar(), stall_s=60.0) for _ in range(3)]
    until(lambda: all(is_open(stream) for stream in streams))
    made[0].calls.clear()
    relit, sent = [0, 0, 0], 0

    def everyone_and_shared() -> bool:
        nonlocal sent
        for i, stream in enumerate(streams):
            stream.submit(frame(sent).rgb, sent / FPS)
            while (got := stream.next_output(time.monotonic())[0]) is not None:
                relit[i] += got.relit
        sent += 1
        time.sleep(0.005)
        return min(relit) >= 4 and 2 in made[0].calls

    until(everyone_and_shared)
    assert max(made[0].calls) == 2
    for stream in streams:
        stream.close()
    host.close()
