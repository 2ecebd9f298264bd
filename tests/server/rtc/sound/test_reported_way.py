"""server.rtc.sound.reported_way: how long a track takes, by reports that are late or out of date now and then."""

import pytest

from server.rtc.sound.arrival_line import ArrivalLine
from server.rtc.sound.reported_way import ReportedWay

WAY_S = 0.025  # arrival − capture


class Microphone:
    """A sound of 20 ms packets that arrive WAY_S after their capture; the sender's clock is 1000 s ahead of ours."""

    def __init__(self) -> None:
        self.arrivals = ArrivalLine()
        self.way = ReportedWay(self.arrivals)
        self.now_s = 50.0
        self.left_out_s = 0.0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.arrivals.update(self.now_s, self.now_s - WAY_S - self.left_out_s)

    def report(self, late_s: float = 0.0) -> None:
        self.way.report(1000 + self.left_out_s + late_s)

    @property
    def known_s(self) -> float | None:
        return None if self.way.way_s is None else self.way.way_s + 1000


def test_a_report_counts_once_something_arrived() -> None:
    """One that comes before the first packet is not lost."""
    microphone = Microphone()
    microphone.report()
    assert microphone.way.way_s is None
    microphone.run(0.1)
    assert microphone.known_s == pytest.approx(WAY_S)


def test_sound_that_was_left_out_changes_no_way() -> None:
    """All that follows a gap of 0.2 s has later samples; reports from before and after it say the same way."""
    microphone = Microphone()
    microphone.run(5)
    microphone.report()
    microphone.left_out_s = 0.2
    microphone.run(2)
    assert microphone.known_s == pytest.approx(WAY_S)
    microphone.report()
    assert microphone.known_s == pytest.approx(WAY_S)


def test_a_stray_report_needs_another() -> None:
    """A busy sender's report is late; two that agree are of another way. Small differences are evened out."""
    microphone = Microphone()
    microphone.run(5)
    for late_s in (0.0, 0.004, -0.004):
        microphone.report(late_s)
    microphone.report(0.1)
    assert microphone.known_s == pytest.approx(WAY_S)
    microphone.report(-0.1)
    assert microphone.known_s == pytest.approx(WAY_S)
    microphone.report()
    assert microphone.known_s == pytest.approx(WAY_S)
    microphone.report(0.1)
    microphone.report(0.11)
    assert microphone.known_s == pytest.approx(WAY_S - 0.105)
