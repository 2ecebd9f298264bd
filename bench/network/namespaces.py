"""Two network namespaces with a bad network between them: a server's and a client's. Linux, as root, needs iproute2."""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bench.network.link import Conditions

SERVER_ADDRESS = "10.77.0.1"
CLIENT_ADDRESS = "10.77.0.2"
OTHER_ADDRESS = "10.77.0.3"  # the client's, after the change
ROOT = Path(__file__).resolve().parents[2]
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO = 0x17, 0x1F, 0x24


def ip(*words: str, missing_ok: bool = False) -> None:
    """Runs `ip`. Raises CalledProcessError."""
    subprocess.run(["ip", *words], check=not missing_ok, capture_output=missing_ok)


class Network:
    """The two namespaces, by name, and the network between them."""

    def __init__(self, bridge: "subprocess.Popen[bytes]", prefix: str) -> None:
        self._bridge = bridge
        self._prefix = prefix

    def command(self, side: str, *words: str) -> list[str]:
        """Returns `words` as they run on `side`: server or client."""
        return ["ip", "netns", "exec", f"{self._prefix}{side}", *words]

    def become(self, conditions: Conditions) -> None:
        """Makes the network so, both ways, from now on."""
        assert self._bridge.stdin is not None
        self._bridge.stdin.write(json.dumps(asdict(conditions)).encode() + b"\n")
        self._bridge.stdin.flush()

    def change_address(self, old: str = CLIENT_ADDRESS, new: str = OTHER_ADDRESS) -> None:
        """Takes the client's address away and gives it another one, as a change of Wi-Fi does."""
        name, device = f"{self._prefix}client", f"{self._prefix}c1"
        ip("-n", name, "addr", "del", f"{old}/24", "dev", device)
        ip("-n", name, "addr", "add", f"{new}/24", "dev", device)


@contextlib.contextmanager
def network(prefix: str = "rl") -> Iterator[Network]:
    """Makes the namespaces and takes them away again. Raises PermissionError unless this is root."""
    if os.geteuid() != 0:
        raise PermissionError("network namespaces take root: run it with sudo, or in a container")
    sides = {"server": SERVER_ADDRESS, "client": CLIENT_ADDRESS}
    bridge = None
    try:
        for side, address in sides.items():
            name, ours, theirs = f"{prefix}{side}", f"{prefix}{side[0]}0", f"{prefix}{side[0]}1"
            _remove(prefix, side)  # what an interrupted run left
            ip("netns", "add", name)
            ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
            _plain(theirs)
            ip("link", "set", theirs, "netns", name)
            ip("link", "set", ours, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", theirs)
            for device in ("lo", theirs):
                ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "route", "add", "default", "dev", theirs)  # a browser without one stays offline
        words = [sys.executable, "-m", "bench.network.bridge", f"{prefix}s0", f"{prefix}c0"]
        bridge = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=ROOT)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(bridge.pid, os.SCHED_RR, os.sched_param(2))  # a busy machine is not a slow network
        yield Network(bridge, prefix)
    finally:
        if bridge is not None:
            bridge.kill()
            bridge.wait()
        for side in sides:
            _remove(prefix, side)


def _remove(prefix: str, side: str) -> None:
    """Takes a namespace away, with what still runs in it, if there is one."""
    listed = subprocess.run(["ip", "netns", "pids", f"{prefix}{side}"], capture_output=True, text=True)
    for pid in listed.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "del", f"{prefix}{side}", missing_ok=True)
    ip("link", "del", f"{prefix}{side[0]}0", missing_ok=True)


def _plain(device: str) -> None:
    """Makes `device` send frames that are whole: with their checksums, none longer than the wire takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))  # off
            request = struct.pack("16sP8x", device.encode(), ctypes.addressof(value))
            with contextlib.suppress(OSError):  # one that is off with another
                fcntl.ioctl(control, SIOCETHTOOL, request)
