"""A pod's port on the bridge, on which a pod may say what it likes and is believed by nobody.

A container with NET_RAW, which Kubernetes grants by default, sends what frames it wants: answers to ARP in a neighbour's
name, or frames from a neighbour's MAC address. So no ARP passes from port to port: the bridge answers for the pods (a
private VLAN, RFC 3069) and routes between them. Whose MAC address is at which port, and which address it has, is written
by us and never learnt from frames. The ports are not isolated instead (IFLA_BRPORT_ISOLATED): where br_netfilter is on,
what was sent to a host port or a Service is bridged to a pod of the same node, and would be dropped.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

# Names of the ports begin so, and no other device's.
PREFIX = "pnc"
# linux/neighbour.h: an FDB entry that stays, of a port; a neighbour that stays.
_NUD_NOARP, _NUD_PERMANENT, _NTF_MASTER = 0x40, 0x80, 0x04
# IFLA_BRPORT_MODE: back out where it came in, for a pod that asks a port of its node that leads to itself.
_HAIRPIN = 1


def rules(table: str) -> list[dict[str, Any]]:
    """No ARP between ports, in nft's JSON form: frames for the bridge itself do not pass its forward hook."""
    base = {"family": "bridge", "table": table}
    chain = {**base, "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
    ours, arp = (
        {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": value}}
        for key, value in (("iifname", f"{PREFIX}*"), ("protocol", "arp"))
    )
    return [
        {"add": {"table": {"family": "bridge", "name": table}}},
        {"delete": {"table": {"family": "bridge", "name": table}}},
        {"add": {"table": {"family": "bridge", "name": table}}},
        {"add": {"chain": chain}},
        {"add": {"rule": {**base, "chain": "forward", "expr": [ours, arp, {"drop": None}]}}},
    ]


def prepare(route: Any, *, bridge: int, name: str, gateway: str) -> None:
    """Have the bridge answer for pods that cannot hear each other. Raises OSError, NetlinkError."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/proxy_arp_pvlan").write_text("1")
    # Its own, by the address as CNI's bridge does: else it takes that of a port, changes with them, and at each change
    # the kernel forgets the neighbours of the bridge, permanent ones too.
    mac = "0a:58:" + ":".join(f"{int(part):02x}" for part in gateway.split("."))
    if route.get_links(bridge)[0].get_attr("IFLA_ADDRESS") != mac:
        route.link("set", index=bridge, address=mac)


def close_in(route: Any, *, port: int, bridge: int, mac: str, address: str) -> None:
    """Make a device a port for the pod with this MAC address and IP address. Raises NetlinkError."""
    route.link("set", index=port, master=bridge, ifalias=address)
    route.link("set", index=port, kind="bridge_slave", mode=_HAIRPIN, learning=0)
    try:
        route.fdb("add", ifindex=port, lladdr=mac, state=_NUD_NOARP, flags=_NTF_MASTER)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
    route.neigh("replace", ifindex=bridge, dst=address, lladdr=mac, state=_NUD_PERMANENT)


def forget(route: Any, *, port: int, bridge: int) -> None:
    """Before a port goes: what is not removed with it. Raises NetlinkError."""
    address = route.get_links(port)[0].get_attr("IFLA_IFALIAS")
    if address is None:
        return
    try:
        route.neigh("del", ifindex=bridge, dst=address)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise
