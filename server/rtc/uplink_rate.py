"""UplinkRate says what a participant may send: nothing before their network shows that it carries less.

aiortc's control, like libwebrtc's (draft-ietf-rmcat-gcc-02, section 5.5), begins with the rate that came in the first
seconds. Whoever sits still sends little, and was held there: a movement then had a sixth of the bits that the network
carries, and 14 s passed until the picture was sharp again. The sender's own control knows how to begin.
"""

from aiortc.rate import AimdRateControl, BandwidthUsage

DRAIN = 0.5  # of what a full line carries: the rest empties its queue


class UplinkRate(AimdRateControl):
    """aiortc's control of one receiver, from the first overuse on."""

    full = False  # the line: it has a queue and loses packets
    _carried: int | None = None  # by it, bits a second, when that began

    def update(self, bandwidth_usage: BandwidthUsage, estimated_throughput: int | None, now_ms: int) -> int | None:
        """Returns the rate to ask for, bits a second; None: any."""
        if not self.current_bitrate_initialized and bandwidth_usage != BandwidthUsage.OVERUSING:
            return None
        self.current_bitrate_initialized = True
        rate = super().update(bandwidth_usage, estimated_throughput, now_ms)
        self._carried = (self._carried or estimated_throughput) if self.full else None
        if rate is None or self._carried is None:
            return rate
        return min(rate, round(DRAIN * self._carried))
