"""`kctl net`: how its words become senders and receivers, on a server in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from cli import main
from cli.net import capture, trace, verify
from cli.net.targets import Target, target_of
from cli.net.verify import summary
from pinnace import kinds
from pinnace.api.v1.streams_pb2 import Exit, Frame, NetworkHop, NetworkReport, OpenStream
from pinnace.errors import BadRequest, Forbidden, TooManyRequests
from pinnace.kinds import Kind
from tests.support.kctlserver import Server, made

PORTS = [
    {"name": "http", "port": 80, "protocol": "TCP"},
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
]
CONTAINER = {
    "name": "c",
    "ports": [
        {"name": "web", "containerPort": 8080},
        {"name": "dns", "containerPort": 5353, "protocol": "UDP"},
        {"name": "signal", "containerPort": 2905, "protocol": "SCTP"},
    ],
}


def service(name: str, address: str, **spec: Any) -> Any:
    return made(kinds.SERVICE, name, spec={"clusterIP": address, "ports": PORTS, **spec})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(
        made(kinds.POD, "a", spec={"nodeName": "n"}, status={"podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}]}),
        made(kinds.POD, "web", spec={"nodeName": "n", "containers": [CONTAINER]}, status={"podIP": "10.244.0.3"}),
        made(kinds.POD, "new"),
        service("web", "10.96.0.20"), service("db", "fd00::20"), service("headless", "None"),
    )  # fmt: skip
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


@pytest.mark.parametrize(
    ("word", "protocol", "expected"),
    [
        ("a", "", Target("10.244.0.2", 0, "icmp", "pod a")),
        ("po/a:8080", "", Target("10.244.0.2", 8080, "tcp", "pod a")),
        ("web", "", Target("10.244.0.3", 0, "icmp", "pod web")),
        ("svc/web", "", Target("10.96.0.20", 80, "tcp", "service web")),
        ("services/web:53", "", Target("10.96.0.20", 53, "udp", "service web")),
        ("service/web:53", "tcp", Target("10.96.0.20", 53, "tcp", "service web")),
        ("db", "udp", Target("fd00::20", 53, "udp", "service db")),
        ("svc/web:http", "", Target("10.96.0.20", 80, "tcp", "service web")),
        ("db:dns-tcp", "", Target("fd00::20", 53, "tcp", "service db")),
        ("web:web", "", Target("10.244.0.3", 8080, "tcp", "pod web")),
        ("pod/web:dns", "udp", Target("10.244.0.3", 5353, "udp", "pod web")),
        ("pod/web:signal", "", Target("10.244.0.3", 2905, "sctp", "pod web")),
        ("pod/web:2905", "sctp", Target("10.244.0.3", 2905, "sctp", "pod web")),
        ("10.0.0.1", "", Target("10.0.0.1", 0, "icmp", "")),
        ("[fd00::1]:443", "", Target("fd00::1", 443, "tcp", "")),
        ("fd00::1", "", Target("fd00::1", 0, "icmp", "")),
    ],
)
def test_a_receiver_is_a_pod_a_service_or_an_address(server: Server, word: str, protocol: str, expected: Target) -> None:
    """Without a type a pod of that name comes first; a Service without a port is its first port of the protocol."""
    assert target_of(server, "default", word, protocol) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trace", "a", "deployment/web"], "deployment/web: neither a pod nor a service"),
        (["trace", "a", "nonsense/web"], "the server doesn't have a resource type"),
        (["trace", "a", "new"], "pod new has no address yet"),
        (["trace", "new", "a"], "pod new has no address of its own"),
        (["trace", "a", "svc/web:81"], "service web has no port 81"),
        (["trace", "a", "svc/web:80", "--protocol", "udp"], "service web has no UDP port 80"),
        (["trace", "a", "svc/headless"], "service headless has no cluster IP"),
        (["trace", "a", "web", "--target-namespace", "other"], 'services "web" not found'),
        (["trace", "a", "[fd00::1]:80"], "pod a has no address of the family of fd00::1"),
        (["trace", "a", "web:http"], "pod web has no port http"),
        (["trace", "a", "svc/web:https"], "service web has no port https"),
        (["trace", "a", "svc/web:dns", "--protocol", "tcp"], "service web has no TCP port dns"),
        (["trace", "a", "web:99999"], "'99999' is not a port"),
        (["trace", "a", "svc/web:"], "':' is not a port"),
        (["trace", "a", "10.0.0.1:http"], "'http' is not a port"),
        (["trace", "a", "web", "--wait", "9s"], "--wait: more than 0s, at most 8s"),
        (["trace", "configmap/a", "web"], "configmap/a: neither a pod nor a workload with pods"),
        (["capture", "configmap/a"], "configmap/a: neither a pod nor a workload with pods"),
    ],
)
def test_words_that_are_refused(
    server: Server, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main._exit_code(["net", *arguments]) == 1
    assert expected in capsys.readouterr().err


def test_the_summary_counts_every_node() -> None:
    """Nodes that could not be compared are not as wanted."""
    assert summary(2, 1, silent=0) == "2 nodes as wanted, 1 with differences"
    assert summary(1, 0, silent=2) == "1 node as wanted, 0 with differences, 2 without a report"
    assert summary(0, 1, silent=0, repaired=1) == "0 nodes as wanted, 1 with differences, which is repaired"
    assert (
        summary(0, 2, silent=1, repaired=2) == "0 nodes as wanted, 2 with differences, which are repaired, 1 without a report"
    )
    assert summary(1, 0, troubled=2, silent=0) == "1 node as wanted, 0 with differences, 2 with problems"


DUAL = {"podIP": "fd00::7", "podIPs": [{"ip": "fd00::7"}, {"ip": "10.244.0.7"}]}
SIDECARS = [
    {"name": "setup", "ports": [{"name": "setup", "containerPort": 1}]},
    {"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 9000}]},
]


@pytest.mark.parametrize(
    ("word", "sources", "expected"),
    [
        ("dual", ["10.244.0.2"], "10.244.0.7"), ("dual", ["fd00::2"], "fd00::7"), ("dual", ["10.244.0.2", "fd00::2"], "fd00::7"),
        ("dual:80", ["10.244.0.2"], "10.244.0.7"), ("both", ["10.244.0.2"], "10.96.0.21"), ("both", ["fd00::2"], "fd00::21"),
        ("db", ["10.244.0.2"], "fd00::20"),
    ],
)  # fmt: skip
def test_a_receiver_has_an_address_of_the_senders_family(server: Server, word: str, sources: list[str], expected: str) -> None:
    """The first of those; without one the trace says so."""
    server.put(made(kinds.POD, "dual", status=DUAL))
    server.put(service("both", "fd00::21", clusterIPs=["fd00::21", "10.96.0.21"]))
    assert target_of(server, "default", word, "", sources).address == expected


def test_ports_of_sidecars_have_names(server: Server) -> None:
    """Those of init containers that end are no receivers."""
    server.put(
        made(kinds.POD, "meshed", spec={"containers": [CONTAINER], "initContainers": SIDECARS}, status={"podIP": "10.0.0.8"})
    )
    assert target_of(server, "default", "meshed:admin", "") == Target("10.0.0.8", 9000, "tcp", "pod meshed")
    assert target_of(server, "default", "meshed:web", "").port == 8080
    with pytest.raises(BadRequest, match="pod meshed has no port setup"):
        target_of(server, "default", "meshed:setup", "")


class Capturing:
    """A client of a node that sends these frames."""

    def __init__(self, server: Server, *frames: Frame) -> None:
        self.channel, self.context, self.get = grpc.insecure_channel("unix:/nowhere"), server.context, server.get
        self.list = server.list
        self._frames = frames

    def stream(self, method: Any, opening: OpenStream, *, timeout: float | None) -> Iterator[Frame]:
        yield from self._frames


def test_a_capture_that_is_refused_leaves_an_earlier_file(server: Server, tmp_path: Path) -> None:
    """One that begins replaces it."""
    path = tmp_path / "web.pcap"
    path.write_bytes(b"of yesterday")
    args = SimpleNamespace(write=str(path), pod="web", host="", port=0, count=0, max_bytes=0, duration=0.0, snaplen=0)
    refused = Frame(exit=Exit(reason="TooManyRequests", message="this node captures 4 pods already"))
    with pytest.raises(TooManyRequests):
        capture.run(Capturing(server, refused), args)
    assert path.read_bytes() == b"of yesterday"
    assert capture.run(Capturing(server, Frame(stdout=b"header"), Frame(exit=Exit())), args) == 0
    assert path.read_bytes() == b"header"


@pytest.mark.parametrize(("seconds", "millis"), [(0.0, 0), (1e-6, 1), (2.5, 2500), (3e9, (1 << 32) - 1)])
def test_the_duration_of_a_capture(seconds: float, millis: int) -> None:
    """0 is no limit, so the least is a millisecond."""
    assert capture._millis(seconds) == millis


LEAVES = NetworkHop(kind="underlay", text="leaves the overlay by eth0, from the node's address", target="203.0.113.9:9")
NODE = NetworkHop(kind="underlay", text=LEAVES.text, target="192.0.2.12:9")


@pytest.mark.parametrize(
    ("hops", "code", "last"),
    [
        ([LEAVES], 0, "sent to 203.0.113.9:9, outside of the cluster: its arrival is not followed"),
        ([NODE], 0, "sent to 192.0.2.12:9, an address of node n2: its arrival is not followed"),
        ([LEAVES, NetworkHop(kind="answer", text="connected", target=LEAVES.target)], 0, "delivered to 203.0.113.9:9"),
        (
            [LEAVES, NetworkHop(kind="answer", text="No route to host", dropped=True, target=LEAVES.target)], 1,
            "dropped: n: answer No route to host",
        ),
        (
            [NetworkHop(kind="policy", text="denied", dropped=True), NetworkHop(kind="answer", text="x", dropped=True)], 1,
            "dropped: n: policy denied",
        ),
    ],
)  # fmt: skip
def test_a_packet_that_leaves_the_overlay_is_delivered_if_it_is_answered(
    server: Server, capsys: pytest.CaptureFixture[str], hops: list[NetworkHop], code: int, last: str
) -> None:
    """Nothing else shows that it has arrived."""
    server.put(made(kinds.NODE, "n2", status={"addresses": [{"type": "InternalIP", "address": "192.0.2.12"}]}))
    client = Capturing(server, *(Frame(hop=hop) for hop in hops))
    args = SimpleNamespace(pod="a", target="203.0.113.9:9", target_namespace="", protocol="", wait=1.0)
    assert trace.run(client, args) == code
    assert capsys.readouterr().out.strip().splitlines()[-1] == last


def test_a_trace_to_an_outside_address_needs_no_list_of_nodes(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """A user who may not list them learns all but whether the address is one of theirs."""

    def refuse(kind: Kind, *_: Any, **__: Any) -> list[Any]:
        raise Forbidden(f"{kind.resource} is forbidden")

    client = Capturing(server, Frame(hop=LEAVES))
    client.list = refuse
    args = SimpleNamespace(pod="a", target="203.0.113.9:9", target_namespace="", protocol="", wait=1.0)
    assert trace.run(client, args) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == "sent to 203.0.113.9:9: its arrival is not followed"


class Nodes:
    """A client of nodes that send these reports."""

    def __init__(self, **reports: NetworkReport) -> None:
        self.channel, self._reports = grpc.insecure_channel("unix:/nowhere"), reports

    def stream(self, method: Any, opening: OpenStream, *, timeout: float) -> Iterator[Frame]:
        yield Frame(networkReport=self._reports[opening.node])


@pytest.mark.parametrize("fix", [False, True])
def test_a_node_with_a_problem_is_not_as_wanted(capsys: pytest.CaptureFixture[str], fix: bool) -> None:
    """Such as one without a network, which has no differences; `--fix` does not repair it."""
    nodes = Nodes(n1=NetworkReport(), n2=NetworkReport(problems=["the kernel has no WireGuard"]))
    assert verify.run(nodes, SimpleNamespace(node=["n1", "n2"], fix=fix)) == 1
    said = capsys.readouterr()
    assert said.out.strip() == "1 node as wanted, 0 with differences, 1 with problems"
    assert said.err.strip() == "error: node n2: the kernel has no WireGuard"


def test_only_nodes_without_a_difference_left_are_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    """A repair may fail; differences that are not listed are counted."""
    found = {"kind": "route", "item": "10.244.2.0/24"}
    nodes = Nodes(
        n1=NetworkReport(deviations=[found], fixed=True, omitted=4_000),
        n2=NetworkReport(deviations=[found], problems=["no permission"]),
    )
    assert verify.run(nodes, SimpleNamespace(node=["n1", "n2"], fix=True)) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-2:] == [
        "n1: 4000 more differences",
        "0 nodes as wanted, 2 with differences, 1 of which is repaired, 1 with problems",
    ]
    assert verify.run(nodes, SimpleNamespace(node=["n1"], fix=True)) == 0
