"""Keeps the returned sound in step with the returned picture, and tells the receiver so.

The sound leaves when the picture of the same moment does. Which moments are the same is known from the sender's
reports (RTCP SR), where it sends them; else from arrivals, with a usual difference. The pictures of a connection with
sound carry the time at which their sound leaves as RTP timestamps, so that one clock ties both tracks whatever the
delay does: a receiver that lines up the tracks by our sender reports, as browsers do, neither undoes nor doubles it.
"""

from collections.abc import Callable

from engine.live.output import OutputFrame
from server.rtc.audio_delay import AudioDelay
from server.rtc.sound.arrival_line import ArrivalLine
from server.rtc.sound.delay_match import DelayMatch

CAMERA = "camera"
# Without sender reports: a sound packet leaves when its 20 ms are over, its picture is encoded and decoded meanwhile.
# Chromium 156 reports -0.004 to -0.022 s for small pictures; large ones take longer.
USUAL_LAG_S = -0.015
LEAD_S = 0.015  # a sound leaves so long before its picture, and says so: a receiver can wait with it, but not hurry
MAX_LAG_S = 0.3  # reports that say more than this are not of one clock
AHEAD_S, BEHIND_S = 0.06, 0.5  # a picture leaves at most so long before and after its sound; beyond, the sound jumps


class LipSync:
    """Matches one connection's sound to each picture that is sent. Times are those of its clock (monotonic)."""

    def __init__(
        self,
        audio: AudioDelay,
        arrivals: ArrivalLine,  # of the pictures that come, on the times of those that are sent
        video_way_s: Callable[[], float | None],  # arrival − capture on the sender's clock; None: no report yet
        audio_way_s: Callable[[], float | None],
    ) -> None:
        self._audio = audio
        self._ways = video_way_s, audio_way_s
        self._arrivals = arrivals
        self._match = DelayMatch()

    @property
    def lag_s(self) -> float:
        """How much later than a sound the picture of the same moment arrives."""
        video_s, audio_s = (way() for way in self._ways)
        if video_s is None or audio_s is None or abs(video_s - audio_s) > MAX_LAG_S:
            return USUAL_LAG_S
        return video_s - audio_s - self._audio.lookahead_s

    def media_s(self, frame: OutputFrame, now_s: float) -> float:
        """Takes a picture as it is sent; returns when the sound of its moment leaves, a little earlier."""
        if not (frame.relit or frame.showing == CAMERA):
            return now_s - LEAD_S  # held: its lips do not move, and what they would say is not known
        arrived_s = frame.t_s + self._arrivals.offset_s
        self._match.picture(now_s, now_s - arrived_s, frame.showing)
        ahead_s = self.lag_s - self._audio.lookahead_s
        self._audio.match(self._match.delay_s + ahead_s - LEAD_S)
        heard_s = arrived_s + self._audio.actual_delay_s - ahead_s
        return min(max(heard_s, now_s - BEHIND_S), now_s + AHEAD_S)
