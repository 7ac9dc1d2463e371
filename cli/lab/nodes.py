"""Nodes of a lab that runs: added, stopped, started and removed."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

from cli.lab import (
    cgroups,
    cuts,
    disks,
    faultrecord,
    hosts,
    images,
    layout,
    lifecycle,
    naming,
    processes,
    removal,
    uplink,
    waiting,
)
from cli.lab.layout import CONTROL, SWITCH, Lab
from cli.progress import Say
from pinnace import kinds
from pinnace.errors import BadRequest, NotFound


@dataclass(frozen=True, slots=True)
class Added:
    """A new node: the images that it got from the others, and those it did not get, each with the reason."""

    name: str
    images: list[str]
    failed: list[str]


def add_node(lab: Lab, name: str, *, config: Path, say: Say) -> Added:
    """A further node, waited for, with the images that were loaded on the others."""
    removal.check_root()
    number = next((n for n in range(1, layout.MAX_NODES + 1) if n not in lab.nodes.values()), 0)
    name = name or next(free for n in itertools.count(number) if (free := f"node-{n}") not in lab.nodes)
    if name in lab.nodes:
        raise BadRequest(f'node "{name}" already exists')
    if not number:
        raise BadRequest(f'lab "{lab.name}" has {layout.MAX_NODES} nodes, which is the maximum')
    if layout.check_name(name) in (CONTROL, SWITCH):
        raise BadRequest(f'"{name}" is the name of another host of the lab')
    if lab.disk_size:
        disks.check_size(lab.disk_size, 1, lab.state_dir)
    joining = lifecycle.new_joining(lab, name, config)
    lab.nodes[name] = number
    # Recorded first: whatever happens now, `node remove` and `lab down` find it.
    lab.save()
    lifecycle.make_hosts(lab, [name])
    processes.start_agent(lab, name, joining)
    waiting.for_ready(lab, config, [name], say)
    lifecycle.reachable(lab, config)
    silent = {host for fault in lab.faults for host in fault.hosts}
    others = [other for other in lab.nodes if other not in {name} | silent and processes.alive(lab.processes.get(other))]
    copied, failed = images.copy(waiting.client(lab, config), name, others, say)
    return Added(name, copied, failed)


def check_node(lab: Lab, name: str) -> None:
    """Raises BadRequest."""
    if name not in lab.nodes:
        raise BadRequest(f'lab "{lab.name}" has no node "{name}" (it has: {", ".join(lab.nodes)})')


def stop_node(lab: Lab, name: str) -> None:
    """As if its plug were pulled: every process of the node is killed, containers too, and its memory is lost: what is on
    tmpfs, its network's configuration, its cgroups. Its disk stays."""
    check_node(lab, name)
    processes.end(lab, name)
    cgroups.remove(lab, [name])
    hosts.unplug(lab, name)
    hosts.remove(lab, name)
    lab.save()
    uplink.lead_services(lab)


def start_node(lab: Lab, name: str, *, config: Path, say: Say) -> None:
    check_node(lab, name)
    if processes.alive(lab.processes.get(name)):
        raise BadRequest(f'node "{name}" is running')
    if not processes.alive(lab.processes.get(CONTROL)):
        raise BadRequest(f'lab "{lab.name}" is stopped (resume: `{naming.command("start", lab.name)}`)')
    if name in hosts.missing(lab):
        # Processes that were started by hand in what is left of it.
        processes.end(lab, name)
        hosts.remove(lab, name)
        lifecycle.make_hosts(lab, [name])
    if cuts.parts(lab, name) and not lifecycle.has_joined(lab, name):
        raise BadRequest(f'node "{name}" has no identity yet, and is cut off from the control plane: `kctl lab heal` first')
    joining = None if lifecycle.has_joined(lab, name) else lifecycle.new_joining(lab, name, config)
    processes.start_agent(lab, name, joining)
    if not cuts.parts(lab, name):
        waiting.for_ready(lab, config, [name], say)
        waiting.for_agents(lab, config, [name], say)
        lifecycle.reachable(lab, config)


def remove_node(lab: Lab, name: str, *, config: Path) -> None:
    """Stop a node, remove it from the cluster, then what was its own. Repeatable: it is in the record until the end."""
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    check_node(lab, name)
    processes.end(lab, name)
    connection = waiting.client(lab, config)
    with contextlib.suppress(NotFound):
        connection.call(connection.objects.Delete, objects_pb2.DeleteRequest(ref=ref(kinds.NODE, "", name)))
    cgroups.remove(lab, [name])
    hosts.unplug(lab, name)
    hosts.remove(lab, name)
    disks.remove(lab, name)
    shutil.rmtree(lab.node_dir(name), ignore_errors=True)
    for fault in [fault for fault in lab.faults if name in fault.hosts]:
        faultrecord.drop(lab, fault)
    cuts.apply(lab)
    del lab.nodes[name]
    lab.save()
    lifecycle.reachable(lab, config)
