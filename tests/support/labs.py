"""A real lab for end-to-end tests: real kctl, real processes, a kctl configuration of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.lab import layout, processes
from tests.support import warmkctl

ROOT = Path(__file__).resolve().parent.parent.parent
# How many times as long as usual everything may take, on a machine that is emulated (tests/vm).
PATIENCE = float(os.environ.get("PINNACE_TEST_PATIENCE", "1"))
DEADLINE = 120.0 * PATIENCE
# Of agents and control planes: the strictest, as in deploy/systemd.
UMASK = 0o077
# A shell's script that waits, and ends at once on SIGTERM. A loop of brief sleeps would start processes all the time: on an
# emulated machine a few of them take a processor.
SLEEP = "sleep 987654 & trap 'kill $!; exit 0' TERM; wait"


class KctlError(AssertionError):
    pass


class LabUnderTest:
    """`kctl(...)` runs the real command against this lab and returns its standard output; `words` run it elsewhere."""

    def __init__(self, name: str, folder: Path, *, words: tuple[str, ...] = ()) -> None:
        self.name = name
        self.words = words
        self.config = folder / "config"
        # No lab of a test reaches the outside, unless it says so and has an outside of its own (tests/support/outside.py).
        self.kubeconfig = folder / "kubeconfig"
        own = {"PINNACE_CONFIG": str(self.config), "KUBECONFIG": str(self.kubeconfig), "PINNACE_LAB_ISOLATED": "1"}
        self.environment = {**os.environ, **own}

    def run(self, *arguments: str, stdin: str | bytes | None = None, umask: int = -1) -> subprocess.CompletedProcess[bytes]:
        """Any exit code. `umask` is that of kctl and of what it starts; -1 for the tests' own."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        if not self.words:
            return warmkctl.run(arguments, data, self.environment, umask=umask, within=DEADLINE)
        return subprocess.run(
            self.command(*arguments),
            input=data,
            capture_output=True,
            env=self.environment,
            timeout=DEADLINE,
            check=False,
            umask=umask,
        )

    def command(self, *arguments: str) -> list[str]:
        """The words that run kctl; `environment` is for them."""
        return [*self.words, *warmkctl.KCTL, *arguments]

    def kctl(self, *arguments: str, stdin: str | bytes | None = None, umask: int = -1) -> str:
        """Raises KctlError, with what kctl said, unless it succeeds."""
        result = self.run(*arguments, stdin=stdin, umask=umask)
        if result.returncode:
            said = (result.stdout + result.stderr).decode(errors="replace")
            raise KctlError(f"kctl {' '.join(arguments)} -> {result.returncode}\n{said}")
        return result.stdout.decode(errors="replace")

    def lab(self, *arguments: str) -> str:
        return self.kctl("lab", *arguments, "--name", self.name, umask=UMASK)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kctl("get", *arguments, "-o", "json"))

    def apply(self, *manifests: dict[str, Any]) -> str:
        return self.kctl("apply", "-f", "-", stdin="---\n".join(json.dumps(item) + "\n" for item in manifests))

    @property
    def record(self) -> dict[str, Any]:
        """The lab's own record: nodes and processes."""
        return dict(json.loads(Path(f"/var/lib/pinnace/labs/{self.name}/lab.json").read_text()))

    def node_dir(self, node: str) -> Path:
        return Path(f"/var/lib/pinnace/labs/{self.name}/nodes/{node}")

    def memory_dir(self, node: str) -> Path:
        """The agent's tmpfs, which is mounted in the node's mount namespace alone."""
        return Path(f"/proc/{self.pid(node)}/root{self.node_dir(node)}/memory")

    def pid(self, host: str) -> int:
        return int(self.record["processes"][host]["pid"])

    # Killing and bringing back what nothing restarts by itself in a lab

    def kill(self, host: str, number: int = signal.SIGKILL) -> None:
        """Signal the agent of a node, or the control plane; containers are not touched."""
        os.kill(self.pid(host), number)
        if number == signal.SIGKILL:
            eventually(lambda: not processes.alive(layout.load(self.name).processes.get(host)), within=10, every=0.01)

    def start_agent(self, node: str) -> None:
        """The agent again, with the identity it has; its containers may be running."""
        self._start(f"processes.start_agent(lab, {node!r})")

    def start_control(self) -> None:
        """The control plane again; returns once it answers."""
        self._start("processes.start_control(lab, None)")
        eventually(lambda: self.run("get", "nodes").returncode == 0, every=0.05)

    def _start(self, statement: str) -> None:
        """From a process that ends at once, as kctl does: what it starts is not a child of the tests."""
        program = f"from cli.lab import layout, processes\nlab = layout.load({self.name!r})\n{statement}\nlab.save()\n"
        command = [*self.words, sys.executable, "-P", "-c", program]
        subprocess.run(command, cwd=ROOT, env=self.environment, timeout=DEADLINE, check=True, umask=UMASK)

    def launcher(self, node: str) -> int:
        """The process that listens on the launcher's socket (unix(7), SO_PEERCRED); 0 for none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            try:
                probe.connect(str(self.node_dir(node) / "launcher.sock"))
            except (ConnectionRefusedError, FileNotFoundError):
                return 0
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0])

    def bundle(self, pod: dict[str, Any], container: str = "main", number: int = 0) -> Path:
        """Where the agent of the pod's node keeps this run of a container."""
        folder = self.node_dir(pod["spec"]["nodeName"]) / "pods" / str(pod["metadata"]["uid"])
        return folder / "containers" / container / str(number)

    def container_config(self, pod: dict[str, Any], container: str = "main", number: int = 0) -> Path:
        """The configuration of a bundle, which is on a tmpfs in the node's mount namespace."""
        link = self.bundle(pod, container, number) / "config.json"
        return Path(f"/proc/{self.pid(pod['spec']['nodeName'])}/root{os.readlink(link)}")

    def state(self, pod: dict[str, Any], container: str = "main", number: int = 0) -> dict[str, Any]:
        """What the monitor of this run wrote once it ran: pid, monitor and their start times. Raises KeyError."""
        path = self.bundle(pod, container, number) / "state.json"
        if not path.exists():
            raise KeyError(f"{container} of {pod['metadata']['name']} has not run")
        return dict(json.loads(path.read_text()))

    def pods(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """The pods of the default namespace by name."""
        return {item["metadata"]["name"]: item for item in self.get("pods", *arguments)["items"]}

    def all_running(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """The named pods; AssertionError while one of them is not Running with all its containers ready."""
        found = self.pods()
        for name in names:
            status = found[name].get("status", {})
            assert status.get("phase") == "Running", (name, status)
            assert all(item["ready"] for item in status["containerStatuses"]), (name, status)
        return {name: found[name] for name in names}


def eventually(check: Callable[[], Any], *, within: float = 30.0, every: float = 0.1) -> Any:
    """What `check` returns once it is true; its last failure when it never is. At most half of the time is spent in checks, such
    as runs of kctl: other tests on this machine need the rest."""
    deadline = time.monotonic() + within * PATIENCE
    while True:
        began = time.monotonic()
        try:
            value = check()
            if value:
                return value
            failure: Exception = AssertionError(f"still {value!r} after {within} s")
        except (AssertionError, KeyError, IndexError) as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(max(every, min(time.monotonic() - began, PATIENCE)))


@contextmanager
def running(
    name: str,
    folder: Path,
    *,
    nodes: int = 3,
    image: bool = True,
    arguments: tuple[str, ...] = (),
    agent: tuple[str, ...] = (),
    up: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Iterator[LabUnderTest]:
    """A lab with busybox on every node, removed at the end; leftovers fail the test. `up`: further flags of `lab up`."""
    # A name of this run's own, so that two runs on one machine do not take each other's labs down.
    name = f"{name}-{os.getpid() % 1000:03}"
    lab = LabUnderTest(name, folder, words=words)
    if name in layout.names():
        lab.run("lab", "down", "--name", name)
    lab.lab(
        "up",
        *up,
        "--nodes",
        str(nodes),
        *(f"--control-arg={argument}" for argument in arguments),
        *(f"--agent-arg={argument}" for argument in agent),
    )
    try:
        if image:
            rootfs = folder / "rootfs"
            if not rootfs.exists():
                subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(rootfs)], check=True, timeout=DEADLINE)
            lab.kctl("image", "load", str(rootfs), "--name", "busybox")
        yield lab
    finally:
        said = lab.lab("down")
    assert "nothing is left" in said, said


def pod(name: str, *command: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A pod of one busybox container `main`; by default it sleeps and ends at once on SIGTERM."""
    run = list(command) or ["sh", "-c", SLEEP]
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": run}
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, **spec},
    }  # fmt: skip
