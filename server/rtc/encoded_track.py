"""A track of packets that are encoded already: aiortc's sender makes RTP of them and encodes nothing.

`server.rtc.sender` passes on what the viewer's RTCP asks for: a key frame, and the bit rate its network carries.
"""

import asyncio
from collections.abc import Callable

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

CAPACITY = 64  # packets: two seconds of pictures, more of sound; a viewer that is further behind starts again


class EncodedTrack(MediaStreamTrack):
    """One viewer's share of a feed. Begins with a key frame, and again after packets were dropped."""

    def __init__(
        self,
        kind: str,
        request_keyframe: Callable[[], None],
        rate_changed: Callable[[], None],
        target_bps: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.request_keyframe = request_keyframe
        self.bitrate: int | None = None  # the viewer's last estimate, bits a second
        self.packets = 0  # handed to the sender
        self.target_bps = target_bps  # of the encoder
        self._rate_changed = rate_changed
        self._packets: asyncio.Queue[av.Packet | None] = asyncio.Queue()
        self._broken = True  # what comes cannot be decoded before the next key frame

    def estimate(self, bitrate: int) -> None:
        """Takes the viewer's estimate of what its network carries, in bits a second."""
        self.bitrate = bitrate
        self._rate_changed()

    def put(self, packet: av.Packet) -> None:
        """Queues one packet for the viewer; never waits."""
        if self._packets.qsize() >= CAPACITY:
            while not self._packets.empty():
                self._packets.get_nowait()
            self._broken = True
            self.request_keyframe()
        if self._broken and not packet.is_keyframe:
            return
        self._broken = False
        self._packets.put_nowait(packet)

    @property
    def waiting(self) -> int:
        """The number of packets that wait for the sender."""
        return self._packets.qsize()

    def stop(self) -> None:
        super().stop()
        self._packets.put_nowait(None)

    async def recv(self) -> av.Packet:
        """Returns the next packet. Raises MediaStreamError at the end."""
        packet = await self._packets.get() if self.readyState == "live" else None
        if packet is None or self.readyState != "live":
            raise MediaStreamError
        self.packets += 1
        return packet
