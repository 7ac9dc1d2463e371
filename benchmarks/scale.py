"""The control plane with 50, 500 and 1,000 simulated nodes: joins at once, 1,000 pods, an idle cluster, and clients meanwhile.

Everything runs on loopback: a control plane, one process of simulated nodes, and this one, which measures as a client. The
processor time of the control plane for each join and pod says more than the durations where other processes run too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import client, manifest, percentiles

from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.errors import ApiError

SIZES = (50, 500, 1000)
PODS = 1000
# Seconds: for one phase at most; of quiet before the idle measurement, and of it; between two calls of a probe; between two looks.
DEADLINE, QUIET, IDLE, PAUSE, PERIOD = 120.0, 8.0, 12.0, 0.05, 0.05
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(log, "wb") as out:
        started = subprocess.Popen([sys.executable, "-P", "-m", *command], stdout=out, stderr=out)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for(what: str, done: Callable[[], bool], *, process: subprocess.Popen[bytes] | None = None) -> float:
    """Seconds until `done`."""
    began = time.monotonic()
    while not done():
        if process is not None and process.poll() is not None:
            raise SystemExit(f"ended before {what}")
        if time.monotonic() - began > DEADLINE:
            raise SystemExit(f"not within {DEADLINE:.0f} s: {what}")
        time.sleep(PERIOD)
    return time.monotonic() - began


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


class Ready:
    """Counts the objects of a kind that are Ready, as a watch shows them."""

    def __init__(self, config: Path, kind: Any, namespace: str) -> None:
        self.names: set[str] = set()
        self._client = client(config)
        self._thread = threading.Thread(target=self._run, args=(kind, namespace), daemon=True)
        self._thread.start()

    def _run(self, kind: Any, namespace: str) -> None:
        with contextlib.suppress(ApiError, ValueError):
            for _, item in self._client.watch(kind, namespace):
                if item is not None and any(c.type == "Ready" and c.status == "True" for c in item.status.conditions):
                    self.names.add(item.metadata.name)

    def close(self) -> None:
        self._client.channel.close()


class Probes:
    """A client that gets, patches and watches one ConfigMap all the time; durations in milliseconds."""

    def __init__(self, config: Path) -> None:
        self.get: list[float] = []
        self.patch: list[float] = []
        self.watch: list[float] = []
        self._sent: dict[str, float] = {}
        self._stop = threading.Event()
        self._clients = [client(config) for _ in range(3)]
        request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"n": ""}}
        request.objects.add(apiVersion="v1", kind="ConfigMap", json=json.dumps(body).encode())
        self._clients[0].call(self._clients[0].objects.Apply, request)
        self._ref = objects_pb2.Reference(apiVersion="v1", kind="ConfigMap", namespace="default", name="probe")
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._gets, self._patches, self._watches)]
        for thread in self._threads:
            thread.start()

    def _gets(self) -> None:
        connection = self._clients[0]
        while not self._stop.wait(PAUSE):
            began = time.monotonic()
            connection.call(connection.objects.Get, objects_pb2.GetRequest(ref=self._ref))
            self.get.append((time.monotonic() - began) * 1000)

    def _patches(self) -> None:
        connection, number = self._clients[1], 0
        while not self._stop.wait(PAUSE):
            number += 1
            body = json.dumps({"data": {"n": str(number)}}).encode()
            request = objects_pb2.PatchRequest(ref=self._ref, type=objects_pb2.PatchRequest.MERGE, patch=body)
            began = self._sent[str(number)] = time.monotonic()
            connection.call(connection.objects.Patch, request)
            self.patch.append((time.monotonic() - began) * 1000)

    def _watches(self) -> None:
        with contextlib.suppress(ApiError, ValueError):
            for _, item in self._clients[2].watch(kinds.CONFIG_MAP, "default"):
                if item is not None and (began := self._sent.pop(item.data.get("n", ""), None)) is not None:
                    self.watch.append((time.monotonic() - began) * 1000)

    def close(self) -> dict[str, float]:
        self._stop.set()
        for thread in self._threads[:2]:
            thread.join(10)
        for connection in self._clients:
            connection.channel.close()
        found = (("get", self.get), ("patch", self.patch), ("watch", self.watch))
        return {f"{name}_ms_p99": percentiles(values)["p99"] if values else float("nan") for name, values in found}


def create_pods(config: Path) -> float:
    """Seconds until 1,000 pods are Ready."""
    ready, connection = Ready(config, kinds.POD, "default"), client(config)
    began = time.monotonic()
    for start in range(0, PODS, 100):
        request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
        for number in range(start, start + 100):
            request.objects.add(apiVersion="v1", kind="Pod", json=json.dumps(manifest(f"pod-{number}")).encode())
        for result in connection.call(connection.objects.Apply, request, timeout=DEADLINE).results:
            if result.HasField("error"):
                raise SystemExit(result.error.message)
    wait_for("1,000 pods are Ready", lambda: len(ready.names) >= PODS)
    seconds = time.monotonic() - began
    ready.close()
    connection.channel.close()
    return seconds


def measure(nodes: int, directory: Path, store: str) -> dict[str, Any]:
    state, port, web = directory / "control", free_port(), free_port()
    config = state / "admin.yaml"
    state.mkdir(mode=0o700)
    arguments = ["--state-dir", str(state), "--store", store, "--listen", f"127.0.0.1:{port}", "--web", f"127.0.0.1:{web}"]
    with process(directory / "control.log", "controlplane", *arguments, "--advertise", "127.0.0.1") as plane:
        control_log, log = directory / "control.log", directory / "simnodes.log"
        wait_for("the control plane serves", lambda: "serving" in control_log.read_text(), process=plane)
        ready = Ready(config, kinds.NODE, "")
        simulated = ("nodeagent.simulated", "--config", str(config), "--nodes", str(nodes))
        with process(log, *simulated):
            wait_for("there are tokens", lambda: "tokens_made" in log.read_text())
            before = cpu_seconds(plane.pid)
            result: dict[str, Any] = {"all_ready_s": round(wait_for("all Ready", lambda: len(ready.names) >= nodes), 2)}
            result["join_cpu_ms"] = round((cpu_seconds(plane.pid) - before) / nodes * 1000, 1)
            ready.close()
            time.sleep(QUIET)
            before = cpu_seconds(plane.pid)
            time.sleep(IDLE)
            result["idle_cpu_percent"] = round((cpu_seconds(plane.pid) - before) / IDLE * 100, 1)
            probes, before = Probes(config), cpu_seconds(plane.pid)
            result["thousand_pods_ready_s"] = round(create_pods(config), 2)
            result["pod_cpu_ms"] = round((cpu_seconds(plane.pid) - before) / PODS * 1000, 1)
            result |= probes.close()
            result["rss_mb"] = round(memory_mb(plane.pid), 1)
            connection = client(config)
            lost = [event for event in connection.list(kinds.EVENT, "") if event.reason == "NodeNotReady"]
            result["false_not_ready"] = sum(event.count for event in lost)
            connection.channel.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="numbers of nodes")
    parser.add_argument("--store", default="sqlite", help="as for the control plane (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="keep logs and state in this directory")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as made:
        for nodes in args.sizes:
            directory = (args.keep or Path(made)) / str(nodes)
            directory.mkdir(parents=True)
            results[str(nodes)] = measure(nodes, directory, args.store)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
