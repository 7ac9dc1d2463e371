"""A real lab for end-to-end tests: real kctl, real processes, a kctl configuration of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE = 120.0


class KctlError(AssertionError):
    pass


class LabUnderTest:
    """`kctl(...)` runs the real command against this lab and returns its standard output."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.config = folder / "config"
        self.environment = {**os.environ, "PINNACE_CONFIG": str(self.config)}

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Any exit code."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        command = [sys.executable, "-P", "-m", "cli.main", *arguments]
        return subprocess.run(command, input=data, capture_output=True, env=self.environment, timeout=DEADLINE, check=False)

    def kctl(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """Raises KctlError, with what kctl said, unless it succeeds."""
        result = self.run(*arguments, stdin=stdin)
        if result.returncode:
            said = (result.stdout + result.stderr).decode(errors="replace")
            raise KctlError(f"kctl {' '.join(arguments)} -> {result.returncode}\n{said}")
        return result.stdout.decode(errors="replace")

    def lab(self, *arguments: str) -> str:
        return self.kctl("lab", *arguments, "--name", self.name)

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

    def pid(self, host: str) -> int:
        return int(self.record["processes"][host]["pid"])


def eventually(check: Callable[[], Any], *, within: float = 30.0, every: float = 0.1) -> Any:
    """What `check` returns once it is true; its last failure when it never is."""
    deadline = time.monotonic() + within
    while True:
        try:
            value = check()
            if value:
                return value
            failure: Exception = AssertionError(f"still {value!r} after {within} s")
        except (AssertionError, KeyError, IndexError) as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every)


@contextmanager
def running(
    name: str, folder: Path, *, nodes: int = 3, image: bool = True, arguments: tuple[str, ...] = ()
) -> Iterator[LabUnderTest]:
    """A lab with busybox on every node, taken away at the end; leftovers fail the test."""
    lab = LabUnderTest(name, folder)
    subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "lab", "down", "--name", name],
        env=lab.environment, capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    lab.lab("up", "--nodes", str(nodes), *(f"--control-arg={argument}" for argument in arguments))
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
    run = list(command) or ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": run}
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, **spec},
    }  # fmt: skip
