"""Asks the receiver to show every picture as soon as it is decoded: the RTP header extension "playout-delay".

A browser otherwise paces pictures by their RTP timestamps, which run on the source's clock: after a change to an engine
that is 3 s faster it would hold each for 3 s, and after one that is slower its jitter buffer grows by 0.2 s for a while
(Chromium 156). Pictures that come too early are paced by us. Where the sound goes through the connection too the
receiver still delays the picture to match it: the most it may, MAX_DELAY, is not zero.
"""

from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, pack_header_extensions, unpack_header_extensions

from server.rtc.transport.rtp import LARGEST_SHORT, ONE_BYTE, LiveExtensions

URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
ID = 12  # in offers of ours; an answer takes the offer's
MAX_DELAY = 50  # in 10 ms; Chromium shows pictures at once up to this limit
VALUE = MAX_DELAY.to_bytes(3, "big")  # 12 bits of the least delay, 12 of the most


class PromptExtensions(LiveExtensions):
    """Adds the extension to every packet, once it is negotiated."""

    def __init__(self) -> None:
        super().__init__()
        self._id: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        self._id = next((each.id for each in parameters.headerExtensions if each.uri == URI), None)
        short = self._id is not None and self._id <= LARGEST_SHORT
        self._always = bytes([(self._id or 0) << 4 | len(VALUE) - 1]) + VALUE if short else b""

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        if self._id is None:
            return super().set(values)
        if self._always and (value := self._usual(values)) is not None:
            return ONE_BYTE, value
        profile, value = HeaderExtensionsMap.set(self, values)
        return pack_header_extensions([*unpack_header_extensions(profile, value), (self._id, VALUE)])


def offer_extension() -> None:
    """Makes aiortc negotiate the extension for video. Again: nothing happens."""
    if all(each.uri != URI for each in HEADER_EXTENSIONS["video"]):
        HEADER_EXTENSIONS["video"].append(RTCRtpHeaderExtensionParameters(id=ID, uri=URI))
