"""Services of a lab, with real packets: pods that answer HTTP, clients in any network namespace, and Services in few words."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.support import frames
from tests.support.labs import SLEEP, LabUnderTest, eventually

# Answers at /cgi-bin/who with its name and the client's address.
SERVE = f"""
mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $(hostname) $REMOTE_ADDR\\n' > /www/cgi-bin/who; chmod +x /www/cgi-bin/who
httpd -p 8080 -h /www; {SLEEP}
"""
PORT = 8080
# Seconds that a client waits.
PATIENCE = 3.0
REFUSED, LOST = "refused", "lost"


def backend(name: str, node: str, app: str = "", **spec: Any) -> dict[str, Any]:
    """A pod of a Service whose selector is its app."""
    container = {
        "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", SERVE],
        "ports": [{"name": "web", "containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }  # fmt: skip
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app or name}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 2, "containers": [container], **spec},
    }  # fmt: skip


def service(name: str, app: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app or name}, "ports": [{"port": 80, "targetPort": PORT}], **spec},
    }  # fmt: skip


class ServiceLab:
    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        self.pods: dict[str, dict[str, Any]] = {}

    def run(self, *manifests: dict[str, Any]) -> None:
        """Apply; pods are Ready afterwards."""
        self.lab.apply(*manifests)
        names = [item["metadata"]["name"] for item in manifests if item["kind"] == "Pod"]
        if names:
            self.pods |= eventually(lambda: self.lab.all_running(names), within=60)

    def remove(self, *names: str) -> None:
        """Objects as KIND/NAME."""
        self.lab.kctl("delete", *names, "--now", "--wait=true", "--ignore-not-found")

    def host(self, name: str) -> Path:
        return Path(f"/run/pinnace/labs/{self.lab.name}/ns/{name}.net")

    def of(self, pod: str) -> Path:
        """A pod's network namespace."""
        return Path(f"/proc/{self.lab.state(self.pods[pod])['pid']}/ns/net")

    def address(self, pod: str) -> str:
        return str(self.pods[pod]["status"]["podIP"])

    def ip(self, name: str) -> str:
        return str(self.lab.get("service", name)["spec"]["clusterIP"])

    def node_port(self, name: str) -> int:
        return int(self.lab.get("service", name)["spec"]["ports"][0]["nodePort"])

    def underlay(self, node: str) -> str:
        addresses: list[dict[str, str]] = self.lab.get("node", node)["status"]["addresses"]
        return next(item["address"] for item in addresses if item["type"] == "InternalIP")

    def who(self, client: Path, address: str, port: int = 80) -> tuple[str, str]:
        """Name of the pod that answers, and the address by which it sees the client; or REFUSED or LOST, and nothing."""
        words = get(client, address, port, "/cgi-bin/who").split()
        return (words[0], words[1].strip("[]").removeprefix("::ffff:")) if len(words) == 2 else (words[0], "")

    def names(self, client: Path, address: str, port: int = 80, *, times: int = 30) -> set[str]:
        """Who answers so many requests."""
        return {self.who(client, address, port)[0] for _ in range(times)}


def connect(client: Path, address: str, port: int) -> socket.socket:
    """Raises OSError."""

    def dial() -> socket.socket | OSError:
        try:
            return socket.create_connection((address, port), PATIENCE)
        except OSError as error:
            return error

    found = frames.within(client, dial)
    if isinstance(found, OSError):
        raise found
    return found


def get(client: Path, address: str, port: int, path: str) -> str:
    """The body, or REFUSED or LOST."""
    try:
        with connect(client, address, port) as sock:
            return fetch(sock, path)
    except ConnectionRefusedError:
        return REFUSED
    except OSError:
        return LOST


def fetch(sock: socket.socket, path: str) -> str:
    """The body of an answer. Raises OSError."""
    sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    # A CGI program ends lines without a carriage return.
    return data.replace(b"\r", b"").partition(b"\n\n")[2].decode().strip() or LOST
