"""What the benchmarks share: a lab to measure, a client, percentiles."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 180.0


def percentiles(values: list[float]) -> dict[str, float]:
    """p50 and p99 by nearest rank."""
    ordered = sorted(values)
    return {
        name: round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def kctl(config: Path, *arguments: str, stdin: str = "") -> str:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments, "--config", str(config)]
    environment = {"PINNACE_LAB_ISOLATED": "1", **os.environ}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=DEADLINE, env=environment, input=stdin
    ).stdout  # fmt: skip


@contextlib.contextmanager
def lab(name: str, nodes: int) -> Iterator[tuple[Path, Any]]:
    """A lab with busybox on its nodes: the configuration to reach it, and its record."""
    from cli.lab import layout

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        with contextlib.suppress(subprocess.CalledProcessError):
            kctl(config, "lab", "down", "--name", name)
        kctl(config, "lab", "up", "--nodes", str(nodes), "--name", name)
        try:
            rootfs = Path(folder) / "rootfs"
            subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(rootfs)], check=True, timeout=DEADLINE)
            kctl(config, "image", "load", str(rootfs), "--name", "busybox")
            yield config, layout.load(name)
        finally:
            kctl(config, "lab", "down", "--name", name)


def client(config: Path) -> Any:
    from cli.client import Client
    from cli.contexts import current

    class Flags:
        context = namespace = ""

    flags: Any = Flags()
    flags.config = str(config)
    return Client(current(flags))


def manifest(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": "yes"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def start_pods(connection: Any, names: list[str], **spec: Any) -> float:
    """Apply pods; seconds until the last is Ready, as a watch that was open before sees it."""
    from pinnace import kinds
    from pinnace.api.v1 import objects_pb2

    events = connection.watch(kinds.POD, "default", timeout=DEADLINE)
    for type_, _ in events:
        if type_ == "BOOKMARK":
            break
    request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
    for name in names:
        request.objects.add(apiVersion="v1", kind="Pod", json=json.dumps(manifest(name, **spec)).encode())
    waiting = set(names)
    begun = time.perf_counter()
    for result in connection.call(connection.objects.Apply, request).results:
        if result.HasField("error"):
            raise SystemExit(result.error.message)
    for _, pod in events:
        if pod is not None and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions):
            waiting.discard(pod.metadata.name)
            if not waiting:
                return time.perf_counter() - begun
    raise SystemExit(f"not Ready: {waiting}")


def remove_pods(connection: Any, names: list[str]) -> None:
    """Delete pods and wait until they are gone."""
    from cli.client import ref
    from pinnace import kinds
    from pinnace.api.v1 import objects_pb2

    for name in names:
        request = objects_pb2.DeleteRequest(ref=ref(kinds.POD, "default", name), gracePeriodSeconds=1)
        connection.call(connection.objects.Delete, request)
    deadline = time.monotonic() + DEADLINE
    while connection.list(kinds.POD, "default"):
        if time.monotonic() > deadline:
            raise SystemExit("the pods do not go")
        time.sleep(0.1)
