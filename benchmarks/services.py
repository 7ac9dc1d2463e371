"""Services on a node, in a lab of two with real packets: with one Service, and with 5,000.

`first_answer_ms` is from `Apply` of a Service, whose pod is ready, to the first answer to a client in a pod of another node; its cluster IP
is stated, so the client knocks from the beginning. `program_ms` is from the agent's work on one change to the end of its transaction,
as the agent logs it. `connect_us` is a TCP handshake through a Service, `direct_us` one with the pod itself, in turns.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support import DEADLINE, client, lab, percentiles, start_pods

MANY, AT_ONCE = 5000, 100
FIRST, CONNECTS = 20, 2000
PORT = 8080
# Seconds for a handshake, which takes 0.2 ms, while the Service may not be there yet.
KNOCK = 0.005
_CLONE_NEWNET = 0x40000000
SERVER = f"""
import socket
server = socket.create_server(("", {PORT}), backlog=1024)
print(flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"x")
    connection.close()
"""


def address_of(number: int) -> str:
    """Of the lower part of the range that Services get by themselves."""
    return f"10.97.{number // 250}.{number % 250 + 1}"


def service(number: int) -> bytes:
    spec = {"selector": {"bench": "yes"}, "clusterIP": address_of(number), "ports": [{"port": 80, "targetPort": PORT}]}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"bench-{number}"}, "spec": spec}).encode()


class Bench:
    def __init__(self, connection: Any, record: Any, pods: dict[str, Any]) -> None:
        self.connection = connection
        self.log = Path(f"/var/lib/pinnace/labs/{record.name}/logs/node-1.log")
        self.node = record.namespace("node-1", "net")
        self.target = pods["server"]["status"]["podIP"]
        self._client = ThreadPoolExecutor(1, initializer=enter, initargs=(namespace_of(record, pods["client"]),))

    def within(self, work: Callable[[], Any]) -> Any:
        """In the client's network namespace."""
        return self._client.submit(work).result(DEADLINE)

    def apply(self, *numbers: int) -> None:
        from pinnace.api.v1 import objects_pb2

        request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
        for number in numbers:
            request.objects.add(apiVersion="v1", kind="Service", json=service(number))
        for result in self.connection.call(self.connection.objects.Apply, request).results:
            if result.HasField("error"):
                raise SystemExit(result.error.message)

    def first_answers(self, numbers: range) -> list[float]:
        return [self._first_answer(number) for number in numbers]

    def _first_answer(self, number: int) -> float:
        """Milliseconds."""
        begun = time.perf_counter()
        answered = self._client.submit(knock, address_of(number), 80)
        self.apply(number)
        took = (answered.result(DEADLINE) - begun) * 1000
        # The endpoint's slice is complete; nothing of this one falls into the next.
        time.sleep(0.1)
        return float(took)

    def programmed(self, begin: int) -> list[float]:
        """What the agent has logged of single changes since its log had `begin` bytes."""
        text = self.log.read_text()[begin:]
        return [
            float(ms) for size, ms in re.findall(r"services_programmed elements=(\d+) .*ms=([\d.]+)", text) if int(size) <= 4
        ]

    def connects(self, number: int) -> tuple[dict[str, float], dict[str, float]]:
        """Microseconds through a Service and directly."""

        def measure() -> tuple[list[float], list[float]]:
            through, direct = [], []
            for _ in range(CONNECTS):
                through.append(handshake(address_of(number), 80))
                direct.append(handshake(self.target, PORT))
            return through, direct

        through, direct = self.within(measure)
        return percentiles(through), percentiles(direct)

    def wait_for(self, count: int) -> None:
        """Until the node has so many frontends with endpoints."""
        deadline = time.monotonic() + DEADLINE
        while True:
            command = ["nsenter", f"--net={self.node}", "nft", "-j", "list", "map", "inet", "pinnace", "services_4"]
            listed = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE).stdout)
            if len(next(item["map"]["elem"] for item in listed["nftables"] if "map" in item)) >= count:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"the node has not {count} Services")
            time.sleep(1)


def enter(namespace: Path) -> None:
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def knock(address: str, port: int) -> float:
    """When the first answer comes. A Service that is not there refuses, but the kernel limits how often it says so."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, port), KNOCK) as sock:
            sock.settimeout(1)
            if sock.recv(1):
                return time.perf_counter()
        time.sleep(0.0005)
    raise SystemExit(f"{address}:{port} does not answer")


def handshake(address: str, port: int) -> float:
    with socket.socket() as sock:
        sock.settimeout(5)
        begun = time.perf_counter()
        sock.connect((address, port))
        took = (time.perf_counter() - begun) * 1e6
        sock.recv(1)
        return took


def namespace_of(record: Any, item: dict[str, Any]) -> Path:
    pods = record.node_dir(item["spec"]["nodeName"]) / "pods"
    state = pods / item["metadata"]["uid"] / "containers/main/0/state.json"
    return Path(f"/proc/{json.loads(state.read_text())['pid']}/ns/net")


@contextlib.contextmanager
def benched() -> Iterator[Bench]:
    from support import kctl

    with lab("bench-services", 2) as (config, record):
        connection = client(config)
        start_pods(connection, ["client"], nodeName="node-1")
        start_pods(connection, ["server"], nodeName="node-2")
        # The Services' selector is the label of both.
        kctl(config, "label", "pod", "client", "bench-")
        pods = {item["metadata"]["name"]: item for item in json.loads(kctl(config, "get", "pods", "-o", "json"))["items"]}
        command = ["nsenter", f"--net={namespace_of(record, pods['server'])}", sys.executable, "-c", SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()
                yield Bench(connection, record, pods)
            finally:
                server.kill()


def measured(bench: Bench, numbers: range, of: int) -> dict[str, Any]:
    begin = bench.log.stat().st_size
    first = bench.first_answers(numbers)
    through, direct = bench.connects(of)
    program = bench.programmed(begin)
    return {
        "first_answer_ms": percentiles(first), "program_ms": round(statistics.median(program), 2),
        "program_ms_p99": percentiles(program)["p99"], "connect_us": through, "direct_us": direct,
    }  # fmt: skip


def main() -> None:
    with benched() as bench:
        one = measured(bench, range(FIRST), 0)
        for start in range(FIRST, MANY, AT_ONCE):
            bench.apply(*range(start, min(start + AT_ONCE, MANY)))
        bench.wait_for(MANY)
        time.sleep(2)
        many = measured(bench, range(MANY, MANY + FIRST), MANY - 1)
    result: dict[str, Any] = {"first_answer_ms": one.pop("first_answer_ms")}
    result |= {f"{key}_at_1": value for key, value in one.items()}
    result |= {f"{key}_at_{MANY}": value for key, value in many.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
