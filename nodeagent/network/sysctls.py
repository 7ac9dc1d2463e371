"""Network settings of the kernel (/proc/sys/net) that the overlay relies on: as values, read and written.

Of the calling thread's network namespace. A kernel without IPv6 has none of its settings, which then do not count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from nodeagent.network import vxlan
from nodeagent.network.guard import BRIDGE
from nodeagent.network.interface import Node
from pinnace.ipfamilies import families_of

_ROOT = Path("/proc/sys/net")
_FORWARDING = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
# Seconds for which a connection that one end has closed is tracked, and at least: the kernel's minute is shorter than some
# answers take, which would then reach the client of a Service untranslated. Source: kube-proxy's conntrack.tcpCloseWaitTimeout.
_CLOSE_WAIT, _LEAST_CLOSE_WAIT = "netfilter/nf_conntrack_tcp_timeout_close_wait", 3600
# Connection tracking sees some packets of a connection only: sequence numbers that it does not expect are valid.
_LIBERAL = {"netfilter/nf_conntrack_tcp_be_liberal": "1", "netfilter/nf_conntrack_tcp_ignore_invalid_rst": "1"}
# Of a device in linux/if_link.h, IN6_ADDR_GEN_MODE_NONE: the kernel makes no link-local address.
_NO_LINK_LOCAL = "1"

Settings = dict[str, str]


def has_ipv6() -> bool:
    return (_ROOT / "ipv6").exists()


def of_node(node: Node) -> Settings:
    """Of the bridge and the VXLAN device, and those of connection tracking with the fast path. Pure."""
    found = dict(_LIBERAL) if node.fast_path else {}
    found |= {
        # Answer ARP for pods that cannot hear each other.
        f"ipv4/conf/{BRIDGE}/proxy_arp_pvlan": "1",
        # For host ports on 127.0.0.1; `guard` keeps pods from reaching the node's own.
        f"ipv4/conf/{BRIDGE}/route_localnet": "1",
    }
    for device in (BRIDGE, vxlan.DEVICE):
        # No sender that is not behind the device; of IPv6, `guard` sees to it.
        found[f"ipv4/conf/{device}/rp_filter"] = "1"
        found |= _ipv6(device, used=6 in families_of(node.pod_cidrs))
        # IPv4 addresses stay on a device that was down for a moment; those of IPv6 would not.
        found[f"ipv6/conf/{device}/keep_addr_on_down"] = "1"
    return found


def all_of(node: Node) -> Settings:
    """Of the node's devices, and forwarding of its families; those that this kernel has."""
    found = of_node(node) | {_FORWARDING[family]: "1" for family in families_of(node.pod_cidrs)}
    return {name: value for name, value in found.items() if _counts(name)}


def read(names: Iterable[str]) -> Settings:
    """Without those that are not there, as those of a missing device."""
    found = Settings()
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = _read(name)
    return found


def of_pod(device: str) -> Settings:
    """Of a pod's device with an IPv6 address, before it is up. Pure."""
    return _ipv6(device, used=True)


def _ipv6(device: str, *, used: bool) -> Settings:
    """All addresses and routes are ours: no router advertisement is heard (CVE-2020-10749), no redirect is followed, and there
    is no link-local address, which a pod could send from. The last makes the device usable, or takes its IPv6 away."""
    settings = {
        "accept_ra": "0",
        "accept_redirects": "0",
        "addr_gen_mode": _NO_LINK_LOCAL,
        "disable_ipv6": "0" if used else "1",
    }
    return {f"ipv6/conf/{device}/{name}": value for name, value in settings.items()}


def wrong(wanted: Mapping[str, str]) -> Settings:
    """Those that have another value. Raises OSError."""
    return {name: value for name, value in wanted.items() if _counts(name) and _read(name) != value}


def write(wanted: Mapping[str, str]) -> None:
    """In order; without those of IPv6 where the kernel has none. Raises OSError."""
    for name, value in wanted.items():
        if _counts(name):
            (_ROOT / name).write_text(value)


def _counts(name: str) -> bool:
    """Of connection tracking, the kernel has some since a later release, and all once there is a rule for it."""
    if name.startswith("netfilter/"):
        return (_ROOT / name).exists()
    return not name.startswith("ipv6/") or has_ipv6()


def _read(name: str) -> str:
    return (_ROOT / name).read_text().strip()


def enable_forwarding(family: int) -> bool:
    """Returns whether it was off, and this host no router. Raises OSError."""
    was_off = _read(_FORWARDING[family]) == "0"
    if was_off:
        if family == 6:
            _keep_advertisements()
        (_ROOT / _FORWARDING[family]).write_text("1")
    return was_off


def keep_half_closed() -> None:
    """Track connections that one end has closed for an hour, or longer if they are already. Not before connections are tracked:
    the kernel has no such setting then. Raises OSError."""
    if int(_read(_CLOSE_WAIT)) < _LEAST_CLOSE_WAIT:
        (_ROOT / _CLOSE_WAIT).write_text(str(_LEAST_CLOSE_WAIT))


def _keep_advertisements() -> None:
    """Let devices that follow router advertisements do so when the host forwards, too (2 instead of 1): the host's default
    route may come from them."""
    for path in sorted((_ROOT / "ipv6/conf").iterdir()):
        setting = path / "accept_ra"
        if path.name not in ("all", "default") and setting.read_text().strip() == "1":
            setting.write_text("2")
