"""The agent's side of the resolver, with the real process on addresses of `lo`: what it is told, and that it is always there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.message
import pytest

from nodeagent.dns import process, reading
from nodeagent.network import resolver, resolverprocess
from nodeagent.network.resolver import ResolverManager
from nodeagent.network.resolverprocess import ResolverProcess
from nodeagent.pods.spec.resolver import ClusterDns, DnsFlags
from nodeagent.runtime import seccomp
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import SystemClock
from pinnace.core.v1 import namespace_pb2, service_pb2
from pinnace.discovery.v1 import endpointslice_pb2
from tests.support.awaiting import eventually
from tests.support.dnsclients import by_udp
from tests.support.dnszones import texts
from tests.support.hosting import FakeNetwork

pytestmark = pytest.mark.root
SERVER, OTHER = "127.0.0.141", "127.0.0.142"
WEB = "web.default.svc.cluster.local"


class Change:
    """As the assignment publishes it."""

    def __init__(self, key: str) -> None:
        self.key = key


class Node:
    """Objects as an agent has them, and its resolver's manager."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.objects: dict[str, Any] = {}
        self.clock = SystemClock()
        self.is_complete = True
        self.network = FakeNetwork()
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text("nameserver 127.0.0.143\n")
        self.welcome = nodes_pb2.Welcome(clusterDNS=[SERVER], clusterDomain="cluster.local", serviceCIDRs=["10.96.0.0/12"])
        # One of each agent.
        self.processes: list[ResolverProcess] = []
        self.manager = self._manager()

    def _manager(self) -> ResolverManager:
        self.process = ResolverProcess(self.directory / "dns", SystemClock(), seccomp=self._seccomp, port=self.port)
        self.processes.append(self.process)
        return ResolverManager(
            self.process, self.network, self.clock, flags=DnsFlags(resolv_conf=self.resolv_conf),
            lookup=lambda kind, namespace, name: self.objects.get(f"{kind}/{namespace}/{name}"), keys=lambda: list(self.objects),
        )  # fmt: skip

    def _seccomp(self) -> str:
        return str(seccomp.compiled(self.directory / "seccomp", ()))

    def set(self, key: str, item: Any | None) -> None:
        if item is None:
            del self.objects[key]
        else:
            self.objects[key] = item
        self.manager.changed([Change(key)])

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """One that starts and ends; what it tells is `welcome`."""
        self.manager = self._manager()
        if self.is_complete:
            self.manager.all_known()
        self.manager.told(self.welcome)
        self.task = asyncio.ensure_future(self.manager.run())
        try:
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        """The agent ends."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def ask(self, name: str, type_: str = "A", server: str = SERVER) -> list[str] | int | None:
        """The answers, or the response code of what has none; None: there was no answer."""
        found = await by_udp((server, self.port), dns.message.make_query(name, type_).to_wire(), seconds=1.0)
        if not found:
            return None
        message = dns.message.from_wire(found[0])
        return texts(message) or int(message.rcode())

    async def answers(self, expected: Any, name: str = WEB, type_: str = "A", server: str = SERVER) -> None:
        async with asyncio.timeout(15):
            while (found := await self._asked(name, type_, server)) != expected:
                assert found is not Ellipsis
                await asyncio.sleep(0.02)

    async def _asked(self, name: str, type_: str, server: str) -> Any:
        try:
            return await self.ask(name, type_, server)
        except ConnectionError:
            return None

    def pids(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.directory).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


@pytest.fixture
def node() -> Iterator[Node]:
    # A short path: it is that of a Unix socket.
    directory = Path(tempfile.mkdtemp(prefix="dns-"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((SERVER, 0))
        port = int(probe.getsockname()[1])
    found = Node(directory, port)
    yield found
    for pid in found.pids():
        os.kill(pid, signal.SIGKILL)
    for one in found.processes:
        if one.process is not None:
            one.process.wait(10)
    shutil.rmtree(directory)


def service(*addresses: str, version: str = "1", **spec: Any) -> service_pb2.Service:
    found = service_pb2.Service()
    found.metadata.namespace, found.metadata.name, found.metadata.resourceVersion = "default", "web", version
    found.spec.clusterIP = addresses[0] if addresses else "None"
    found.spec.clusterIPs.extend(addresses)
    found.spec.ports.add(name="http", port=80, protocol="TCP")
    for name, value in spec.items():
        setattr(found.spec, name, value)
    return found


def ends(*addresses: str, hostname: str = "", ready: bool | None = True, kind: str = "IPv4") -> endpointslice_pb2.EndpointSlice:
    found = endpointslice_pb2.EndpointSlice(addressType=kind)
    found.metadata.namespace, found.metadata.name = "default", "web-1"
    found.metadata.labels["kubernetes.io/service-name"] = "web"
    found.ports.add(name="http", port=8080, protocol="TCP")
    for address in addresses:
        one = found.endpoints.add(addresses=[address])
        if hostname:
            one.hostname = hostname
        if ready is not None:
            one.conditions.ready = ready
    return found


async def test_names_are_those_of_the_assignment(node: Node) -> None:
    """Each change is answered as soon as it is there."""
    async with node.agent():
        await node.answers(3)
        node.set("Service/default/web", service("10.96.0.5"))
        await node.answers(["A 10.96.0.5"])
        assert await node.ask("5.0.96.10.in-addr.arpa", "PTR") == [f"PTR {WEB}."]
        node.set("Service/default/web", service())
        node.set("EndpointSlice/default/web-1", ends("10.244.1.2", hostname="web-0"))
        await node.answers(["A 10.244.1.2"])
        assert await node.ask(f"web-0.{WEB}") == ["A 10.244.1.2"]
        assert await node.ask(f"_http._tcp.{WEB}", "SRV") == [f"SRV 0 100 8080 web-0.{WEB}."]
        node.set("EndpointSlice/default/web-1", ends("10.244.1.2", "10.244.1.3", ready=None))
        await node.answers(["A 10.244.1.2", "A 10.244.1.3"])
        node.set("EndpointSlice/default/web-1", ends("10.244.1.2", ready=False))
        await node.answers(3)
        node.set("Service/default/web", service(type="ExternalName", externalName="10-1-2-3.lab.pod.cluster.local"))
        node.set("Namespace//lab", namespace_pb2.Namespace())
        await node.answers(["A 10.1.2.3", "CNAME 10-1-2-3.lab.pod.cluster.local."])
        node.set("Namespace//lab", None)
        node.set("Service/default/web", None)
        await node.answers(3)
        text = await node.manager.metrics()
        assert 'pinnace_dns_objects{kind="EndpointSlice"} 1' in text
        assert 'proto="udp",zone="cluster",type="SRV",rcode="NOERROR"' in text
    assert await node.manager.metrics() == ""


async def test_names_that_have_not_come_yet_are_not_denied(node: Node) -> None:
    """An agent that joins gets them in portions: until the last one, no name is answered as if it did not exist."""
    node.is_complete = False
    node.set("Service/default/web", service("10.96.0.5"))
    async with node.agent():
        await node.answers(2)
        node.set("Namespace//lab", namespace_pb2.Namespace())
        await eventually_metric(node, "EndpointSlice", 0)
        assert await node.ask("late.default.svc.cluster.local") == 2
        node.set("EndpointSlice/default/web-1", ends("10.244.1.2"))
        await eventually_metric(node, "EndpointSlice", 1)
        assert await node.ask(WEB) == 2
        assert not node.manager.serving.is_set()
        node.manager.all_known()
        async with asyncio.timeout(15):
            await node.manager.serving.wait()
        assert await node.ask(WEB) == ["A 10.96.0.5"]
        assert await node.ask("late.default.svc.cluster.local") == 3
    # The next agent, until it has all, takes nothing away.
    del node.objects["Service/default/web"]
    async with node.agent():
        await eventually_metric(node, "EndpointSlice", 1)
        assert await node.ask(WEB) == ["A 10.96.0.5"]
        node.manager.all_known()
        await node.answers(3)


async def test_pods_wait_for_no_names_in_a_cluster_without_dns(node: Node) -> None:
    node.welcome = nodes_pb2.Welcome()
    async with node.agent():
        await node.manager.serving.wait()
    assert node.pids() == []


async def eventually_metric(node: Node, kind: str, count: int) -> None:
    async with asyncio.timeout(15):
        while f'pinnace_dns_objects{{kind="{kind}"}} {count}' not in await node.manager.metrics():
            await asyncio.sleep(0.02)


async def test_it_serves_while_no_agent_runs(node: Node) -> None:
    """The next agent finds it, and what has changed meanwhile."""
    node.set("Service/default/web", service("10.96.0.5"))
    node.set("EndpointSlice/default/web-1", ends("10.244.1.2"))
    async with node.agent():
        await node.answers(["A 10.96.0.5"])
    before = node.pids()
    assert await node.ask(WEB) == ["A 10.96.0.5"]
    node.set("Service/default/web", service("10.96.0.6"))
    node.set("EndpointSlice/default/web-1", None)
    async with node.agent():
        await node.answers(["A 10.96.0.6"])
        await node.answers(3, f"10-244-1-2.{WEB}")
    assert node.pids() == before


async def test_one_that_is_killed_is_started_again_with_everything(node: Node) -> None:
    """Also when it was stopped by SIGTERM."""
    node.set("Service/default/web", service("10.96.0.5"))
    async with node.agent():
        await node.answers(["A 10.96.0.5"])
        for number in (signal.SIGKILL, signal.SIGTERM):
            (pid,) = node.pids()
            os.kill(pid, number)
            await eventually(lambda gone=pid: gone not in node.pids())
            await node.answers(["A 10.96.0.5"])


async def test_other_addresses_and_another_version_replace_it(node: Node) -> None:
    """The addresses of the node are those that it answers at."""
    node.set("Service/default/web", service("10.96.0.5"))
    async with node.agent():
        await node.answers(["A 10.96.0.5"])
        node.welcome.clusterDNS[:] = [OTHER]
        node.manager.told(node.welcome)
        await node.answers(["A 10.96.0.5"], server=OTHER)
        assert node.network.names[-1] == (OTHER,)
        assert node.manager.cluster_dns() == ClusterDns((OTHER,), "cluster.local", node.resolv_conf)
        (before,) = node.pids()
    async with node.agent():
        node.process._code = "another"
        await eventually(lambda: node.pids() and before not in node.pids())
        await node.answers(["A 10.96.0.5"], server=OTHER)


async def test_it_has_no_privilege(node: Node) -> None:
    """Neither capabilities nor files nor ways to get some; and its socket is root's."""
    async with node.agent():
        await node.answers(3)
        (pid,) = node.pids()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split() == status["Gid"].split() == [str(process.USER)] * 4
        assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0] * 4
        assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()) == ("1", "2", "")
        assert list(Path(f"/proc/{pid}/root").resolve().iterdir()) == []
        assert Path(f"/proc/{pid}/cwd").stat().st_ino == (node.directory / "dns/root").stat().st_ino
        assert (node.directory / "dns/control").stat().st_mode & 0o777 == 0o600
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0


