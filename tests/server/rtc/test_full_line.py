"""On a line that suddenly carries less nothing is asked for or sent in vain, and both ends soon send less."""

import pytest
from aiortc.rate import BandwidthUsage
from aiortc.rtp import RtpPacket

from server.rtc.nacks import MANY, RelativeDelay, RepeatedNacks
from server.rtc.path_rate import PathRate
from server.rtc.resends import SAVED_S, SHARE, Resends
from server.rtc.uplink_rate import DRAIN, UplinkRate
from tests.engine.fakes import Clock

FRAME = 3000  # ticks of a thirtieth of a second
RATE = 300  # packets a second


def come(asking: RepeatedNacks, clock: Clock, number: int, late_s: float) -> set[int]:
    """Has packet `number` of RATE a second come so late; returns what is asked for."""
    clock.now = 100 + number / RATE + late_s
    asking.add(RtpPacket(sequence_number=number, timestamp=number * 90_000 // RATE, ssrc=7))
    return set(asking.missing)


def test_a_full_line_is_given_up_at_once_and_asked_again_when_its_queue_is_gone() -> None:
    clock = Clock()
    asking = RepeatedNacks(clock)
    for number in range(30):
        assert not come(asking, clock, number, 0.02)
    for lost in range(1, MANY + 1):  # every second one is, and those that come wait in a queue
        number = 29 + 2 * lost
        assert bool(come(asking, clock, number, 0.32)) == (lost < MANY)
        assert asking.give_up() == (lost >= MANY)
    assert asking.full
    assert not come(asking, clock, 80, 0.3)  # lost before the queue is gone: still nothing
    assert asking.give_up()
    assert not come(asking, clock, 90, 0.05) - set(range(81, 90))
    assert not asking.full
    assert come(asking, clock, 92, 0.05) >= {91}


def test_many_lost_at_once_without_a_queue_are_asked_for() -> None:
    """A burst on radio: nothing comes late."""
    clock = Clock()
    asking = RepeatedNacks(clock)
    for number in range(30):
        come(asking, clock, number, 0.02)
    assert come(asking, clock, 60, 0.02) == set(range(30, 60))
    assert not asking.give_up()


@pytest.mark.parametrize("first", [0, 2**32 - 10 * FRAME])
def test_lateness_is_that_beyond_the_earliest_of_the_last_seconds(first: int) -> None:
    """Also where timestamps turn over; what was never that early again is forgotten within ten seconds."""
    delay = RelativeDelay()

    def beyond(frame: int, late_s: float) -> float:
        return delay.beyond(5000 + frame / 30 + late_s, (first + frame * FRAME) % 2**32)

    assert [round(beyond(frame, 0.1), 6) for frame in range(20)] == [0] * 20
    assert beyond(20, 0.35) == pytest.approx(0.25)
    assert beyond(21, 0.05) == 0
    assert [beyond(frame, 0.25) for frame in range(22, 330)][-1] == pytest.approx(0, abs=1e-6)


def test_a_packet_is_sent_again_once_each_way_and_all_within_their_share() -> None:
    clock = Clock()
    resends = Resends(clock)
    assert resends.admit(1, 1200, 1_000_000, None)
    assert not resends.admit(1, 1200, 1_000_000, None)
    clock.now += 0.06
    assert resends.admit(1, 1200, 1_000_000, None)
    clock.now += 0.06
    assert not resends.admit(1, 1200, 1_000_000, 0.3)  # on its way, which is longer by now
    clock.now += 10
    admitted = sum(resends.admit(number, 1200, 1_000_000, 0.1) for number in range(100, 400))
    assert admitted == SHARE * SAVED_S * 1_000_000 // 9600
    admitted = 0
    for number in range(400, 1400):  # 300 a second are lost for three seconds
        clock.now += 1 / 300
        admitted += resends.admit(number, 1200, 1_000_000, 0.1)
    assert admitted * 9600 == pytest.approx(SHARE * 1_000_000 * 1000 / 300, rel=0.02)


def test_who_fills_a_line_is_asked_for_less_than_it_carries_until_its_queue_is_gone() -> None:
    rate = UplinkRate()
    over, normal = BandwidthUsage.OVERUSING, BandwidthUsage.NORMAL
    assert rate.update(over, 1_000_000, 0) == 850_000
    rate.full = True
    asked = [rate.update(over, throughput, 100 * index) for index, throughput in enumerate((1_000_000, 800_000), 1)]
    assert asked == [DRAIN * 1_000_000] * 2  # of what it carried, not of what came after that
    rate.full = False
    after = rate.update(normal, 500_000, 1000)
    assert after is not None
    assert after > 600_000


class Way:
    """The way to a participant: thirty pictures a second at `bps`, and estimates as they come."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rate = PathRate(self.clock)

    def send(self, bps: int, seconds: float) -> None:
        for _ in range(round(30 * seconds)):
            self.clock.now += 1 / 30
            self.rate.sent(bps // 8 // 30)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def estimate_after(self, remb: int) -> int | None:
        self.rate.remb(remb, 2_000_000)
        return self.rate.estimate


def test_an_estimate_that_falls_in_a_pause_counts_and_one_that_is_made_of_a_pause_does_not() -> None:
    """The participant's own line was full as well, and no picture of theirs came; the next one is a key frame."""
    way = Way()
    way.send(1_200_000, 3)
    assert way.estimate_after(2_000_000) == 2_000_000
    way.send(1_200_000, 0.2)
    way.wait(0.6)
    assert way.estimate_after(900_000) == 720_000  # though less was sent in this second
    way.wait(0.6)
    assert way.estimate_after(700_000) == 560_000
    way.send(500_000, 0.8)
    assert way.estimate_after(150_000) == 560_000  # of a second that was half silent
    for remb in range(160_000, 250_000, 10_000):
        way.send(500_000, 0.5)
        assert way.estimate_after(remb) == 560_000  # creeps up from there
    way.send(500_000, 1)
    assert way.estimate_after(200_000) == 200_000  # falls


def test_a_calm_picture_that_pauses_keeps_its_rate() -> None:
    """Nothing fell: whoever stands still and then moves gets the bits for it."""
    way = Way()
    way.send(100_000, 3)
    assert way.estimate_after(150_000) == 2_000_000
    way.wait(0.5)
    assert way.estimate_after(150_000) == 2_000_000
    way.send(100_000, 1)
    assert way.estimate_after(160_000) == 2_000_000
