"""The proxy variables of a lab's processes: of the environment that `kctl lab up` had, and only with an uplink.

An isolated lab reaches no proxy, so there the variables would break pulls from registries in the lab.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from cli.lab.layout import SUBNET, Lab

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set, by their upper-case names, which win over lower-case ones."""
    found = {name: environment.get(name) or environment.get(name.lower()) or "" for name in _NAMES}
    return {name: value for name, value in found.items() if value}


def environment(lab: Lab) -> dict[str, str]:
    """The environment for the lab's processes."""
    own = {name: value for name, value in os.environ.items() if name.upper() not in _NAMES}
    if lab.uplink and lab.proxies:
        # The lab's own hosts are never reached by a proxy.
        direct = ",".join(filter(None, [lab.proxies.get("NO_PROXY", ""), f"{SUBNET}.0/24", lab.cluster_cidr]))
        own |= {**lab.proxies, "NO_PROXY": direct}
    return own


def warnings(lab: Lab) -> list[str]:
    """Proxies that nodes cannot reach: each node has a loopback device of its own."""
    found = []
    for name, value in lab.proxies.items():
        if name != "NO_PROXY" and _is_loopback(value):
            found.append(f"{name} names this machine's loopback, which nodes do not reach: use an address of this machine")
    return found


def _is_loopback(value: str) -> bool:
    try:
        host = urlsplit(value if "://" in value else f"http://{value}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
