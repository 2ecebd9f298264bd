"""DTLS on GnuTLS, by ctypes, for the one peer that OpenSSL 4 refuses: FFmpeg's WHIP muxer.

Built with GnuTLS (PyAV's wheel of FFmpeg 8.1.2 is) it makes a P-224 certificate. OpenSSL 4 is built without that curve
in TLS (RFC 8422 deprecated it) and ends the handshake with illegal_parameter; RFC 8827 asks for P-256. The library is
the one that came with PyAV, or the system's. As everywhere in WebRTC, the fingerprint in the SDP says who the peer is.
"""

import ctypes
import ctypes.util
import errno
import logging
import weakref
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import av
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

logger = logging.getLogger(__name__)

SERVER, CLIENT, DATAGRAM, NONBLOCK = 1, 1 << 1, 1 << 2, 1 << 3  # gnutls_init_flags_t
CERTIFICATE = 1  # gnutls_credentials_type_t
REQUIRE = 2  # gnutls_certificate_request_t
PEM = 1  # gnutls_x509_crt_fmt_t
SRTP_AES128_CM_SHA1_80 = 1  # gnutls_srtp_profile_t
SHUT_WR = 1
AGAIN, INTERRUPTED = -28, -52
PRIORITIES = b"NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:+GROUP-SECP224R1"
MTU = 1200
# FFmpeg throws the first packet of a handshake away: say it again soon.
RETRANSMIT_MS, GIVE_UP_MS = 250, 15_000

_PUSH = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_PULL = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_WAIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


class _Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


class _Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_ubyte)), ("size", ctypes.c_uint)]


@cache
def library() -> Any:
    """Returns GnuTLS, or None where this machine has none."""
    beside = Path(av.__file__).parent
    found = sorted([*beside.parent.glob("av.libs/libgnutls*"), *beside.glob(".dylibs/libgnutls*")])
    name = str(found[0]) if found else ctypes.util.find_library("gnutls")
    if name is None:
        return None
    try:
        lib = ctypes.CDLL(name)
        lib.gnutls_certificate_get_peers.restype = ctypes.POINTER(_Bytes)
        lib.gnutls_strerror.restype = ctypes.c_char_p
        lib.gnutls_dtls_get_timeout.restype = ctypes.c_uint
        lib.gnutls_record_recv.restype = ctypes.c_ssize_t
        for needed in ("gnutls_prf_rfc5705", "gnutls_srtp_set_profile", "gnutls_transport_set_errno"):
            getattr(lib, needed)
    except (OSError, AttributeError) as error:
        logger.warning("GnuTLS (%s) cannot be used: %s", name, error)
        return None
    return lib


