"""server.session.capacity, frame_cost and places: how many participants this machine holds."""

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.passthrough import PassthroughEngine
from engine.protocols import EngineTraits, Prediction
from server.rtc.bench import machine_cost
from server.rtc.bench.frame_cost import SIZES, measure
from server.rtc.bench.machine_cost import FrameCost, MachineCost, available_cores
from server.rtc.pictures.picture_cap import PictureCap
from server.session.capacity import Capacity, Demand
from server.session.engines import Engines
from server.session.places import OUTDATED_S, Places
from server.settings import MAX_PLACES, Settings
from tests.engine.fakes import FakeEngine
from tests.server.client import Participant, running
from tests.server.http.test_app import get

VGA = PictureCap(640, 480, 30)
SMALL, MIDDLE, LARGE = (width * height for width, height in SIZES)


def machine(cpu_ms: float, device_ms: float = 0.0, cores: float = 10.0) -> MachineCost:
    """Returns a machine on which every picture costs as much, of whatever size."""
    return MachineCost(tuple(FrameCost(w * h, cpu_ms / 1e3, device_ms / 1e3) for w, h in SIZES), cores)


def test_places_follow_from_cores_and_cost() -> None:
    """Ten cores of which 70 % count, one core a participant (33.3 ms × 30): seven; at half the rate fourteen."""
    capacity = Capacity(machine(cpu_ms=33.3))
    assert capacity.places(VGA) == 7
    assert capacity.places(VGA._replace(fps=15)) == 14
    assert capacity.table == {"1280x720": 7, "640x480": 7, "480x360": 7, "320x240": 7}


def test_the_serial_device_is_a_limit_of_its_own() -> None:
    """However many cores there are: 10 ms of one device, 30 times a second, at 70 %, are two participants."""
    assert Capacity(machine(cpu_ms=10, device_ms=10, cores=1000)).places(VGA) == 2


def test_there_is_one_place_at_least_and_an_end() -> None:
    """A slow machine admits one; an engine that costs nothing does not admit without end."""
    assert Capacity(machine(cpu_ms=5000)).places(VGA) == 1
    assert Capacity(machine(cpu_ms=0)).places(VGA) == MAX_PLACES


