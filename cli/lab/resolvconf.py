"""resolv.conf(5): the resolvers of this machine, and the file by which a lab's nodes find the lab's forwarder. Pure."""

from __future__ import annotations

import ipaddress
from pathlib import Path

PATH = Path("/etc/resolv.conf")
# As glibc: further ones are ignored (MAXNS), and without any the local host is asked.
MAX_SERVERS = 3
_DEFAULT = "127.0.0.1"
_COPIED = ("search", "domain", "options")


def servers(text: str) -> list[str]:
    """Addresses of the name servers in order, IPv6 ones with their zone (fe80::1%eth0)."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            found.append(words[1])
    return found[:MAX_SERVERS] or [_DEFAULT]


def for_nodes(text: str, address: str) -> str:
    """The same search domains and options, with `address` as the only name server."""
    kept = [line.strip() for line in text.splitlines() if line.split()[:1] and line.split()[0] in _COPIED]
    return "\n".join([f"nameserver {address}", *kept]) + "\n"


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
