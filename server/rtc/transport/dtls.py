"""aiortc's DTLS transport, with GnuTLS (`gnutls.py`) for the peer that OpenSSL 4 does not shake hands with.

RTP is handled in the call that received it (`ice.py`), and not by a task that waits for the next datagram: nothing on
its way waits, unless RTCP goes out by a way that does. Packets that nobody looks at are dropped before the event loop,
which serves everybody, decrypts and parses them.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

import pylibsrtp
from aiortc import clock
from aiortc.rtcdtlstransport import RTCDtlsParameters, RTCDtlsTransport, State

from server.rtc.transport import eager, gnutls
from server.rtc.transport.ice import Datagrams
from server.rtc.transport.rtp import LiveExtensions

logger = logging.getLogger(__name__)

LONGEST_JUMP = 1 << 14  # sequence numbers: SRTP counts their rounds by what it decrypts (RFC 3711, 3.3.1)


class WantedPackets:
    """An SRTP session of incoming packets that decrypts those that are wanted, and all RTCP."""

    def __init__(self, session: pylibsrtp.Session, unwanted: Callable[[int], bool]) -> None:
        """`unwanted` takes a payload type."""
        self._session = session
        self._unwanted = unwanted
        self._decrypted: dict[int, int] = {}  # payload type → sequence number of the last one
        self.unprotect_rtcp = session.unprotect_rtcp

    def unprotect(self, data: bytes) -> bytes:
        """Returns the RTP packet. Raises pylibsrtp.Error where it is forged, or unwanted."""
        kind, number = data[1] & 127, int.from_bytes(data[2:4], "big")
        if self._unwanted(kind) and (number - self._decrypted.get(kind, -LONGEST_JUMP)) % 65536 < LONGEST_JUMP:
            raise pylibsrtp.Error("not wanted")
        packet = self._session.unprotect(data)
        self._decrypted[kind] = number
        return packet


class LiveDtlsTransport(RTCDtlsTransport):
    """aiortc's transport; `old_curves`, set before it starts, makes it one that knows P-224."""

    old_curves = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._rtp_header_extensions_map = LiveExtensions()
        self._unhandled: set[asyncio.Task[None]] = set()  # packets whose handling has to wait
        self._rests: dict[int | None, Callable[[], bool]] = {}  # by payload type

    def leave_out(self, payload_types: Collection[int | None], rests: Callable[[], bool]) -> None:
        """Drops packets of these payload types that come while `rests()`."""
        self._rests |= dict.fromkeys(payload_types, rests)

    def _unwanted(self, payload_type: int) -> bool:
        rests = self._rests.get(payload_type)
        return rests is not None and rests()

    def _setup_srtp(self) -> None:
        super()._setup_srtp()
        if self._rx_srtp is not None:
            self._rx_srtp = WantedPackets(self._rx_srtp, self._unwanted)  # type: ignore[assignment]

    async def start(self, remoteParameters: RTCDtlsParameters) -> None:
        await self._start(remoteParameters)
        datagrams = self.transport._connection._queue
        if self._state == State.CONNECTED and isinstance(datagrams, Datagrams):
            # Not before the connection has registered its receivers, which it does at once.
            asyncio.get_running_loop().call_soon(datagrams.hand_over, self._take_rtp)

    def _take_rtp(self, data: bytes) -> None:
        if self._task is None or self._state != State.CONNECTED:
            return
        self._RTCDtlsTransport__rx_bytes += len(data)  # type: ignore[attr-defined]
        self._RTCDtlsTransport__rx_packets += 1  # type: ignore[attr-defined]
        arrived_ms = clock.current_ms()
        try:
            packet = self._rx_srtp.unprotect(data)
        except (pylibsrtp.Error, ValueError) as error:  # forged, not wanted, or longer than any network's
            logger.debug("SRTP unprotect failed: %s", error)
            return
        try:
            waiting = eager.begin(self._handle_rtp_data(packet, arrival_time_ms=arrived_ms))
        except Exception:
            # As where a task reads the datagrams: the transport ends.
            logger.warning("a packet cannot be handled", exc_info=True)
            self.transport._connection._queue.put_nowait(None)
            return
        if waiting is not None:
            self._unhandled.add(waiting)
            waiting.add_done_callback(self._unhandled.discard)

    async def _start(self, remoteParameters: RTCDtlsParameters) -> None:
        if not self.old_curves or gnutls.library() is None:
            if self.old_curves:
                logger.warning("no GnuTLS here: an FFmpeg built with it may need -cert_file and -key_file, of P-256")
            await super().start(remoteParameters)
            return
        # As aiortc's `start`, with another `_ssl`.
        certificate: Any = self._RTCDtlsTransport__local_certificate  # type: ignore[attr-defined]
        if self._role == "auto":
            self._set_role("client")
        server = self._role == "server"
        self._ssl = gnutls.GnutlsConnection(certificate._cert, certificate._key, server)  # type: ignore[assignment]
        self._set_state(State.CONNECTING)
        for step in (self._do_handshake, lambda: self._validate_peer_identity(remoteParameters), self._setup_srtp):
            if (waiting := step()) is not None:
                await waiting
            if self._state == State.FAILED:
                return
        self._set_state(State.CONNECTED)
        self._task = asyncio.ensure_future(self._RTCDtlsTransport__run())  # type: ignore[attr-defined]
