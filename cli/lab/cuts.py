"""Cutting hosts of a lab off from each other: the switch drops their frames, in both directions.

No host notices: links stay up, connections stay open and hear nothing, as behind a broken router. The rules are one table in
the switch's network, written as a whole, and gone with the lab.
"""

from __future__ import annotations

from cli.lab import hosts
from cli.lab.faultrecord import CUT
from cli.lab.layout import CONTROL, SWITCH, Lab
from pinnace.errors import BadRequest

TABLE = "pinnace-faults"
# As users name the control plane's host.
CONTROL_PLANE = "control-plane"


def host_of(lab: Lab, name: str) -> str:
    """The host that a user names. Raises BadRequest."""
    if name in (CONTROL_PLANE, CONTROL):
        return CONTROL
    if name not in lab.nodes:
        names = ", ".join([*lab.nodes, CONTROL_PLANE])
        raise BadRequest(f'lab "{lab.name}" has no host "{name}" (it has: {names})')
    return name


def name_of(host: str) -> str:
    return CONTROL_PLANE if host == CONTROL else host


def parts(lab: Lab, node: str) -> bool:
    """Whether a cut parts a node from the control plane."""
    return any(fault.kind == CUT and set(fault.hosts) <= {node, CONTROL} for fault in lab.faults)


def apply(lab: Lab) -> None:
    """Make the switch drop the packets of the recorded cuts, and no others. Raises Internal."""
    if hosts.pinned(lab, SWITCH):
        hosts.command(["nsenter", f"--net={lab.namespace(SWITCH, 'net')}", "nft", "-f", "-"], stdin=rules_of(lab))


def rules_of(lab: Lab) -> str:
    """The table, for nft: `add` first, so that `delete` cannot fail."""
    rules = {"input": list[str](), "output": list[str](), "forward": list[str]()}
    for ends in (fault.hosts for fault in lab.faults if fault.kind == CUT):
        ports = [f'"{hosts.port_of(lab, host)}"' for host in ends if host == CONTROL or host in lab.nodes]
        if len(ends) == 2 and len(ports) == 2:
            one, other = ports
            rules["forward"] += [f"iifname {one} oifname {other} drop", f"iifname {other} oifname {one} drop"]
        elif len(ends) == 1:
            # Of the whole host: the switch itself too, which is the way out.
            for port in ports:
                rules["forward"] += [f"iifname {port} drop", f"oifname {port} drop"]
                rules["input"].append(f"iifname {port} drop")
                rules["output"].append(f"oifname {port} drop")
    lines = [f"add table bridge {TABLE}", f"delete table bridge {TABLE}", f"add table bridge {TABLE}"]
    for hook, found in rules.items():
        lines.append(f"add chain bridge {TABLE} {hook} {{ type filter hook {hook} priority 0 ; }}")
        lines += [f"add rule bridge {TABLE} {hook} {rule}" for rule in found]
    return "\n".join(lines if any(rules.values()) else lines[:2]) + "\n"
