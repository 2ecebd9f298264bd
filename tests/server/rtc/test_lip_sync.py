"""server.rtc.lip_sync and sender: sound leaves with its picture, and the sender reports say so."""

import time

import numpy as np
import pytest
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket

from engine.live.output import OutputFrame
from server.rtc.lip_sync import LEAD_S, USUAL_LAG_S, LipSync
from server.rtc.sender import NTP_TO_UNIX_S, LiveSender
from server.rtc.sound.arrival_line import ArrivalLine


class Sound:
    """Stands for AudioDelay: reaches what it is asked for, but never under 50 ms."""

    lookahead_s = 0.0065

    def __init__(self) -> None:
        self.asked_s = 0.0

    def match(self, delay_s: float) -> None:
        self.asked_s = delay_s

    @property
    def actual_delay_s(self) -> float:
        return max(0.05, self.asked_s)


def picture(t_s: float, way_s: float = 0.03, relit: bool = True, showing: str = "ratio") -> OutputFrame:
    return OutputFrame(0, t_s, np.zeros((2, 2, 3), np.uint8), 500.0 + t_s + way_s, relit, showing)


def synced(sound: Sound, *ways_s: float | None) -> LipSync:
    """Pictures arrive at 500.03 + their time."""
    arrivals = ArrivalLine()
    for k in range(1000):
        arrivals.update(500.03 + k / 30, k / 30)
    video_s, audio_s = ways_s or (None, None)
    return LipSync(sound, arrivals, lambda: video_s, lambda: audio_s)  # type: ignore[arg-type]


def test_the_sound_leaves_with_the_picture_of_its_moment() -> None:
    """By the sender's reports: sound that arrives 20 ms sooner than its picture is held that much longer, less Opus."""
    sound = Sound()
    sync = synced(sound, 7.03, 7.01)
    for k in range(20):
        now_s = 500.03 + k / 30 + 0.4
        assert sync.media_s(picture(k / 30), now_s) == pytest.approx(now_s - LEAD_S)
    assert sound.asked_s == pytest.approx(0.4 + 0.02 - 2 * 0.0065 - LEAD_S)


@pytest.mark.parametrize("ways", [(None, 7.0), (7.0, None), (0.0, 9.0)])
def test_without_reports_of_one_clock_arrivals_count(ways: tuple[float | None, float | None]) -> None:
    """A sender that reports nothing, or nonsense, gets the usual difference."""
    sync = synced(Sound(), *ways)
    assert sync.lag_s == USUAL_LAG_S


def test_pictures_stay_on_the_sounds_clock_through_a_jump() -> None:
    """0.1 → 3 → 0.1 s: the times of pictures never run ahead, never lag, and never go back."""
    sound = Sound()
    sync = synced(sound)
    times, lags = [], []
    for k in range(900):
        delay_s, showing = (3.0, "lcvd") if 300 <= k < 600 else (0.1, "ratio")
        if 300 <= k < 390 and k / 30 - delay_s < 10.0 - 0.1:
            continue  # the picture holds still until the slow engine has what was not seen yet
        now_s = 500.03 + k / 30
        times.append(sync.media_s(picture(k / 30 - delay_s, showing=showing), now_s))
        lags.append(times[-1] - now_s + LEAD_S)
    assert np.diff(times).min() > 0
    assert max(np.abs(lags)) < 0.001


def test_a_held_picture_does_not_move_the_sound() -> None:
    """An avatar that stalls, or the still portrait: nothing to be in step with, so nothing changes."""
    sound = Sound()
    sync = synced(sound)
    for k in range(20):
        sync.media_s(picture(k / 30, showing="lcvd"), 500.03 + k / 30 + 2.0)
    before = sound.asked_s
    for k in range(20, 40):
        for showing in ("lcvd", "portrait"):
            now_s = 500.03 + k / 30
            assert sync.media_s(picture(k / 30, relit=False, showing=showing), now_s) == now_s - LEAD_S
    assert sound.asked_s == before > 1.9


def test_a_single_late_picture_is_late_on_the_sounds_clock() -> None:
    """Its time is its own moment's, not that of its leaving: a receiver that lines up the tracks sees it late."""
    sync = synced(Sound())
    for k in range(20):
        sync.media_s(picture(k / 30), 500.03 + k / 30 + 0.1)
    now_s = 500.03 + 20 / 30 + 0.1
    assert sync.media_s(picture(20 / 30), now_s + 0.2) == pytest.approx(now_s - LEAD_S, abs=0.001)


def test_reports_tie_the_tracks_clock_to_ours() -> None:
    """The RTP timestamp of a report is the one at its NTP time, however long before or after a packet that is."""
    sender = object.__new__(LiveSender)
    sender._origin, sender._clock_rate = 2**32 - 1000, 48_000
    sender.media_s = lambda now_s: now_s - (start_s - 2.0)
    start_s, unix_s = time.monotonic(), time.time()
    for ahead_s in (0.0, 0.5, -1.0):
        info = RtcpSenderInfo(int((unix_s + ahead_s + NTP_TO_UNIX_S) * 2**32), 0, 0, 0)
        sender._tie_clocks(info)
        expected = (2**32 - 1000 + round((2.0 + ahead_s) * 48_000)) % 2**32
        assert abs(info.rtp_timestamp - expected) < 480  # both clocks were not read at the same instant


async def test_a_report_before_the_first_packet_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiortc sends reports from the start; there is nothing to tie yet."""
    sent = []

    async def send(self: object, packets: list[RtcpSrPacket]) -> None:
        sent.extend(packets)

    monkeypatch.setattr("aiortc.rtcrtpsender.RTCRtpSender._send_rtcp", send)
    sender = object.__new__(LiveSender)
    sender._origin, sender._clock_rate, sender.media_s = None, 0, lambda now_s: now_s
    report = RtcpSrPacket(ssrc=1, sender_info=RtcpSenderInfo(0, 0, 0, 0))
    await sender._send_rtcp([report])
    assert sent == [report]
    assert report.sender_info.rtp_timestamp == 0
