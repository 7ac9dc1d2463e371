"""The sockets that kctl opens for a lab's control plane, and other clients' way to the REST API on this machine's loopback.

The control plane runs in a network namespace of the lab. One listening socket is made in this machine's, one in its own.
"""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path

from cli import contexts, kubeconfig
from cli.contexts import Context
from cli.lab.layout import CONTROL, WEB_PORT, Lab
from cli.lab.netns import entered
from pinnace.errors import BadRequest, Internal

HOST = "127.0.0.1"
# As the control plane's own.
BACKLOG = 1024
# Seconds. The kernel closes the sockets of a killed process a moment after the process has left its namespaces.
FREED_WITHIN = 10.0


def listen(lab: Lab) -> socket.socket:
    """A listening socket at the lab's port, or at a free one if it has none or the port is taken; recorded in the lab.

    Raises BadRequest when there is none."""
    for port in dict.fromkeys((lab.rest_port, 0)):
        try:
            made = socket.create_server((HOST, port), backlog=BACKLOG)
        except OSError:
            continue
        lab.rest_port = made.getsockname()[1]
        lab.save()
        return made
    raise BadRequest(f"unable to listen on any port of {HOST}")


def listen_inside(lab: Lab) -> socket.socket:
    """A listening socket of the control plane's own network: agents can connect before it accepts, and need not try again.

    Raises Internal."""
    deadline = time.monotonic() + FREED_WITHIN
    while True:
        try:
            with entered(lab.namespace(CONTROL, "net")):
                family = socket.AF_INET6 if ":" in lab.address(CONTROL) else socket.AF_INET
                return socket.create_server((lab.address(CONTROL), WEB_PORT), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise Internal(f"port {WEB_PORT} of the control plane cannot be listened at: {error}") from None
        time.sleep(0.01)


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
