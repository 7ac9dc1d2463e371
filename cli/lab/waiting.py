"""Waiting for what a lab's processes do: the control plane's context, agents that are Ready and that answer."""

from __future__ import annotations

import contextlib
import importlib
import time
from pathlib import Path
from typing import Any

from cli import contexts
from cli.lab import processes
from cli.lab.layout import CONTROL, Lab
from cli.progress import Say
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout

# Seconds; an emulated machine takes a minute. Processes that end are noticed at once.
READY_WITHIN = 180.0


def for_ca(lab: Lab) -> bytes:
    """Wait for the CA certificate, which the control plane makes before all else. Raises Timeout."""
    _for_files(lab, ca := lab.control_dir / "pki/ca.crt")
    return ca.read_bytes()


def for_context(lab: Lab, config: Path) -> None:
    """Wait for the control plane, and make its administrator's context the current one. Raises Timeout."""
    admin = lab.control_dir / "admin.yaml"
    # Imported while the control plane starts, not after: gRPC and the messages take 0.1 s.
    importlib.import_module("cli.client")
    _for_files(lab, admin, lab.socket)
    merged = contexts.load(config)
    contexts.merge(merged, contexts.load(admin), lab.context)
    contexts.save(config, merged)


def _for_files(lab: Lab, *paths: Path) -> None:
    """Wait until the control plane has made these. Raises Timeout, and BadRequest when it ends."""
    began = time.monotonic()
    while not all(path.exists() for path in paths):
        _check_alive(lab, CONTROL)
        if (waited := time.monotonic() - began) > READY_WITHIN:
            raise Timeout(f"the control plane did not start; see {lab.log(CONTROL)}")
        # A fiftieth of the wait is not noticed, and constant pauses cost an emulated machine much of its processor.
        time.sleep(max(0.01, waited / 50))


def _check_alive(lab: Lab, host: str) -> None:
    if not processes.alive(lab.processes.get(host)):
        log = lab.log(host)
        lines = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise BadRequest(f"{host} ended: {' | '.join(lines) or 'no output'} (see {log})")


def client(lab: Lab, config: Path) -> Any:
    from cli.client import Client

    return Client(_context(lab, config))


def _context(lab: Lab, config: Path) -> contexts.Context:
    from cli import renewal

    class _Flags:
        context, namespace = lab.context, ""

    flags = _Flags()
    flags.config = str(config)  # type: ignore[attr-defined]
    return renewal.fresh(contexts.current(flags), config)


def for_ready(lab: Lab, config: Path, nodes: list[str], say: Say) -> None:
    """Raises Timeout, and BadRequest when one of their processes ends."""
    from pinnace import kinds

    deadline = time.monotonic() + READY_WITHIN
    waiting = set(nodes)
    connection = client(lab, config)
    while waiting and time.monotonic() < deadline:
        for host in (CONTROL, *waiting):
            _check_alive(lab, host)
        try:
            for _, node in connection.watch(kinds.NODE, "", timeout=5.0):
                if node is not None and _ready(node):
                    waiting.discard(node.metadata.name)
                say(f"waiting for {len(waiting)} of {len(nodes)} nodes")
                if not waiting:
                    return
        except ApiError:
            time.sleep(0.02)
    if waiting:
        raise Timeout(f"not Ready within {READY_WITHIN:.0f} s: {', '.join(sorted(waiting))}; see {lab.state_dir}/logs")


def for_agents(lab: Lab, config: Path, nodes: list[str], say: Say) -> None:
    """Wait for the agents of nodes that were Ready before: their conditions may be from then. Raises Timeout."""
    from cli.lab import images

    deadline = time.monotonic() + READY_WITHIN
    connection = client(lab, config)
    for number, node in enumerate(nodes):
        say(f"waiting for {len(nodes) - number} of {len(nodes)} agents")
        while True:
            _check_alive(lab, node)
            try:
                images.listed(connection, node)
                break
            except ApiError as error:
                if time.monotonic() > deadline:
                    raise Timeout(f"the agent of {node} does not answer: {error.message}; see {lab.log(node)}") from None
                time.sleep(0.05)


def for_reconciled(lab: Lab, config: Path, node: str, within: float) -> bool:
    """Wait until a node's agent answers and has no pod, static ones apart, that is not the node's in the API; False when it
    does not in time."""
    from pinnace import kinds

    deadline = time.monotonic() + within
    context, connection = _context(lab, config), client(lab, config)
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiError):
            found = _pods_of_agent(context, node)
            assigned = connection.list(kinds.POD, "", fields=f"spec.nodeName={node}")
            if found <= {pod.metadata.uid for pod in assigned}:
                return True
        time.sleep(0.05)
    return False


def _pods_of_agent(context: contexts.Context, node: str) -> set[str]:
    """The UIDs of the pods that an agent has. Raises ApiError."""
    import json

    from cli import rawrequest
    from pinnace import podresources

    data = bytearray()
    rawrequest.get(context, f"/api/v1/nodes/{node}/proxy/pods", data.extend)
    found = [item["metadata"] for item in json.loads(data).get("items") or []]
    return {item["uid"] for item in found if item.get("annotations", {}).get(podresources.SOURCE) != "file"}


def for_silence(connection: Any, node: str) -> None:
    """Wait until a node is not Ready, or does not exist: only then may it join again."""
    deadline = time.monotonic() + READY_WITHIN
    while _is_ready(connection, node) and time.monotonic() < deadline:
        time.sleep(0.2)


def _is_ready(connection: Any, name: str) -> bool:
    from pinnace import kinds

    try:
        node = connection.get(kinds.NODE, "", name)
    except NotFound:
        return False
    return _ready(node)


def _ready(node: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
