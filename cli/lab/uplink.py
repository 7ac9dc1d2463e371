"""A lab's way out: a link from its switch to this machine's network, with masquerade, and a forwarder for names.

    pod - node - switch (br0, masquerade) - link - this machine (masquerade) - its networks

Everything can be made again at any time: `connect` replaces what a crash has left, `disconnect` removes whatever there is.
Devices and tables are found by name, the forwarder by its namespace, so no record is needed to remove them.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from cli.lab import faultrecord, firewall, forwarding, hosts, links, processes, reach, resolvconf
from cli.lab.layout import GATEWAY, SWITCH, Lab
from cli.lab.links import Link, Route
from cli.lab.netns import entered
from pinnace.dns.bursts import keep_bursts
from pinnace.errors import ApiError, Internal

DNS_PORT = 53
_BACKLOG = 64


class NoUplink(Exception):
    """An uplink cannot be made: `reason` and `fix` are clauses for one message."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason}: {fix}")
        self.reason, self.fix = reason, fix


def connect(lab: Lab) -> None:
    """Make what the lab's uplink lacks; flows through it go on. Raises NoUplink, and leaves nothing of it then."""
    try:
        _check_resolvers()
        with forwarding.locked():
            present = _routes()
            if not _linked(lab):
                _remove_device(lab)
                _make_link(lab, _choose(lab, present))
            _close_switch(lab)
            _open_forwarding(lab, present)
            _write_table()
        _write_resolv_conf(lab, resolvconf.for_nodes(_read_resolvers(), GATEWAY))
        if not processes.alive(lab.processes.get(SWITCH)):
            _start_forwarder(lab)
    except NoUplink:
        disconnect(lab)
        raise
    except ApiError as error:
        disconnect(lab)
        raise NoUplink(error.message, "`kctl doctor` checks what an uplink needs") from None


def open_to_machine(lab: Lab, pods: Mapping[str, str]) -> list[str]:
    """Routes to the pods of all nodes, by their pod CIDRs, and to Services, where the lab is to be reached; returns warnings.
    Raises ApiError."""
    if not lab.reach or lab.device not in _addresses():
        return []
    with forwarding.locked():
        lines, found = reach.machine_routes(lab, _link(lab), _routes(but=lab.device))
        hosts.batch(lab, SWITCH, reach.pod_routes(lab, pods))
        lead_services(lab)
        hosts.command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    return found


def lead_services(lab: Lab) -> None:
    """The switch's route to Services over a node that runs and is not cut off, where the lab is to be reached; without such a
    node it stays as it is. Raises ApiError."""
    cut = faultrecord.cut_off(lab)
    able = [node for node in lab.nodes if node not in cut and processes.alive(lab.processes.get(node))]
    if lab.reach and _present(lab) and (lines := reach.service_route(lab, able)):
        hosts.batch(lab, SWITCH, lines)


def disconnect(lab: Lab) -> None:
    """Remove the lab's uplink, or what is left of it. Raises ApiError when something resists."""
    processes.end(lab, SWITCH)
    _write_resolv_conf(lab, _read_resolvers())
    with forwarding.locked():
        _remove_device(lab)
        _write_table()


def exists(lab: Lab) -> bool:
    """Whether there is a link, a process of the switch's, or an orphan. Raises Timeout."""
    return _present(lab) or bool(processes.of_host(lab, SWITCH) or orphans())


def leftovers(lab: Lab) -> list[str]:
    """The lab's device, and orphans. Raises Timeout."""
    return [*([f"device {lab.device}"] if _present(lab) else []), *orphans()]


def orphans() -> list[str]:
    """Changes of this machine that were for uplinks, when it has none: a kctl was killed while it removed the last one. Raises
    Timeout."""
    if not _orphaned():
        return []
    # Another kctl may be making or removing an uplink just now.
    with forwarding.locked():
        return _orphaned()


def _orphaned() -> list[str]:
    if any(name.startswith(links.PREFIX) for _, name in socket.if_nameindex()):
        return []
    found = [f"forwarding of {name}" for name in forwarding.opened()]
    with contextlib.suppress(Internal):
        if f"table ip {firewall.TABLE}" in hosts.command(["nft", "list", "tables", "ip"]).splitlines():
            found.append(f"table ip {firewall.TABLE}")
    return found


def _present(lab: Lab) -> bool:
    return lab.device in {name for _, name in socket.if_nameindex()}


def describe(lab: Lab) -> str:
    """For `lab list` and `lab status`."""
    if not lab.uplink:
        return "isolated"
    if not _present(lab):
        return "down"
    return lab.device if processes.alive(lab.processes.get(SWITCH)) else f"{lab.device}, no DNS"


def warnings(lab: Lab) -> list[str]:
    """Networks of this machine that the lab's own addresses hide from its pods."""
    return hidden(lab, _routes())


def hidden(lab: Lab, present: list[Route]) -> list[str]:
    """The same by this machine's routes. Pure."""
    found = []
    for text, what, flag in (
        (reach.NODES, "", ""),
        (lab.cluster_cidr, "pods", "--cluster-cidr"),
        (lab.service_cidr, "Services", "--service-cluster-ip-range"),
    ):
        if text and (clash := links.overlapping(IPv4Network(text), present)) is not None:
            fix = f" (another range for {what}: kctl lab up --control-arg={flag}=CIDR)" if flag else ""
            found.append(f"pods cannot reach this machine's network {clash}, for {text} is the lab's own{fix}")
    return found


