"""The REST API of a lab on this machine's loopback: a port that kctl opens, and other clients' way to it.

The control plane runs in a network namespace of the lab. Its listening socket is made here, in this machine's, and handed over.
"""

from __future__ import annotations

import socket
from pathlib import Path

from cli import contexts, kubeconfig
from cli.contexts import Context
from cli.lab.layout import Lab
from pinnace.errors import BadRequest

HOST = "127.0.0.1"


def listen(lab: Lab) -> socket.socket:
    """A listening socket at the lab's port, or at a free one if it has none or the port is taken; recorded in the lab.

    Raises BadRequest when there is none."""
    for port in dict.fromkeys((lab.rest_port, 0)):
        try:
            made = socket.create_server((HOST, port), backlog=128)
        except OSError:
            continue
        lab.rest_port = made.getsockname()[1]
        lab.save()
        return made
    raise BadRequest(f"no port of {HOST} can be listened at")


def server(lab: Lab) -> str:
    return f"https://{HOST}:{lab.rest_port}"


def publish(lab: Lab, config: Path) -> None:
    """Write the lab's context into the kubeconfig that it was made with. Raises BadRequest."""
    if lab.kubeconfig:
        kubeconfig.write(Path(lab.kubeconfig), kubeconfig.document(_administrator(lab, config), server(lab)))


def withdraw(lab: Lab) -> None:
    """Raises BadRequest."""
    if lab.kubeconfig:
        kubeconfig.remove(Path(lab.kubeconfig), lab.context)


def _administrator(lab: Lab, config: Path) -> Context:
    class _Flags:
        context, namespace = lab.context, ""

    flags = _Flags()
    flags.config = str(config)  # type: ignore[attr-defined]
    return contexts.current(flags)
