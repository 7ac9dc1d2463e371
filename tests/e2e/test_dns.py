"""Names in pods, with real clients: dig, glibc's and musl's resolvers. The cluster's names and others, and the resolver's faults."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout
from cli.lab.layout import CONTROL
from cli.lab.netns import entered
from tests.support import dnsimage, nameserver
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nameserver import NameServer

pytestmark = [pytest.mark.root, pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="musl-tools is not installed")]
SERVER, DOMAIN = "10.96.0.10", "default.svc.cluster.local"
# Name servers in the network namespace of the first node: the node's own, and that of a stub domain.
UPSTREAM, STUB = "127.0.0.53", "127.0.0.54"
FIRST = "node-1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    folder = tmp_path_factory.mktemp("dns")
    (folder / "resolv.conf").write_text(f"nameserver {UPSTREAM}\nsearch node.test\n")
    agent = (f"--resolv-conf={folder}/resolv.conf", f"--dns-stub-domain=corp.test={STUB}")
    with running("t-dns", folder, nodes=2, agent=agent) as found:
        dnsimage.build(folder / "clients")
        found.kctl("image", "load", str(folder / "clients"), "--name", dnsimage.NAME)
        found.apply(client("client"))
        eventually(lambda: found.all_running(["client"]))
        yield found


@pytest.fixture(scope="module")
def upstream(lab: LabUnderTest) -> Iterator[NameServer]:
    records = {
        "www.example.test": ["192.0.2.1"],
        "kept.example.test": ["192.0.2.2"],
        "large.test": [f"192.0.2.{number}" for number in range(1, 200)],
    }
    with serving(lab, UPSTREAM, NameServer(records, large={"large.test"}, negative_ttl=60)) as found:
        yield found


@contextmanager
def serving(lab: LabUnderTest, address: str, found: NameServer) -> Iterator[NameServer]:
    """On an address of the first node."""
    with entered(layout.load(lab.name).namespace(FIRST, "net")):
        udp, tcp = nameserver.sockets(address, 53)
    with nameserver.serving(found, udp, tcp):
        yield found


def client(name: str, node: str = FIRST, **spec: Any) -> dict[str, Any]:
    return pod(name, container={"image": dnsimage.NAME}, nodeName=node, **spec)


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def slice_of(name: str, *addresses: str, hostnames: tuple[str, ...] = (), port: int = 80) -> dict[str, Any]:
    """An EndpointSlice of a Service without a selector."""
    ends: list[dict[str, Any]] = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    for one, hostname in zip(ends, hostnames, strict=False):
        one["hostname"] = hostname
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "endpoints": ends, "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }  # fmt: skip


HTTP = [{"name": "http", "port": 80}]


@pytest.fixture(scope="module")
def names(lab: LabUnderTest) -> None:
    lab.apply(
        service("web", ports=[*HTTP, {"name": "dns", "port": 53, "protocol": "UDP"}], clusterIP="10.96.0.77"),
        service("db", clusterIP="None", ports=HTTP),
        slice_of("db", "10.244.9.1", "10.244.9.2", hostnames=("db-0",)),
        service("ext", type="ExternalName", externalName="www.example.test"),
        service("alias", type="ExternalName", externalName=f"web.{DOMAIN}"),
        service("many", clusterIP="None", ports=HTTP),
        slice_of("many", *(f"10.244.8.{number}" for number in range(1, 251))),
    )
    answers(lab, ["10.96.0.77"], f"web.{DOMAIN}")
    eventually(lambda: len(dig(lab, f"many.{DOMAIN}", "+tcp")) == 250)


def execute(lab: LabUnderTest, *command: str, name: str = "client") -> str:
    return lab.kctl("exec", name, "--", *command)


def dig(lab: LabUnderTest, name: str, *words: str, pod_: str = "client") -> list[str]:
    """The answers' data, in order of the text."""
    return sorted(execute(lab, "dig", "+short", "+tries=1", "+time=5", f"@{SERVER}", *words, name, name=pod_).split("\n")[:-1])


