"""A lab's life: up, down, and its nodes added, stopped, started and removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli import contexts
from cli.lab import cgroups, hosts, layout, processes
from cli.lab.layout import CONTROL, WEB_PORT, Lab
from pinnace import kinds, pki
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout

READY_WITHIN = 60.0
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
Say = Callable[[str], None]


def up(name: str, *, nodes: int, config: Path, say: Say, control_args: list[str], agent_args: list[str]) -> Lab:
    """Make a lab and wait until its nodes are Ready. What was begun is taken away when it fails."""
    _check_root()
    if name in layout.names():
        raise BadRequest(f'lab "{name}" is there already: `kctl lab status` shows it, `kctl lab down` takes it away')
    if not 1 <= nodes <= layout.MAX_NODES:
        raise BadRequest(f"a lab has 1 to {layout.MAX_NODES} nodes")
    names = {f"node-{n}": n for n in range(1, nodes + 1)}
    lab = Lab(layout.check_name(name), names, control_args=control_args, agent_args=agent_args)
    lab.save()
    try:
        _begin(lab, say)
        _write_context(lab, config)
        _wait_ready(lab, config, list(lab.nodes), say)
    except BaseException:
        say("taking away what was begun")
        with contextlib.suppress(ApiError):
            down(lab, config=config, keep_logs=True)
        raise
    return lab


def _check_root() -> None:
    if os.geteuid() != 0:
        raise BadRequest("a lab makes namespaces, which needs root: sudo kctl lab ...")


def _begin(lab: Lab, say: Say) -> None:
    say("making hosts and the network between them")
    hosts.prepare(lab)
    hosts.create(lab, [CONTROL, *lab.nodes])
    # The CA and the tokens are made here, so that agents start beside the control plane instead of after it.
    ca = pki.new_ca(time.time())
    pki.write_private(lab.control_dir / "pki/ca.key", ca.key)
    pki.write_private(lab.control_dir / "pki/ca.crt", ca.certificate)
    tokens = {node: new_token() for node in lab.nodes}
    file = lab.run_dir / "tokens"
    pki.write_private(file, "".join(f"{token}\n" for token in tokens.values()).encode())
    say("starting the control plane and the agents")
    processes.start_control(lab, file)
    for node, token in tokens.items():
        processes.start_agent(lab, node, _joining(lab, token, pki.fingerprint(ca.certificate)))
    lab.save()


def new_token() -> str:
    def draw(count: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(count))

    return f"{draw(6)}.{draw(16)}"


def _joining(lab: Lab, token: str, ca_hash: str) -> list[str]:
    return [f"{lab.address(CONTROL)}:{WEB_PORT}", "--token", token, "--ca-hash", ca_hash]


def _write_context(lab: Lab, config: Path) -> None:
    import yaml

    admin = lab.control_dir / "admin.yaml"
    deadline = time.monotonic() + READY_WITHIN
    while not (admin.exists() and lab.socket.exists()):
        _check_alive(lab, CONTROL)
        if time.monotonic() > deadline:
            raise Timeout(f"the control plane did not start; see {lab.log(CONTROL)}")
        time.sleep(0.01)
    merged = contexts.load(config)
    contexts.merge(merged, yaml.safe_load(admin.read_text()), lab.context)
    contexts.save(config, merged)


def _check_alive(lab: Lab, host: str) -> None:
    if not processes.alive(lab.processes.get(host)):
        log = lab.log(host)
        lines = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise BadRequest(f"{host} ended: {' | '.join(lines) or 'it said nothing'} (see {log})")


def client(lab: Lab, config: Path) -> Any:
    from cli.client import Client

    class _Flags:
        context, namespace = lab.context, ""

    flags = _Flags()
    flags.config = str(config)  # type: ignore[attr-defined]
    return Client(contexts.current(flags))


def _wait_ready(lab: Lab, config: Path, nodes: list[str], say: Say) -> None:
    deadline = time.monotonic() + READY_WITHIN
    waiting = set(nodes)
    connection = client(lab, config)
    while waiting and time.monotonic() < deadline:
        for host in (CONTROL, *waiting):
            _check_alive(lab, host)
        try:
            for _, node in connection.watch(kinds.NODE, "", timeout=5.0):
                if node is not None and any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
                    waiting.discard(node.metadata.name)
                say(f"waiting for {len(waiting)} of {len(nodes)} nodes")
                if not waiting:
                    return
        except ApiError:
            time.sleep(0.02)
    if waiting:
        raise Timeout(f"not Ready within {READY_WITHIN:.0f} s: {', '.join(sorted(waiting))}; see {lab.state_dir}/logs")


def down(lab: Lab, *, config: Path, keep_logs: bool = False) -> list[str]:
    """Take a lab away; returns what is left of it, which should be nothing."""
    _check_root()
    for host in (*lab.nodes, CONTROL):
        processes.end(lab, host)
    cgroups.remove(lab, list(lab.nodes))
    hosts.remove_all(lab)
    merged = contexts.load(config)
    if any(item.get("name") == lab.context for item in merged.get("contexts") or []):
        contexts.drop(merged, lab.context)
        contexts.save(config, merged)
    # The record goes last: while it is there, `lab down` can be asked again.
    for entry in sorted(lab.state_dir.iterdir(), key=lambda path: path.name == "lab.json"):
        if not (keep_logs and entry.name == "logs"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not keep_logs:
        shutil.rmtree(lab.state_dir)
    return leftovers(lab)


def leftovers(lab: Lab) -> list[str]:
    """What of a lab can still be found on this machine."""
    found = [f"process {pid}" for host in (*lab.nodes, CONTROL) for pid in processes.of_host(lab, host)]
    found += [f"cgroup {path}" for path in cgroups.folders(lab, list(lab.nodes))]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line.split()[1]}" for line in mounts if f"/pinnace/labs/{lab.name}" in line]
    return found + [f"folder {path}" for path in (lab.run_dir,) if path.exists()]


def add_node(lab: Lab, name: str, *, config: Path, say: Say) -> str:
    """A further node, waited for."""
    number = max(lab.nodes.values(), default=0) + 1
    name = name or f"node-{number}"
    if name in lab.nodes:
        raise BadRequest(f'node "{name}" is there already')
    if number > layout.MAX_NODES or layout.check_name(name) in (CONTROL, layout.SWITCH):
        raise BadRequest(f'no node "{name}" can be added')
    lab.nodes[name] = number
    hosts.create(lab, [name])
    connection = client(lab, config)
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    answer = connection.call(cluster_pb2_grpc.ClusterStub(connection.channel).CreateJoinToken, cluster_pb2.JoinTokenRequest())
    processes.start_agent(lab, name, _joining(lab, answer.token, answer.caHash))
    lab.save()
    _wait_ready(lab, config, [name], say)
    return name


def check_node(lab: Lab, name: str) -> None:
    """Raises BadRequest."""
    if name not in lab.nodes:
        raise BadRequest(f'lab "{lab.name}" has no node "{name}" (it has: {", ".join(lab.nodes)})')


def stop_node(lab: Lab, name: str) -> None:
    """As if its plug were pulled: every process of the node is killed, containers too."""
    check_node(lab, name)
    processes.end(lab, name)
    lab.save()


def start_node(lab: Lab, name: str, *, config: Path, say: Say) -> None:
    check_node(lab, name)
    if processes.alive(lab.processes.get(name)):
        raise BadRequest(f'node "{name}" is running')
    processes.start_agent(lab, name, [])
    lab.save()
    say(f"waiting for {name}")
    _wait_ready(lab, config, [name], say)


def remove_node(lab: Lab, name: str, *, config: Path) -> None:
    """Stop a node, forget it in the cluster, and take away what was its own."""
    check_node(lab, name)
    processes.end(lab, name)
    cgroups.remove(lab, [name])
    hosts.remove(lab, name)
    shutil.rmtree(lab.node_dir(name), ignore_errors=True)
    del lab.nodes[name]
    lab.save()
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    connection = client(lab, config)
    with contextlib.suppress(NotFound):
        connection.call(connection.objects.Delete, objects_pb2.DeleteRequest(ref=ref(kinds.NODE, "", name)))
