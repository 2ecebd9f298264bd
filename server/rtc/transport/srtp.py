"""SRTP without giving up the interpreter's lock: pylibsrtp (1.0) calls libsrtp by cffi, which always does.

A packet takes 2 µs, and whoever lets the lock go may wait for 5 ms until another thread gives it back: on a busy server
most of a packet's time was spent so. The same functions of the same library are called here, by ctypes.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import pylibsrtp
from pylibsrtp import ERRORS, SRTP_MAX_SRTCP_TRAILER_LEN, SRTP_MAX_TRAILER_LEN, Error, Policy
from pylibsrtp._binding import ffi, lib

CAPACITY = 2048  # bytes: a datagram on any usual network

# (session, buffer, length: in and out) → error; PYFUNCTYPE keeps the lock.
_Function = Callable[[int, int, int], int]
_prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def _held(name: str) -> _Function:
    return _prototype(int(ffi.cast("uintptr_t", ffi.addressof(lib, name))))


_protect, _protect_rtcp = _held("srtp_protect"), _held("srtp_protect_rtcp")
_unprotect, _unprotect_rtcp = _held("srtp_unprotect"), _held("srtp_unprotect_rtcp")


class LiveSession(pylibsrtp.Session):
    """pylibsrtp's session: same results, same errors. One thread at a time."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy)
        self._handle = int(ffi.cast("uintptr_t", self._srtp[0]))
        self._memory = ctypes.create_string_buffer(CAPACITY)
        self._bytes: Any = memoryview(self._memory).cast("B")
        self._length = ctypes.c_int()
        self._at = ctypes.addressof(self._memory), ctypes.addressof(self._length)

    def protect(self, packet: bytes) -> bytes:
        return self._processed(_protect, packet, SRTP_MAX_TRAILER_LEN)

    def protect_rtcp(self, packet: bytes) -> bytes:
        return self._processed(_protect_rtcp, packet, SRTP_MAX_SRTCP_TRAILER_LEN)

    def unprotect(self, packet: bytes) -> bytes:
        return self._processed(_unprotect, packet, 0)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        return self._processed(_unprotect_rtcp, packet, 0)

    def _processed(self, function: _Function, packet: bytes, trailer: int) -> bytes:
        if not isinstance(packet, bytes):
            raise TypeError("packet must be bytes")
        length = len(packet)
        if length > CAPACITY - trailer:
            raise ValueError("packet is too long")
        self._bytes[:length] = packet
        self._length.value = length
        if error := function(self._handle, *self._at):
            raise Error(ERRORS[error])
        return bytes(self._bytes[: self._length.value])