def answers(lab: LabUnderTest, expected: list[str], name: str, *words: str, pod_: str = "client") -> None:
    def same() -> bool:
        found = lab.run("exec", pod_, "--", "dig", "+short", "+tries=1", "+time=1", f"@{SERVER}", *words, name)
        return sorted(found.stdout.decode().split("\n")[:-1]) == expected

    eventually(same, every=0.02)


def status(lab: LabUnderTest, name: str, *words: str) -> tuple[str, str]:
    """Response code and flags."""
    text = execute(lab, "dig", "+tries=1", f"@{SERVER}", *words, name)
    found = re.search(r"status: (\w+), id: \d+\n;; flags: ([a-z ]*);", text)
    assert found, text
    return found[1], found[2]


def test_dig_finds_the_records_of_the_specification(lab: LabUnderTest, names: None) -> None:
    """Over UDP and TCP; each of them authoritative."""
    web, db = f"web.{DOMAIN}.", f"db.{DOMAIN}."
    for words in ((), ("+tcp",)):
        assert dig(lab, web, *words) == ["10.96.0.77"]
        assert dig(lab, db, *words) == ["10.244.9.1", "10.244.9.2"]
        assert dig(lab, f"_http._tcp.{web}", "SRV", *words) == [f"0 100 80 {web}"]
        assert dig(lab, f"_http._tcp.{db}", "SRV", *words) == [f"0 50 80 10-244-9-2.{db}", f"0 50 80 db-0.{db}"]
        assert dig(lab, f"db-0.{db}", *words) == ["10.244.9.1"]
        assert dig(lab, "77.0.96.10.in-addr.arpa", "PTR", *words) == [web]
        assert dig(lab, "1.9.244.10.in-addr.arpa", "PTR", *words) == [f"db-0.{db}"]
        assert dig(lab, "10-244-1-9.default.pod.cluster.local", *words) == ["10.244.1.9"]
        assert dig(lab, "dns-version.cluster.local", "TXT", *words) == ['"1.1.0"']
        assert dig(lab, f"alias.{DOMAIN}", *words) == ["10.96.0.77", web]
        assert dig(lab, "kubernetes.default.svc.cluster.local", *words) == ["10.96.0.1"]
        assert dig(lab, "kube-dns.kube-system.svc.cluster.local", *words) == [SERVER]
        assert status(lab, web, *words) == ("NOERROR", "qr aa rd ra")


