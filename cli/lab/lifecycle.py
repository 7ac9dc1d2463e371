"""The lifecycle of a lab: `up`, and `start`; `removal` has the rest.

`start` makes what is missing and touches nothing else, so it serves after a reboot, a crash and a `stop` alike.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cli.lab import disks, hosts, layout, naming, obstacles, processes, proxies, reach, removal, restport, uplink, waiting
from cli.lab.agents import Agents
from cli.lab.layout import CONTROL, WEB_PORT, Lab
from cli.progress import Say
from pinnace import certificate, pki
from pinnace.errors import ApiError, BadRequest
from pinnace.ipfamilies import url_host

# Seconds after its end in which a node's certificate can be renewed: the control plane's default less a day.
RENEWABLE = 29 * pki.DAY
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Options:
    """What `kctl lab up` was told. `uplink_cidr`: range for the link network, empty for the default ones."""

    nodes: int
    uplink: bool
    uplink_cidr: str
    control_args: list[str]
    agent_args: list[str]
    # The kubeconfig to put the lab's context into; empty: none.
    kubeconfig: str
    # Bytes of a disk for each node; 0: they share this machine's.
    disk_size: int = 0
    # This machine reaches pods and Services.
    reach: bool = False
    # Of the underlay, pods and Services: ipv4, ipv6 or dual.
    ip_family: str = layout.IPV4


def up(name: str, options: Options, *, config: Path, say: Say) -> tuple[Lab, list[str]]:
    """Make a lab and wait until its nodes are Ready; returns it with warnings. A failure removes what was begun."""
    removal.check_root()
    if name in layout.names():
        start, remove = naming.command("start", name), naming.command("down", name)
        raise BadRequest(f'lab "{name}" already exists (resume: `{start}`, remove: `{remove}`)')
    if not 1 <= options.nodes <= layout.MAX_NODES:
        raise BadRequest(f"a lab has 1 to {layout.MAX_NODES} nodes, not {options.nodes}")
    if options.uplink and options.ip_family == layout.IPV6:
        raise BadRequest("a lab's uplink is IPv4: --ip-family ipv6 needs --isolated")
    lab = Lab(
        layout.check_name(name), {f"node-{n}": n for n in range(1, options.nodes + 1)}, control_args=options.control_args,
        agent_args=options.agent_args, uplink=options.uplink, uplink_cidr=options.uplink_cidr,
        proxies=proxies.given(os.environ) if options.uplink else {}, created=time.time(), kubeconfig=options.kubeconfig,
        disk_size=options.disk_size, reach=options.reach, ip_family=options.ip_family,
    )  # fmt: skip
    if lab.disk_size:
        disks.check_size(lab.disk_size, options.nodes, lab.state_dir)
    removal.remove_remains(name)
    lab.save()
    try:
        with Agents(lab) as agents:
            _begin(lab, agents, say)
        warnings = connect(lab, say)
        waiting.for_context(lab, config)
        restport.publish(lab, config)
        waiting.for_ready(lab, config, list(lab.nodes), say)
        warnings += reachable(lab, config)
        (lab.run_dir / "tokens").unlink(missing_ok=True)
    except BaseException:
        say("removing what was begun")
        with contextlib.suppress(ApiError):
            removal.down(lab, config=config, keep_logs=True)
        raise
    return lab, warnings


def connect(lab: Lab, say: Say) -> list[str]:
    """The uplink of a lab that should have one; returns warnings. Without it the lab is isolated, and works."""
    if not lab.uplink:
        return []
    say("connecting the lab to this machine's network")
    try:
        uplink.connect(lab)
    except uplink.NoUplink as error:
        again = naming.command("start", lab.name)
        return [f'lab "{lab.name}" is isolated, pods reach nothing outside: {error.reason} (fix: {error.fix}; then `{again}`)']
    blocked = [f"the chain {item.name} drops what pods send to the outside (fix: {item.fix})" for item in obstacles.find()]
    return [*blocked, *uplink.warnings(lab), *proxies.warnings(lab)]


def reachable(lab: Lab, config: Path) -> list[str]:
    """Have this machine reach the pods and Services of a lab that is made for it, by the nodes that run now; returns
    warnings."""
    if not lab.reach:
        return []
    from pinnace import kinds

    connection = waiting.client(lab, config)
    found = connection.list(kinds.NODE, "")
    return uplink.open_to_machine(lab, reach.pod_cidrs(found))


def _begin(lab: Lab, agents: Agents, say: Say) -> None:
    """The control plane first: everything waits for it, and all else is made while it starts."""
    say("starting the control plane")
    hosts.prepare(lab)
    hosts.create(lab, [CONTROL])
    # The tokens are made here, so that agents start together with the control plane.
    tokens = {node: new_token() for node in lab.nodes}
    file = lab.run_dir / "tokens"
    pki.write_private(file, "".join(f"{token} {node}\n" for node, token in tokens.items()).encode())
    processes.start_control(lab, file)
    say("making the nodes and the network between them")
    make_hosts(lab, list(lab.nodes))
    say("starting the agents")
    ca_hash = certificate.fingerprint(waiting.for_ca(lab))
    for node, token in tokens.items():
        agents.start(node, _joining(lab, token, ca_hash))
    lab.save()


def make_hosts(lab: Lab, names: list[str]) -> None:
    """Hosts with their disks, which must be there before their mount namespaces."""
    for host in names:
        if host in lab.nodes:
            disks.mount(lab, host)
    hosts.create(lab, names)


def new_token() -> str:
    def draw(count: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(count))

    return f"{draw(6)}.{draw(16)}"


def _joining(lab: Lab, token: str, ca_hash: str) -> processes.Joining:
    return processes.Joining(f"{url_host(lab.address(CONTROL))}:{WEB_PORT}", token, ca_hash)


def start(lab: Lab, *, config: Path, say: Say) -> tuple[list[str], list[str]]:
    """Make and start what a lab lacks; returns the hosts that were started, and warnings."""
    removal.check_root()
    if lab.uplink and (now := proxies.given(os.environ)):
        lab.proxies = now
    hosts.prepare(lab)
    missing = hosts.missing(lab)
    for host in missing:
        processes.end(lab, host)
        hosts.remove(lab, host)
    if missing:
        say("making hosts and the network between them")
        make_hosts(lab, missing)
    ended = [host for host in (CONTROL, *lab.nodes) if not processes.alive(lab.processes.get(host))]
    if CONTROL in ended:
        _restart_control(lab, say)
    say("starting agents")
    for node in (node for node in lab.nodes if node in ended and has_joined(lab, node)):
        processes.start_agent(lab, node)
    warnings = connect(lab, say)
    waiting.for_context(lab, config)
    restport.publish(lab, config)
    for node in (node for node in lab.nodes if node in ended and not has_joined(lab, node)):
        processes.start_agent(lab, node, new_joining(lab, node, config))
    waiting.for_ready(lab, config, list(lab.nodes), say)
    waiting.for_agents(lab, config, [node for node in lab.nodes if node in ended], say)
    return ended, [*warnings, *reachable(lab, config)]


def _restart_control(lab: Lab, say: Say) -> None:
    say("starting the control plane")
    processes.end(lab, CONTROL)
    # What a killed one left would be taken for the new one's.
    lab.socket.unlink(missing_ok=True)
    processes.start_control(lab, None)


def has_joined(lab: Lab, node: str) -> bool:
    """Whether the node has an identity that its agent can start with, or renew if it has expired."""
    path = lab.node_dir(node) / "pki/node.crt"
    if not (lab.node_dir(node) / "agent.json").exists() or not path.exists():
        return False
    try:
        return certificate.validity(path.read_bytes()).end > time.time() - RENEWABLE
    except ValueError:
        return False


def new_joining(lab: Lab, node: str, config: Path) -> processes.Joining:
    """For a node that is new or not Ready, with a token of the control plane's for it alone."""
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    connection = waiting.client(lab, config)
    # A node whose identity is too old may be Ready until the control plane notices that its agent is silent.
    waiting.for_silence(connection, node)
    answer = connection.call(
        cluster_pb2_grpc.ClusterStub(connection.channel).CreateJoinToken, cluster_pb2.JoinTokenRequest(node=node)
    )
    return _joining(lab, answer.token, answer.caHash)
