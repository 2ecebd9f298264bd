"""aiortc's DTLS transport, with GnuTLS (`gnutls.py`) for the peer that OpenSSL 4 does not shake hands with."""

import asyncio
import logging
from typing import Any

from aiortc.rtcdtlstransport import RTCDtlsParameters, RTCDtlsTransport, State

from server.rtc.transport import gnutls

logger = logging.getLogger(__name__)


class LiveDtlsTransport(RTCDtlsTransport):
    """aiortc's transport; `old_curves`, set before it starts, makes it one that knows P-224."""

    old_curves = False

    async def start(self, remoteParameters: RTCDtlsParameters) -> None:
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