def test_what_there_is_not_is_told_apart(lab: LabUnderTest, names: None) -> None:
    """A name without such a record, one that does not exist, and what is not answered at all."""
    for name, type_, expected in (
        (f"web.{DOMAIN}", "AAAA", "NOERROR"), (DOMAIN, "A", "NOERROR"), ("svc.cluster.local", "A", "NOERROR"),
        ("kube-public.svc.cluster.local", "A", "NOERROR"), (f"no.{DOMAIN}", "A", "NXDOMAIN"),
        ("web.no.svc.cluster.local", "A", "NXDOMAIN"), ("99.0.96.10.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("cluster.local", "AXFR", "REFUSED"), ("version.bind", "CH TXT", "REFUSED"),
    ):  # fmt: skip
        words = ("+notcp",) if type_ != "AXFR" else ("+tcp",)
        if type_ == "AXFR":
            assert "Transfer failed" in execute(lab, "dig", f"@{SERVER}", name, type_)
        else:
            assert status(lab, name, *type_.split(), *words)[0] == expected, name
    soa = execute(lab, "dig", f"@{SERVER}", f"no.{DOMAIN}")
    assert re.search(r"^cluster\.local\.\s+5\s+IN\s+SOA\s", soa, re.MULTILINE)


def resolved(lab: LabUnderTest, library: str, *wanted: str, pod_: str = "client") -> list[str]:
    return execute(lab, f"resolve-{library}", *wanted, name=pod_).splitlines()


def test_the_c_libraries_agree(lab: LabUnderTest, names: None, upstream: NameServer) -> None:
    """On names as manifests have them: short ones by the search domains, whole ones, others, and none."""
    wanted = (
        "web", "web.default", "web.default.svc", f"web.{DOMAIN}", f"web.{DOMAIN}.", "db", "db-0.db", "alias", "ext",
        "kubernetes.default", "www.example.test", "no", "no.example.test", "WEB.Default",
    )  # fmt: skip
    glibc, musl = (resolved(lab, library, *wanted) for library in ("glibc", "musl"))
    assert glibc == musl
    assert glibc[:9] == [
        *(f"{name} 10.96.0.77" for name in wanted[:5]), "db 10.244.9.1 10.244.9.2", "db-0.db 10.244.9.1", "alias 10.96.0.77",
        "ext 192.0.2.1",
    ]  # fmt: skip
    assert glibc[10:13] == ["www.example.test 192.0.2.1", "no NONAME", "no.example.test NONAME"]
    assert execute(lab, "getent", "hosts", "web").split() == ["10.96.0.77", f"web.{DOMAIN}"]
    assert execute(lab, "getent", "hosts", "10.96.0.77").split() == ["10.96.0.77", f"web.{DOMAIN}"]


def test_large_answers_come_by_tcp(lab: LabUnderTest, names: None, upstream: NameServer) -> None:
    """glibc asks again and has all 250; musl 1.2.3 uses what fits a datagram, as do dig and its kind when told so."""
    assert "tc" in status(lab, f"many.{DOMAIN}", "+ignore", "+noedns")[1].split()
    assert len(dig(lab, f"many.{DOMAIN}")) == 250
    glibc, musl = (resolved(lab, library, "many")[0].split()[1:] for library in ("glibc", "musl"))
    assert len(glibc) == 250
    assert len(musl) >= 25
    assert set(musl) <= set(glibc)
    assert len(dig(lab, "large.test")) == 199
    assert ("large.test", "tcp") in upstream.asked


def test_pods_have_the_names_of_their_hostname_and_subdomain(lab: LabUnderTest) -> None:
    """While they are ready; and an answer follows the pods."""
    labels = {"labels": {"app": "peers"}}
    lab.apply(service("peers", clusterIP="None", selector={"app": "peers"}, ports=HTTP))
    probe = {"readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}}
    for number, node in enumerate((FIRST, "node-2")):
        one = pod(f"peer-{number}", container=probe, nodeName=node, hostname=f"peer-{number}", subdomain="peers")
        one["metadata"] |= labels
        lab.apply(one)
    found = {}
    for number in (0, 1):
        execute_in(lab, f"peer-{number}", "touch /tmp/ready")
        found[number] = eventually(lambda name=f"peer-{number}": lab.pods()[name].get("status", {}).get("podIP", ""))
    answers(lab, sorted(found.values()), f"peers.{DOMAIN}")
    answers(lab, [found[1]], f"peer-1.peers.{DOMAIN}")
    assert resolved(lab, "glibc", "peer-0.peers") == resolved(lab, "musl", "peer-0.peers") == [f"peer-0.peers {found[0]}"]
    reverse = ".".join(reversed(found[1].split(".")))
    assert dig(lab, f"{reverse}.in-addr.arpa", "PTR") == [f"peer-1.peers.{DOMAIN}."]
    execute_in(lab, "peer-1", "rm /tmp/ready")
    answers(lab, [found[0]], f"peers.{DOMAIN}")
    lab.kctl("delete", "pod", "peer-0", "peer-1")
    answers(lab, [], f"peers.{DOMAIN}")
    assert status(lab, f"peers.{DOMAIN}")[0] == "NXDOMAIN"


def execute_in(lab: LabUnderTest, name: str, script: str) -> None:
    eventually(lambda: lab.run("exec", name, "--", "sh", "-c", script).returncode == 0)


def test_other_names_are_passed_on_and_kept(lab: LabUnderTest, upstream: NameServer) -> None:
    """With the cache's TTL; a name that is not there is asked for once too. Stub domains have their own server."""
    with serving(lab, STUB, NameServer({"db.corp.test": ["192.0.2.99"]})) as stub:
        assert dig(lab, "db.corp.test") == ["192.0.2.99"]
        assert ("db.corp.test", "udp") in stub.asked
    assert not any(name.endswith("corp.test") for name, _ in upstream.asked)
    for _ in range(3):
        assert dig(lab, "kept.example.test") == ["192.0.2.2"]
    assert upstream.asked.count(("kept.example.test", "udp")) == 1
    for _ in range(3):
        assert status(lab, "none.example.test") == ("NXDOMAIN", "qr rd ra")
    assert upstream.asked.count(("none.example.test", "udp")) == 1
    ttl = re.search(r"^kept\.example\.test\.\s+(\d+)\s", execute(lab, "dig", f"@{SERVER}", "kept.example.test"), re.MULTILINE)
    assert ttl
    assert 0 < int(ttl[1]) <= 60
    assert status(lab, "kept.example.test") == ("NOERROR", "qr rd ra")
    # The second node has no server at that address: a failure, and no silence.
    lab.apply(client("elsewhere", "node-2"))
    eventually(lambda: lab.all_running(["elsewhere"]))
    assert "SERVFAIL" in execute(lab, "dig", f"@{SERVER}", "other.example.test", name="elsewhere")
    assert dig(lab, f"kubernetes.{DOMAIN}", pod_="elsewhere") == ["10.96.0.1"]


def test_the_node_and_pods_on_its_network_may_ask_and_no_other_host(lab: LabUnderTest, names: None) -> None:
    """Nor does a pod with host port 53 take the cluster's queries."""
    greedy = {
        "image": dnsimage.NAME,
        "ports": [{"containerPort": 53, "hostPort": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }
    lab.apply(
        client("host", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), pod("greedy", container=greedy, nodeName=FIRST)
    )
    eventually(lambda: lab.all_running(["host", "greedy"]))
    assert resolved(lab, "glibc", "web", pod_="host") == ["web 10.96.0.77"]
    assert dig(lab, f"web.{DOMAIN}") == dig(lab, f"web.{DOMAIN}", "+tcp") == ["10.96.0.77"]
    assert host_asks(lab, FIRST, f"web.{DOMAIN}") == "10.96.0.77\n"
    address = lab.get("node", FIRST)["status"]["addresses"][0]["address"]
    in_host(lab, CONTROL, "ip", "route", "add", f"{SERVER}/32", "via", address)
    try:
        assert f"via {address} " in in_host(lab, CONTROL, "ip", "route", "get", SERVER)
        for words in ((), ("+tcp",)):
            said = host_asks(lab, CONTROL, f"web.{DOMAIN}", *words)
            assert "timed out" in said or "refused" in said or "unreachable" in said, said
            assert "10.96.0.77" not in said
    finally:
        in_host(lab, CONTROL, "ip", "route", "del", f"{SERVER}/32")


def in_host(lab: LabUnderTest, host: str, *command: str) -> str:
    """In the network namespace of one of the lab's hosts; whatever the exit code."""
    words = ["nsenter", f"--net={layout.load(lab.name).namespace(host, 'net')}", *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout


def host_asks(lab: LabUnderTest, host: str, name: str, *words: str) -> str:
    """What dig says on the host itself."""
    return in_host(lab, host, "dig", "+short", "+tries=1", "+time=1", f"@{SERVER}", *words, name)


def test_a_pod_that_floods_does_not_keep_others_from_answers(lab: LabUnderTest, names: None) -> None:
    lab.apply(client("flood"))
    eventually(lambda: lab.all_running(["flood"]))
    flood = subprocess.Popen(
        lab.command("exec", "flood", "--", "resolve-musl", "flood", SERVER, "6"), env=lab.environment, stdout=subprocess.PIPE
    )
    try:
        for _ in range(10):
            assert dig(lab, f"web.{DOMAIN}") == ["10.96.0.77"]
    finally:
        sent, _ = flood.communicate(timeout=60)
    assert int(sent) > 1000


def resolver_of(lab: LabUnderTest, node: str = FIRST) -> int:
    """The pid of the node's resolver."""
    directory = str(lab.node_dir(node) / "dns")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if directory.encode() in path.read_bytes():
                return int(path.parent.name)
        except OSError:
            continue
    return 0


def test_names_are_answered_while_the_agent_is_away(lab: LabUnderTest, names: None) -> None:
    """Killed and started again; what changed meanwhile is known then. Nor does it take the control plane."""
    before = resolver_of(lab)
    lab.kill(FIRST)
    assert [host_asks(lab, FIRST, f"web.{DOMAIN}") for _ in range(20)] == ["10.96.0.77\n"] * 20
    lab.apply(service("later", ports=HTTP, clusterIP="10.96.0.78"))
    lab.start_agent(FIRST)
    answers(lab, ["10.96.0.78"], f"later.{DOMAIN}")
    assert resolver_of(lab) == before != 0


def test_a_resolver_that_is_killed_is_started_again(lab: LabUnderTest, names: None) -> None:
    """With all names."""
    before = resolver_of(lab)
    os.kill(before, signal.SIGKILL)
    answers(lab, ["10.96.0.77"], f"web.{DOMAIN}")
    assert resolver_of(lab) not in (0, before)


def test_an_answer_changes_as_soon_as_its_endpoints(lab: LabUnderTest, names: None) -> None:
    """On every node; the last of many changes counts."""
    for number in range(1, 20):
        lab.apply(slice_of("db", f"10.244.9.{number}"))
    answers(lab, ["10.244.9.19"], f"db.{DOMAIN}")
    lab.apply(slice_of("db", "10.244.9.1", "10.244.9.2", hostnames=("db-0",)))
    answers(lab, ["10.244.9.1", "10.244.9.2"], f"db.{DOMAIN}")
    answered = {"10.244.9.1 10.244.9.2"}
    eventually(
        lambda: {" ".join(sorted(host_asks(lab, node, f"db.{DOMAIN}").split())) for node in lab.record["nodes"]} == answered
    )


def test_its_metrics_are_the_node_s(lab: LabUnderTest, names: None) -> None:
    """In Prometheus' text format, through the API's proxy of nodes; they count what was asked."""
    for _ in range(3):
        assert dig(lab, f"web.{DOMAIN}", "+notcp", "+nocookie") == ["10.96.0.77"]
    text = lab.kctl("get", "--raw", f"/api/v1/nodes/{FIRST}/proxy/metrics/dns")
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}
    assert found['pinnace_dns_responses_total{proto="udp",zone="cluster",type="A",rcode="NOERROR"}'] >= 3
    assert found["pinnace_dns_ready_responses_total"] >= 2
    assert found['pinnace_dns_objects{kind="Service"}'] >= 5


def test_the_socket_of_a_node_is_bound_to_the_cluster_s_address_alone(lab: LabUnderTest) -> None:
    """Port 53 of the node's other addresses is free for others."""
    with entered(layout.load(lab.name).namespace(FIRST, "net")), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((lab.get("node", FIRST)["status"]["addresses"][0]["address"], 53))


def test_the_first_lookup_of_a_pod_waits_for_the_resolver(lab: LabUnderTest) -> None:
    """On a node that has just started; here the resolver cannot start at first, as another program has its port."""
    record, script = layout.load(lab.name), f"dig +short +tries=1 +time=1 @{SERVER} kubernetes.{DOMAIN}"
    failures = record.log(FIRST).read_text().count("resolver_failed")
    lab.kill(FIRST)
    os.kill(resolver_of(lab), signal.SIGKILL)
    eventually(lambda: not resolver_of(lab))
    with entered(record.namespace(FIRST, "net")):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind((SERVER, 53))
        lab.apply(pod("early", "sh", "-c", script, container={"image": dnsimage.NAME}, nodeName=FIRST, restartPolicy="Never"))
        lab.start_agent(FIRST)
        # It tries again after 0.1 s, 0.2 s and so on; a pod that did not wait would have given up by then.
        eventually(lambda: record.log(FIRST).read_text().count("resolver_failed") >= failures + 4)
    eventually(lambda: lab.get("pod", "early")["status"]["phase"] in ("Succeeded", "Failed"))
    assert lab.kctl("logs", "early") == "10.96.0.1\n"
    lab.kctl("delete", "pod", "early", "--now")
