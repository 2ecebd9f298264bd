"""Carry Ethernet frames between two interfaces as a bad network would; conditions come as lines of JSON on stdin.

    python -m bench.network.bridge INTERFACE INTERFACE

Each line holds the fields of `Conditions`, both directions alike. Root only. Started by `bench.network.namespaces`.
"""

import contextlib
import heapq
import json
import os
import select
import socket
import sys
import time
from dataclasses import replace

from bench.network.link import Conditions, Link

ETH_P_ALL = 3
IP = (b"\x08\x00", b"\x08\x06")  # IPv4 and ARP; nothing else is carried
SIZE = 1 << 17


def raw_socket(interface: str) -> socket.socket:
    """Returns a socket that reads and writes whole frames of `interface`."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((interface, 0))
    opened.setblocking(False)
    return opened


def carry(first: str, second: str) -> None:
    """Carries frames until stdin ends."""
    sockets = [raw_socket(first), raw_socket(second)]
    links = [Link(Conditions(), 1), Link(Conditions(), 2)]
    due: list[tuple[float, int, int, bytes]] = []  # time, order, the socket to send on, frame
    order = 0
    while True:
        wait_s = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        readable, _, _ = select.select([*sockets, sys.stdin.fileno()], [], [], wait_s)
        if sys.stdin.fileno() in readable:
            if not (line := os.read(sys.stdin.fileno(), 65536)):
                return
            for link in links:
                link.conditions = replace(Conditions(), **json.loads(line.splitlines()[-1]))
        now_s = time.monotonic()
        for side, opened in enumerate(sockets):
            while (frame := _read(opened)) is not None:
                if frame and (out_s := links[side].send(now_s, len(frame))) is not None:
                    order += 1
                    heapq.heappush(due, (out_s, order, 1 - side, frame))
        now_s = time.monotonic()
        while due and due[0][0] <= now_s:
            _, _, side, frame = heapq.heappop(due)
            with contextlib.suppress(OSError):  # an interface that is down, or full: lost
                sockets[side].send(frame)


def _read(opened: socket.socket) -> bytes | None:
    """Returns a frame that came in, b"" for one that is not carried; None: there is none."""
    try:
        frame, address = opened.recvfrom(SIZE)
    except OSError:
        return None
    outgoing = address[2] == socket.PACKET_OUTGOING
    return b"" if outgoing or frame[12:14] not in IP else frame


if __name__ == "__main__":
    carry(sys.argv[1], sys.argv[2])
