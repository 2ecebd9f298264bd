"""Slows whoever tries wrong tokens. No sockets; the clock is an argument.

Only tokens that nobody signed count and wait: a shared secret may be short enough to be guessed, a signature is not.
"""

import ipaddress
from collections import OrderedDict

from server.errors import TooFast
from server.session.admission import TokenBucket

BURST, PER_S = 20, 0.2
WAIT_S = 60.0
MAX_ADDRESSES = 4096


class GuessLimit:
    """Counts wrong tokens by address; past `BURST` at once that address waits `WAIT_S`."""

    def __init__(self, burst: float = BURST) -> None:
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._until_s: dict[str, float] = {}

    def check(self, address: str, now_s: float) -> None:
        """Raises TooFast where this address has to wait."""
        if now_s < self._until_s.get(_neighbourhood(address), float("-inf")):
            raise TooFast(
                "too many wrong tokens came from your address",
                f"wait {WAIT_S:.0f} s; links and tokens that this server signed work meanwhile",
            )

    def wrong(self, address: str, now_s: float) -> bool:
        """Counts one; returns True where the address has to wait from now on."""
        key = _neighbourhood(address)
        bucket = self._buckets.setdefault(key, TokenBucket(PER_S, self._burst))
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_ADDRESSES:
            forgotten, _ = self._buckets.popitem(last=False)
            self._until_s.pop(forgotten, None)
        if bucket.take(now_s):
            return False
        self._until_s[key] = now_s + WAIT_S
        return True


def _neighbourhood(address: str) -> str:
    """Returns what one household has of an address: of IPv6 its first 64 bits, of IPv4 all."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if known.version == 4 or known.ipv4_mapped is not None:
        return str(known if known.version == 4 else known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))