def clash() -> str:
    """Why no lab could have a link, in the default ranges; empty when one could."""
    try:
        links.choose("", _routes(), [])
    except links.Clash as error:
        return str(error)
    return ""


def _check_resolvers() -> None:
    if not resolvconf.PATH.is_file():
        raise NoUplink(f"{resolvconf.PATH} is missing", "write `nameserver ADDRESS` there, or start the service that does")


def _read_resolvers() -> str:
    try:
        return resolvconf.PATH.read_text(errors="replace")
    except OSError:
        return ""


def _write_resolv_conf(lab: Lab, text: str) -> None:
    """In place: the nodes' /etc/resolv.conf is this file, by a bind mount."""
    with contextlib.suppress(FileNotFoundError):
        lab.resolv_conf.write_text(text)


def _routes(*, but: str = "") -> list[Route]:
    return links.routes(_ip("route", "show", "table", "all"), but=but)


def _ip(*words: str) -> Any:
    return json.loads(hosts.command(["ip", "-json", "-4", *words]) or "[]")


def _addresses() -> dict[str, str]:
    """The switch's side of every lab's link, by device of this machine."""
    found = {}
    for item in _ip("address", "show"):
        if item.get("ifname", "").startswith(links.PREFIX) and item["addr_info"]:
            local = item["addr_info"][0]
            network = IPv4Network(f"{local['local']}/{local['prefixlen']}", strict=False)
            found[item["ifname"]] = Link(network).switch
    return found


def _choose(lab: Lab, present: list[Route]) -> Link:
    taken = [IPv4Network(f"{address}/{links.LENGTH}", strict=False) for address in _addresses().values()]
    ranges = [lab.uplink_cidr] if lab.uplink_cidr else links.RANGES
    try:
        return links.choose(lab.name, present, taken, ranges, own=reach.ranges(lab))
    except links.Clash as clash:
        raise NoUplink(
            f"no network is free for the link: {clash}", "choose one with `kctl lab up --uplink-cidr CIDR`"
        ) from None


def _linked(lab: Lab) -> bool:
    """Whether both ends of the link are where they belong."""
    return lab.device in _addresses() and "uplink" in hosts.devices(lab, SWITCH)


def _make_link(lab: Lab, link: Link) -> None:
    names = f"{lab.device} alias pinnace-lab-{lab.name}"
    lines = [
        f"link add {lab.device} type veth peer name uplink netns {lab.namespace(SWITCH, 'net')}",
        f"link set dev {names} addrgenmode none",
        f"address add {link.host}/{links.LENGTH} dev {lab.device}",
        f"link set dev {lab.device} up",
    ]
    hosts.command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    hosts.batch(lab, SWITCH, [
        "link set dev uplink addrgenmode none",
        f"address add {link.switch}/{links.LENGTH} dev uplink",
        "link set dev uplink up",
        f"route add default via {link.host}",
    ])  # fmt: skip


def _link(lab: Lab) -> Link:
    """Of a lab that has one."""
    return Link(IPv4Network(f"{_addresses()[lab.device]}/{links.LENGTH}", strict=False))


def _close_switch(lab: Lab) -> None:
    machine = _link(lab).host if lab.reach else ""
    with entered(lab.namespace(SWITCH, "net")):
        _nft(firewall.switch(GATEWAY, machine))


def _open_forwarding(lab: Lab, present: list[Route]) -> None:
    try:
        forwarding.open_link(lab.device)
        forwarding.open_devices(links.forwarding_devices(present))
    except Internal as error:
        raise NoUplink(
            f"forwarding cannot be enabled: {error.message}", "run sysctl -w net.ipv4.ip_forward=1 where it can be"
        ) from None


def _write_table() -> None:
    """The machine's table for the links that exist; without any, forwarding and table are as before the first."""
    addresses = sorted(_addresses().values())
    if not addresses:
        forwarding.restore()
        with contextlib.suppress(NoUplink):
            _nft(firewall.removal())
        return
    _nft(firewall.host(addresses, forwarding.opened()))


def _nft(rules: str) -> None:
    try:
        hosts.command(["nft", "-f", "-"], stdin=rules)
    except Internal as error:
        missing = "No such file" in error.message and error.message.startswith("nft: ")
        fix = "apt-get install nftables" if missing else "modprobe nf_tables nft_chain_nat nft_masq nft_ct"
        raise NoUplink("nft is missing" if missing else error.message, fix) from None


def _remove_device(lab: Lab) -> None:
    """The switch's side, its address and its routes go with it."""
    with contextlib.suppress(OSError):
        socket.if_nametoindex(lab.device)
        hosts.command(["ip", "link", "delete", "dev", lab.device])


def _start_forwarder(lab: Lab) -> None:
    """Its sockets are opened here, in the switch, so that a port that is taken is told at once."""
    processes.end(lab, SWITCH)
    with entered(lab.namespace(SWITCH, "net")):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with udp, tcp:
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keep_bursts(udp)
            for sock in (udp, tcp):
                sock.bind((GATEWAY, DNS_PORT))
            tcp.listen(_BACKLOG)
        except OSError as error:
            raise Internal(f"{GATEWAY}:{DNS_PORT}: {error.strerror}") from None
        processes.start_forwarder(lab, udp.fileno(), tcp.fileno(), _link(lab).host)