class GnutlsConnection:
    """One side of a handshake, with the methods of pyOpenSSL's Connection that aiortc (1.16) calls."""

    def __init__(self, certificate: x509.Certificate, key: Any, server: bool) -> None:
        self._lib = lib = library()
        self._in: deque[bytes] = deque()
        self._out: list[bytes] = []
        self._done = False
        self._session = ctypes.c_void_p()
        self._check(lib.gnutls_init(ctypes.byref(self._session), (SERVER if server else CLIENT) | DATAGRAM | NONBLOCK))
        credentials = ctypes.c_void_p()
        self._check(lib.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
        weakref.finalize(self, _free, lib, self._session, credentials)
        pems = (
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        data = [_Datum(pem, len(pem)) for pem in pems]
        self._check(
            lib.gnutls_certificate_set_x509_key_mem(credentials, ctypes.byref(data[0]), ctypes.byref(data[1]), PEM)
        )
        self._check(lib.gnutls_credentials_set(self._session, CERTIFICATE, credentials))
        if server:
            lib.gnutls_certificate_server_set_request(self._session, REQUIRE)
        self._check(lib.gnutls_priority_set_direct(self._session, PRIORITIES, None))
        self._check(lib.gnutls_srtp_set_profile(self._session, SRTP_AES128_CM_SHA1_80))
        lib.gnutls_dtls_set_mtu(self._session, MTU)
        lib.gnutls_dtls_set_timeouts(self._session, RETRANSMIT_MS, GIVE_UP_MS)
        # Weak, since GnuTLS holds the callbacks as long as the session, which ends with this object.
        me = weakref.ref(self)
        self._callbacks = (
            _PUSH(lambda _, data, size: _owner(me)._push(data, size)),
            _PULL(lambda _, data, size: _owner(me)._pull(data, size)),
            _WAIT(lambda _, ms: int(bool(_owner(me)._in))),
        )
        lib.gnutls_transport_set_push_function(self._session, self._callbacks[0])
        lib.gnutls_transport_set_pull_function(self._session, self._callbacks[1])
        lib.gnutls_transport_set_pull_timeout_function(self._session, self._callbacks[2])

    def do_handshake(self) -> None:
        """Goes on with the handshake. Raises SSL.WantReadError until it is done, SSL.Error where it failed."""
        while not self._done:
            code = self._lib.gnutls_handshake(self._session)
            if code == AGAIN:
                raise SSL.WantReadError
            if code < 0 and (code != INTERRUPTED and self._lib.gnutls_error_is_fatal(code)):
                raise SSL.Error(self._lib.gnutls_strerror(code).decode())
            self._done = code == 0

    def bio_write(self, data: bytes) -> None:
        """Takes a datagram of the peer."""
        self._in.append(data)

    def bio_read(self, size: int) -> bytes:
        """Returns what is to be sent, as one datagram."""
        data, self._out = b"".join(self._out), []
        return data

    def recv(self, size: int) -> bytes:
        """Returns nothing, since WebRTC's media does not come this way. Raises SSL.ZeroReturnError at the end."""
        if not self._done:
            raise SSL.WantReadError
        buffer = ctypes.create_string_buffer(size)
        count = self._lib.gnutls_record_recv(self._session, buffer, ctypes.c_size_t(size))
        if count == 0:
            raise SSL.ZeroReturnError
        if count < 0:
            raise SSL.Error(self._lib.gnutls_strerror(count).decode())
        return buffer.raw[:count]

    def shutdown(self) -> None:
        """Says goodbye."""
        if self._done:
            self._lib.gnutls_bye(self._session, SHUT_WR)

    def DTLSv1_get_timeout(self) -> float | None:
        """Returns the seconds until the last flight is due again; None once the handshake is done."""
        return None if self._done else max(0.01, self._lib.gnutls_dtls_get_timeout(self._session) / 1e3)

    def DTLSv1_handle_timeout(self) -> None:
        """Does nothing: `do_handshake` comes next and sends again what is due."""

    def get_peer_certificate(self, as_cryptography: bool = True) -> x509.Certificate:
        """Returns the peer's certificate."""
        count = ctypes.c_uint()
        peers = self._lib.gnutls_certificate_get_peers(self._session, ctypes.byref(count))
        if not peers or not count.value:
            raise SSL.Error("the peer has no certificate")
        return x509.load_der_x509_certificate(bytes(peers[0].data[: peers[0].size]))

    def get_selected_srtp_profile(self) -> bytes:
        """Returns the negotiated protection profile, by OpenSSL's name; b"" without one."""
        profile = ctypes.c_int()
        code = self._lib.gnutls_srtp_get_selected_profile(self._session, ctypes.byref(profile))
        return b"SRTP_AES128_CM_SHA1_80" if code == 0 and profile.value == SRTP_AES128_CM_SHA1_80 else b""

    def export_keying_material(self, label: bytes, size: int) -> bytes:
        """Returns `size` bytes of keying material (RFC 5705)."""
        out = ctypes.create_string_buffer(size)
        code = self._lib.gnutls_prf_rfc5705(
            self._session, ctypes.c_size_t(len(label)), label, ctypes.c_size_t(0), None, ctypes.c_size_t(size), out
        )
        self._check(code)
        return out.raw

    def _check(self, code: int) -> None:
        if code < 0:
            raise SSL.Error(self._lib.gnutls_strerror(code).decode())

    def _push(self, data: int, size: int) -> int:
        self._out.append(ctypes.string_at(data, size))
        return size

    def _pull(self, data: int, size: int) -> int:
        if not self._in:
            self._lib.gnutls_transport_set_errno(self._session, errno.EAGAIN)
            return -1
        datagram = self._in.popleft()[:size]
        ctypes.memmove(data, datagram, len(datagram))
        return len(datagram)


def _owner(ref: "weakref.ref[GnutlsConnection]") -> GnutlsConnection:
    owner = ref()
    assert owner is not None  # GnuTLS calls back within its methods alone
    return owner


def _free(lib: Any, session: ctypes.c_void_p, credentials: ctypes.c_void_p) -> None:
    lib.gnutls_deinit(session)
    lib.gnutls_certificate_free_credentials(credentials)