class Server:
    """A name server whose answer is one record of the question's type, with data that no type has."""

    def respond(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        record = b"\xc0\x0c" + query[end - 4 : end] + struct.pack("!IH", 60, 300) + bytes(300)
        return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + record

    async def serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            query, peer = await loop.sock_recvfrom(sock, 4096)
            await loop.sock_sendto(sock, self.respond(query), peer)


async def test_every_query_is_answered_in_the_empty_root(node: Node) -> None:
    """Whatever the operation, the class, the type, and the options and further records of the query; nor is there a trace in the
    log."""
    async with node.agent():
        await node.answers(3)
    _, writer = await asyncio.open_unix_connection(str(node.directory / "dns/control"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.143", node.port))
        upstream.setblocking(False)
        task = asyncio.ensure_future(Server().serve(upstream))
        settings = {
            "domain": "cluster.local", "networks": [], "servers": [SERVER], "upstream": ["127.0.0.143"], "own": [SERVER],
            "stubs": {}, "port": node.port,
        }  # fmt: skip
        writer.write(json.dumps({"settings": settings}).encode() + b"\n")
        await node.answers(3)
        option = b"\0\0\x29\x04\xd0\0\0\x80\0"
        queries = {
            (f"opcode {opcode}", tail): struct.pack("!6H", 0, opcode << 11, 1, 0, 0, bool(tail)) + b"\1a\0\0\6\0\1" + tail
            for opcode in range(16)
            for tail in (b"", option + b"\0\0")
        }
        head = struct.pack("!6H", 0, 0x100, 1, 0, 0, 1)
        queries |= {
            ("option", bytes([code])): head + b"\1a\0\0\1\0\1" + option + struct.pack("!HHH", 8, code, 4) + bytes(4)
            for code in range(20)
        }
        queries |= {
            ("record", bytes([kind])): head + b"\1a\0\0\1\0\1" + b"\0" + struct.pack("!HHIH", kind, 255, 0, 4) + bytes(4)
            for kind in (24, 46, 249, 250, 251, 255)
        }
        queries |= {
            ("class", bytes([class_])): head[:10] + b"\0\0" + b"\1a\0\0\1" + struct.pack("!H", class_)
            for class_ in (0, 2, 3, 4, 254, 255)
        }
        types = {
            ("type", struct.pack("!H", kind)): head + b"\1a\4test\0" + struct.pack("!HH", kind, 1) + option + b"\0\0"
            for kind in (*range(300), *range(32767, 32772), 65280, 65281, 65534, 65535)
        }
        codes = {}
        for what, query in (queries | types).items():
            found = await by_udp((SERVER, node.port), query)
            assert found, what
            codes[what] = found[0][3] & 15
        assert {code for (what, _), code in codes.items() if what.startswith("opcode") and what != "opcode 0"} == {4}
        # Data of these has names, which are read: no such data is as long as those zeros.
        assert [what for what in types if codes[what] == 2] == [
            ("type", struct.pack("!H", kind)) for kind in sorted(reading._NAMED)
        ]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    writer.close()
    log = node.process.log.read_text()
    assert "Traceback" not in log
    assert "Error" not in log


async def test_a_change_is_answered_without_a_timer(node: Node) -> None:
    """On a clock that stands still, every change of the assignment reaches the answers."""

    class Still(SystemClock):
        async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
            return await super().wait(event, None)

    node.clock = Still()
    async with node.agent():
        await node.answers(3)
        for last in range(1, 20):
            node.set("Service/default/web", service(f"10.96.0.{last}"))
            await node.answers([f"A 10.96.0.{last}"])
        node.set("Service/default/web", service())
        for last in range(1, 20):
            node.set("EndpointSlice/default/web-1", ends(f"10.244.1.{last}"))
        await node.answers(["A 10.244.1.19"])


async def test_the_digest_covers_all_that_it_runs() -> None:
    """An upgrade replaces a resolver whose code has changed, wherever that is."""
    script = (
        "import sys; sys.path[0:0] = [sys.argv[2]]; import nodeagent.dns.__main__ as main; main._leave_out(); "
        "import nodeagent.dns.process; print(*(getattr(module, '__file__', None) for module in sys.modules.values()), sep='\\n')"
    )
    packages = resolverprocess._library().parent
    words = [sys.executable, "-I", "-S", "-c", script, str(packages), str(resolverprocess._ROOT)]
    lines = (await asyncio.to_thread(subprocess.check_output, words, text=True)).split()
    imported = {Path(line) for line in lines if "/" in line}
    libraries = {path for path in imported if path.is_relative_to(packages)}
    own = {path for path in imported - libraries if path.is_relative_to(resolverprocess._ROOT)}
    assert resolverprocess.PROGRAM / "process.py" in own
    assert own <= set(resolverprocess.code())
    # Its version is a part of the digest.
    assert {path.relative_to(packages).parts[0] for path in libraries} == {"dns"}


async def test_the_log_begins_anew_at_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of files it would be written no more."""
    monkeypatch.setattr(process, "MAX_LOG", 1000)
    with (tmp_path / "log").open("a") as file:
        log = process.Log(file)
        for number in range(100):
            log.emit(logging.makeLogRecord({"msg": f"line {number} {'x' * 90}"}))
    text = (tmp_path / "log").read_text()
    assert 0 < len(text) <= 1200
    assert "line 99" in text


async def test_a_changed_resolv_conf_counts(node: Node) -> None:
    """The name servers in it are asked from then on."""
    async with node.agent():
        await node.answers(2, "www.example")
        await eventually(lambda: "upstream=127.0.0.143" in node.process.log.read_text())
        node.resolv_conf.write_text("nameserver 127.0.0.144\nnameserver nonsense\n")
        await eventually(lambda: "upstream=127.0.0.144" in node.process.log.read_text())


async def test_an_address_in_use_is_reported_and_tried_again(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """With the address and the reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((SERVER, node.port))
        async with node.agent():
            await eventually(lambda: f"{SERVER} port {node.port}: Address already in use" in caplog.text)
            taken.close()
            await node.answers(3)


async def test_without_cluster_dns_there_is_none(node: Node) -> None:
    """No process, no address."""
    node.welcome.clusterDNS[:] = []
    async with node.agent():
        await asyncio.sleep(0.3)
        assert node.pids() == []
        assert node.network.names == []
        assert node.manager.cluster_dns().servers == ()


async def test_the_agent_ends_while_its_resolver_does_not_read(node: Node) -> None:
    """As one that is stopped, with more to be read than its socket holds."""
    async with node.agent():
        await node.answers(3)
        (pid,) = node.pids()
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(15):
                while (writer := node.manager._writer) and not writer.transport.get_write_buffer_size():
                    node.set("EndpointSlice/default/web-1", ends(*(f"10.244.1.{last}" for last in range(200))))
                    await asyncio.sleep(0.01)
            async with asyncio.timeout(15):
                # Cancels what is left of it, also when this test fails.
                await node.stop()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert node.pids() == [pid]


async def test_one_that_does_not_answer_is_killed_and_replaced(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After repeated attempts."""
    async with node.agent():
        await node.answers(3)
        (pid,) = node.pids()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(resolverprocess, "ANSWER_WITHIN", 0.3)
    async with node.agent():
        await eventually(lambda: f"resolver_killed pid={pid} unanswered=2" in caplog.text)
        monkeypatch.setattr(resolverprocess, "ANSWER_WITHIN", 10.0)
        node.set("Service/default/web", service("10.96.0.5"))
        await node.answers(["A 10.96.0.5"])
        assert pid not in node.pids()


async def test_metrics_after_a_late_answer_are_those_of_now(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node.agent():
        await node.answers(3)
        (pid,) = node.pids()
        os.kill(pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(resolver, "TAKEN_WITHIN", 0.5)
            assert await node.manager.metrics() == ""
            assert await node.manager.metrics() == ""
        os.kill(pid, signal.SIGCONT)
        node.set("Service/default/web", service("10.96.0.5"))
        await node.answers(["A 10.96.0.5"])
        assert 'pinnace_dns_objects{kind="Service"} 1' in await node.manager.metrics()
