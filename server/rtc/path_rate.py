"""The bit rate that one receiver's network carries: its own estimate (REMB), and what its reports say of loss.

REMB (draft-alvestrand-rmcat-remb-03) is made of delays and of the rate that came, and so it fails in three ways. A
short queue that overflows shows in no delay: the loss in receiver reports mends that, as in draft-ietf-rmcat-gcc-02,
section 6. After a pause the estimate is far below what the network carries and climbs by 8 % a second: a rate above a
stale estimate is tried while nothing is lost. And where the pictures need few bits it begins with those few
(libwebrtc: the rate of the first five seconds) and stays within 1.5 times of them: an estimate that is not below what
was really sent tells of no limit and lowers nothing. No sockets; the clock is an argument.
"""

import time
from collections import deque
from collections.abc import Callable

MUCH_LOSS, LITTLE_LOSS = 0.10, 0.06  # radio loses 5 % whatever is sent
COUNTED, COUNTED_S, FEWEST = 100, 2.0, 20  # packets of one verdict: receivers report as often as every tenth packet
FALL_RATIO = 0.95  # an estimate under that share of the one before has fallen
JUMP_RATIO = 1.25  # one that is higher by less than that has risen: by 8 % a second, or by steps near a limit
RISES_S = 1.0  # it rises while it rose so short a time ago
TRY_RATIO = 2.0  # one that is followed: `server.rtc.pictures.encoders` rises in steps of 1.35, every 4 s at most
FIRST_CALM_S, LONGEST_CALM_S = 4.0, 32.0  # without loss or a falling estimate, before more is tried
CONGESTED = 0.9  # an estimate below that share of what was sent: libwebrtc's own fall is to 0.85 of what came
PAUSE_S = 0.25  # without a picture
BEGIN_RATIO = 0.8  # of an estimate that falls in one: it is on its way down
MEASURED_S = 1.5  # so long before an estimate comes begins the second of which it is made
SETTLE_S = 1.5  # after a cut the packets lost are still those sent before it
QUEUE_S = 0.15  # a way so much longer than the shortest has a queue
MOST_PICTURES = 150  # that count as one second's
CLIMB = 1.25  # of the limit that loss has set, at each verdict


class PathRate:
    """One receiver. `estimate` is None until it has said anything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._remb: int | None = None  # the estimate, as far as it tells of a limit
        self._said: int | None = None  # the estimate as it came
        self._sent_s = float("inf")  # when the last picture was sent,
        self._said_when_sent: int | None = None  # and the estimate then
        self._resumed_s = float("-inf")  # when pictures went on after a pause
        self._rose_s = float("-inf")  # when that was higher than before
        self._limit: float | None = None  # by loss
        self._cut_s = float("-inf")  # when that was lowered
        self._tried = 0.0  # a rate above the estimate
        self._calm_since_s = self._judged_s = clock()
        self._lost = self._expected = 0  # since the last verdict
        self.way_s: float | None = None  # there and back, as the last report told it
        self._shortest_s, self._queues = float("inf"), False
        self._pictures: deque[tuple[float, int]] = deque(maxlen=MOST_PICTURES)  # of a second: when, and bytes
        self._calm_s = FIRST_CALM_S

    @property
    def estimate(self) -> int | None:
        """Bits a second; None: unknown."""
        if self._remb is None:
            return None if self._limit is None else int(self._limit)
        carried = max(self._remb, self._tried)
        return int(carried if self._limit is None else min(carried, self._limit))

    def sent(self, size: int) -> None:
        """Counts a picture of `size` bytes that is sent now."""
        now_s = self._clock()
        if now_s - self._sent_s > PAUSE_S:
            self._resumed_s = now_s
        self._pictures.append((now_s, size))
        self._sent_s, self._said_when_sent = now_s, self._said

    def way(self, there_and_back_s: float) -> None:
        """Takes the time of a packet's way there and back: beyond the shortest there is a queue."""
        self.way_s = there_and_back_s
        self._shortest_s = min(self._shortest_s, there_and_back_s)
        self._queues = there_and_back_s > self._shortest_s + QUEUE_S

    def _sent_bps(self) -> int:
        """Returns the bits of the last second's pictures but the largest: a key frame of a calm picture is none."""
        now_s = self._clock()
        while self._pictures and self._pictures[0][0] <= now_s - 1:
            self._pictures.popleft()
        sizes = [size for _, size in self._pictures]
        return 8 * (sum(sizes) - max(sizes, default=0))

    def remb(self, bitrate: int, target: int) -> None:
        """Takes the receiver's estimate, bits a second, while the encoder may use `target`."""
        now_s = self._clock()
        if bitrate == self._said:
            return  # reports repeat themselves
        said, self._said = self._said or bitrate, bitrate
        pauses = now_s - self._sent_s > PAUSE_S
        if pauses and self._said_when_sent and bitrate < FALL_RATIO * self._said_when_sent:
            # The participant's own pictures do not come, so none are sent, and no estimate is below what is. But the
            # line is full, and the next picture is a key frame.
            self._remb = min(round(BEGIN_RATIO * bitrate), self._remb or bitrate)
            self._trouble()
            return
        self._rose_s = now_s if said < bitrate < JUMP_RATIO * said else float("-inf")
        # An estimate that rises is only slow: on a network that is full it would not, but for a moment. One that jumps
        # was measured anew.
        rises = now_s - self._rose_s < RISES_S and not self._queues
        of_pause = now_s - self._resumed_s < MEASURED_S
        if rises or of_pause or bitrate >= CONGESTED * self._sent_bps():
            bitrate = max(bitrate, target if self._remb is None else self._remb)
        if self._remb is not None and bitrate < FALL_RATIO * self._remb:
            self._trouble()
        self._remb = bitrate

    def loss(self, lost: int, expected: int, target: int) -> None:
        """Takes the packets lost of those expected since the last report, while the encoder may use `target` bits/s."""
        now_s = self._clock()
        if now_s - self._cut_s < SETTLE_S:
            return  # these packets were sent at the rate before
        self._lost, self._expected = self._lost + lost, self._expected + expected
        enough = FEWEST if now_s - self._judged_s >= COUNTED_S else COUNTED
        if self._expected >= enough:
            fraction, self._judged_s = self._lost / self._expected, now_s
            self._lost = self._expected = 0
            self._judge(fraction, target, now_s)

    def _judge(self, fraction: float, target: int, now_s: float) -> None:
        if fraction > MUCH_LOSS:
            sent = self._sent_bps() or target  # not the target alone: an estimate may have lowered that already
            self._limit = min(sent, self._limit or sent) * (1 - fraction)  # what came through
            self._cut_s = now_s
        elif fraction < LITTLE_LOSS and self._limit is not None:
            self._limit *= CLIMB
            if self._remb is not None and self._limit > 1.5 * self._remb:
                self._limit = None
        if fraction >= LITTLE_LOSS:
            self._trouble()
        elif self._remb is not None and self._remb < target and now_s - self._calm_since_s > self._calm_s:
            self._tried = TRY_RATIO * target
            self._calm_since_s = now_s

    def _trouble(self) -> None:
        """Tries nothing for a while, for longer where it was tried just now."""
        if self._tried:
            self._calm_s = min(LONGEST_CALM_S, 2 * self._calm_s)
        self._tried, self._calm_since_s = 0.0, self._clock()
