"""Addresses of this machine: which are its own alone, and by which its network reaches it."""

import ipaddress
import socket

import psutil

# Interfaces between this machine and its own containers and virtual machines.
BRIDGES = ("docker", "br-", "veth", "virbr", "podman", "cni", "lxc")


def is_loopback(host: str) -> bool:
    """True for an address or name of this machine that no other one reaches."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_any(host: str) -> bool:
    """True where a server that listens there listens on every address."""
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_unspecified
    except ValueError:
        return False


def lan_addresses() -> list[str]:
    """Returns this machine's IPv4 addresses that other machines of its network may reach, private ones first."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        ipaddress.ip_address(each.address)
        for name, addresses in sorted(psutil.net_if_addrs().items())
        if name in up and not name.startswith(BRIDGES)
        for each in addresses
        if each.family == socket.AF_INET
    ]
    usable = [each for each in found if not (each.is_loopback or each.is_link_local or each.is_unspecified)]
    return [str(each) for each in sorted(dict.fromkeys(usable), key=lambda each: not each.is_private)]