def test_a_size_between_costs_what_lies_between() -> None:
    """Costs are linear from one measured size to the next and beyond the last; a tiny picture costs the least."""
    frames = (FrameCost(SMALL, 0.010, 0), FrameCost(MIDDLE, 0.020, 0), FrameCost(LARGE, 0.030, 0))
    capacity = Capacity(MachineCost(frames, 1.0))
    assert capacity.cpu_s((SMALL + MIDDLE) // 2) == pytest.approx(0.015)
    assert capacity.cpu_s(2 * LARGE - MIDDLE) == pytest.approx(0.040)
    assert capacity.cpu_s(100) == 0.010


def test_the_load_is_that_of_everyone() -> None:
    """Two of unlike rate need what both need."""
    capacity = Capacity(machine(cpu_ms=10, cores=1.0))
    assert capacity.load([Demand(MIDDLE, 30), Demand(MIDDLE, 15)]) == pytest.approx(0.45 / 0.7)


def test_the_cost_is_corrected_slowly_by_what_the_process_needs() -> None:
    """Twice the CPU time leaves a little mark after a second and two thirds of it after half a minute."""
    capacity = Capacity(machine(cpu_ms=10))

    def second() -> None:
        for _ in range(30):
            capacity.sent(MIDDLE)
        capacity.observe(30 * 0.020)

    second()
    assert 1.0 < capacity.factor < 1.05
    for _ in range(33):
        second()
    assert capacity.factor == pytest.approx(1.63, abs=0.03)
    assert capacity.cpu_s(MIDDLE) == pytest.approx(0.010 * capacity.factor)


def test_idle_work_and_outliers_do_not_count_as_the_pictures() -> None:
    """A second without pictures says nothing, and no observation is believed beyond four times the cost."""
    capacity = Capacity(machine(cpu_ms=10))
    capacity.sent(MIDDLE)
    capacity.observe(1.0)
    assert capacity.factor == 1.0
    for _ in range(100_000):
        capacity.sent(MIDDLE)
    capacity.observe(1e9)
    assert capacity.factor == pytest.approx(4.0)


def test_this_machine_is_measured() -> None:
    """Each size costs something, and streams side by side keep at most the cores busy that there are."""
    found = measure(PassthroughEngine())
    assert [cost.pixels for cost in found.frames] == [SMALL, MIDDLE, LARGE]
    assert all(cost.cpu_s > 0 and cost.device_s >= 0 for cost in found.frames)
    assert 1.0 <= found.cores <= max(1.0, available_cores())


def test_an_engine_that_holds_pictures_back_is_not_measured() -> None:
    """What it seems to cost would be far too little."""
    with pytest.raises(EngineError, match="gave 0 pictures"):
        measure(FakeEngine(window=100))


@pytest.mark.parametrize(("quota", "most"), [("50000 100000", 0.5), ("max 100000", None), ("?", None)])
def test_a_container_has_the_cores_of_its_quota(
    quota: str, most: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker run --cpus 0.5` is half a core, however many the host has."""
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine_cost, "QUOTA", tmp_path / "missing")
    without = available_cores()
    monkeypatch.setattr(machine_cost, "QUOTA", tmp_path / "cpu.max")
    assert available_cores() == (without if most is None else most)


def test_a_number_of_the_operator_counts() -> None:
    """Nothing is measured, and the limit stays."""
    places = Places(Settings(max_sessions=3, step_down=False))
    places.measure(PassthroughEngine())
    places.adapt([], None)
    assert (places.admission.limit, places.table, places.outdated) == (3, {}, False)


def fail() -> None:
    """Raises what an engine may raise."""
    raise RuntimeError("no")


def test_an_engine_that_fails_leaves_a_place() -> None:
    """The server serves all the same, with what is known of a usual machine."""
    places = Places(Settings())
    places.measure(FakeEngine(on_open=fail))
    assert places.admission.limit >= 1
    assert places.table == {}


def test_what_was_measured_long_ago_is_measured_again_while_nobody_is_there() -> None:
    """After ten minutes, and not while a participant is in."""
    now = [0.0]
    places = Places(Settings(), clock=lambda: now[0])
    places.measure(PassthroughEngine())
    assert not places.outdated
    now[0] = OUTDATED_S + 1
    assert places.outdated
    places.admission.enter("a")
    assert not places.outdated


class Animator(FakeEngine):
    """Animates two participants in time."""

    traits = EngineTraits("Animator", shows_avatar=True)

    def predict(self, avatar: object, source_fps: float, streams: int = 1) -> Prediction:
        return Prediction(1.0, 25.0, streams <= 2)


def test_an_avatar_engine_has_the_places_that_it_predicts() -> None:
    """Its device is the limit, which no CPU time tells of."""
    engines = Engines("lcvd", lambda name: Animator())
    assert engines.avatar_places() is None
    assert engines.device("lcvd").wait_ready(30)
    assert engines.avatar_places() == 2
    places = Places(Settings())
    places.admission.limit = 9
    places.adapt([], engines.avatar_places())
    assert places.admission.limit <= 2
    engines.close()


async def test_the_server_tells_what_it_holds() -> None:
    """Health and metrics have the places that were measured at the start."""
    async with running(max_sessions="auto") as server:
        health = (await get(server.http + "/healthz")).json()
        assert health["max_sessions"] == server.server.admission.limit >= 1
        assert list(health["places"]) == ["1280x720", "640x480", "480x360", "320x240"]
        assert sorted(health["places"].values()) == list(health["places"].values())
        text = (await get(server.http + "/metrics")).text
        assert 'relight_places{size="640x480"}' in text
        async with Participant(server.ws) as tab:
            await tab.offer()
            await tab.pictures(3)
            assert server.server.places.capacity._frames > 0
