"""Three members of etcd and two control planes, each on a host of its own, with clients and simulated nodes on one more."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.etcdcluster import Members
from tests.support.labs import PATIENCE, ROOT, eventually
from tests.support.underlay import Host, Underlay

# Simulated nodes of each control plane.
NODES = 4


class HostedPlane:
    """One control plane process; `number` is also in the names of its nodes and of what its writer writes."""

    def __init__(self, number: int, folder: Path, host: Host, clients: Host, etcd: str, *flags: str) -> None:
        self.number, self.folder, self.host, self._clients = number, folder, host, clients
        self._command = [
            sys.executable, "-P", "-m", "controlplane", "--state-dir", str(folder), "--store", f"etcd://{etcd}",
            "--listen", f"{host.address}:6443", "--web", f"{host.address}:6444", "--advertise", host.address, *flags,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> str:
        return str(self.folder / "admin.yaml")

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True, mode=0o700)
        with open(self.folder / "log", "ab") as log:
            self.process = self.host.start(self._command, log)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)

    def kctl(self, *arguments: str) -> str:
        """On the host of the clients. Raises AssertionError."""
        command = [*self._clients.words, sys.executable, "-P", "-m", "cli.main", *arguments]
        environment = {**os.environ, "PINNACE_CONFIG": self.config}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60 * PATIENCE, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def get(self, *arguments: str) -> list[Any]:
        return list(json.loads(self.kctl("get", *arguments, "-o", "json"))["items"])

    def answers(self) -> bool:
        return "store: etcd" in self.kctl("version")


class Site:
    def __init__(self, folder: Path, *flags: str) -> None:
        """`flags` are for both control planes."""
        self._folder, self._flags = folder, flags
        self.underlay = Underlay()
        hosts = [self.underlay.host() for _ in range(3)]
        clients = [f"{host.address}:2379" for host in hosts]
        self.members = Members(folder / "etcd", clients, [f"{host.address}:2380" for host in hosts], hosts)
        self.clients = self.underlay.host()
        self.planes = [
            HostedPlane(n, folder / f"plane{n}", self.underlay.host(), self.clients, ",".join(clients), *flags)
            for n in range(2)
        ]  # fmt: skip
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Returns once both control planes answer. They have one CA."""
        self.members.start()
        asyncio.run(self.members.healthy())
        first, second = self.planes
        first.start()
        eventually(first.answers)
        (second.folder / "pki").mkdir(parents=True, mode=0o700)
        for name in ("ca.crt", "ca.key"):
            shutil.copy(first.folder / "pki" / name, second.folder / "pki" / name)
        second.start()
        eventually(second.answers)

    def run_nodes(self) -> None:
        """NODES of each control plane; returns once they are Ready."""
        for plane in self.planes:
            flags = ("--config", plane.config, "--nodes", str(NODES), "--prefix", f"of{plane.number}")
            self._run(f"nodes{plane.number}", "nodeagent.simulated", *flags)
        eventually(lambda: len(self.ready(self.planes[0])) == 2 * NODES, within=60)

    def run_writers(self) -> None:
        for plane in self.planes:
            self._run(f"writer{plane.number}", "tests.support.writer", plane.config, f"of{plane.number}")
        eventually(lambda: all(self.written(plane) for plane in self.planes))

    def _run(self, name: str, module: str, *arguments: str) -> None:
        program = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = {[name, *arguments]!r}; "
        run = f"runpy.run_module({module!r}, run_name='__main__')"
        with open(self._folder / name, "ab") as log:
            self._programs.append(self.clients.start([sys.executable, "-c", program + run], log))

    def written(self, plane: HostedPlane) -> list[tuple[float, str]]:
        """What the control plane has acknowledged to its writer: monotonic time, name."""
        lines = (self._folder / f"writer{plane.number}").read_text().splitlines()
        return [(float(line.split()[0]), line.split()[1]) for line in lines if line and line[0].isdigit()]

    def ready(self, through: HostedPlane) -> set[str]:
        """The names of the nodes that are Ready."""
        return {
            node["metadata"]["name"]
            for node in through.get("nodes")
            if any((c["type"], c["status"]) == ("Ready", "True") for c in node["status"]["conditions"])
        }

    def blamed(self, through: HostedPlane) -> dict[str, int]:
        """How often each node became NotReady so far."""
        counts: dict[str, int] = {}
        for event in through.get("events", "-A"):
            if event["reason"] == "NodeNotReady":
                name = event["involvedObject"]["name"]
                counts[name] = counts.get(name, 0) + event.get("count", 1)
        return counts

    def leader(self, through: HostedPlane) -> str:
        """The identity of the control plane that leads."""
        lease = ("lease", "pinnace-controlplane", "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}")
        return through.kctl("get", *lease)

    def remove(self) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
        for plane in self.planes:
            plane.stop()
        self.members.stop()
        self.underlay.remove()


@contextmanager
def site(folder: Path, *flags: str) -> Iterator[Site]:
    """Running, and removed at the end. In the thread that calls: its processes end with it."""
    with ExitStack() as stack:
        made = Site(folder, *flags)
        stack.callback(made.remove)
        made.start()
        yield made


def longest_pause(times: list[float], since: float, until: float) -> float:
    """The longest time between two of `times`, or one and an end, from `since` to `until`."""
    inside = [since, *(moment for moment in times if since < moment < until), until]
    return max(after - before for before, after in itertools.pairwise(inside))


def now() -> float:
    """As writers print it."""
    return time.monotonic()
