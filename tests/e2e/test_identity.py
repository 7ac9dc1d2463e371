"""Identities in a real lab: certificates of seconds that nothing notices, and nodes that are removed, copied or imitated."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodeagent.control.join import join
from pinnace import certificate, pki, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.clock import SystemClock
from pinnace.errors import AlreadyExists, Conflict, Forbidden
from tests.support.labs import DEADLINE, PATIENCE, LabUnderTest, eventually, pod, running
from tests.support.planes import Plane

pytestmark = pytest.mark.root
# Seconds that a node's certificate lasts, and for how many such times everything is watched. On a busy machine an agent needs longer
# to renew one, and to connect with it before the earlier one ends.
TTL = 10.0 * PATIENCE
TIMES = 5
# A call of kctl has to be made before the end of the certificate that it has, of which a third of the lifetime is left. All
# is watched for longer.
ADMIN_TTL = 45.0 * PATIENCE
TOKEN = re.compile(rb"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Every certificate but the CA's lasts seconds."""
    lifetimes = tuple(
        f"--{whose}-certificate-ttl={ttl}" for whose, ttl in (("node", TTL), ("server", TTL), ("admin", ADMIN_TTL))
    )
    with running("t-identity", tmp_path_factory.mktemp("identity"), nodes=2, arguments=lifetimes) as found:
        yield found


def started(lab: LabUnderTest, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=lab.environment, bufsize=0)


@contextlib.contextmanager
def listening(lab: LabUnderTest, *arguments: str) -> Iterator[str]:
    """HOST:PORT of a command that serves a port of this machine."""
    with started(lab, *arguments) as process:
        try:
            assert process.stdout is not None
            [address] = re.findall(rb"127\.0\.0\.1:\d+", process.stdout.readline())
            yield address.decode()
        finally:
            process.terminate()


def fetched(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=DEADLINE) as response:
        return bytes(response.read())


def node_certificate(lab: LabUnderTest, node: str) -> bytes:
    return (lab.node_dir(node) / "pki/node.crt").read_bytes()


def served_certificate(lab: LabUnderTest) -> bytes:
    """What the gRPC port shows to a new connection."""
    command = [
        "nsenter", f"--net=/run/pinnace/labs/{lab.name}/ns/node-1.net", sys.executable, "-c",
        "import ssl; print(ssl.get_server_certificate(('198.51.100.1', 6444)))",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=True).stdout


def facts(lab: LabUnderTest) -> Any:
    """What a renewal must not change: processes, containers, and how often they started."""
    containers = {
        name: [(item["containerID"], item["restartCount"], item["state"]) for item in found["status"]["containerStatuses"]]
        for name, found in lab.pods().items()
    }
    return containers, {host: lab.pid(host) for host in ("control", "node-1", "node-2")}


def test_certificates_expire_and_nothing_notices(lab: LabUnderTest) -> None:
    """For five lifetimes of a node's: pods, an exec session, a followed log, forwarded ports, the local proxy, kctl, the agents
    and the control plane all go on."""
    lab.apply(*(pod(f"on-{node}", nodeSelector={"kubernetes.io/hostname": node}) for node in ("node-1", "node-2")))
    lab.apply(pod("serves", "httpd", "-f", "-p", "8080", "-h", "/etc"))
    lab.apply(pod("count", "sh", "-c", "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done"))
    lab.kctl("wait", "pod", "--all", "--for=condition=Ready")
    before, seen = facts(lab), set()
    with (
        started(lab, "exec", "-i", "on-node-1", "--", "cat") as session, started(lab, "logs", "-f", "count") as log,
        listening(lab, "port-forward", "serves", ":8080") as forwarded, listening(lab, "proxy", "--port=0") as proxy,
    ):  # fmt: skip
        end = time.monotonic() + TIMES * TTL
        turns = 0
        while time.monotonic() < end:
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(b"%05d\n" % turns)
            assert session.stdout.read(6) == b"%05d\n" % turns
            assert "on-node-2" in lab.kctl("exec", "on-node-2", "--", "hostname")
            assert b"serves" in fetched(forwarded, "/hostname")
            assert b"gitVersion" in fetched(proxy, "/version")
            seen |= {node_certificate(lab, "node-1"), served_certificate(lab)}
            turns += 1
            time.sleep(0.3)
        session.stdin.close()
        assert session.wait(timeout=DEADLINE) == 0
        assert log.stdout is not None
        lines = [int(log.stdout.readline()) for _ in range(100)]
        log.kill()
    # Several of each kind were seen, so the time was long enough to show something.
    assert len(seen) >= 2 * TIMES
    assert TIMES * TTL > ADMIN_TTL
    assert lines == list(range(100))
    assert facts(lab) == before
    assert not [item for item in lab.get("events", "-A")["items"] if item["reason"] == "NodeNotReady"]
    lab.kctl("delete", "pod", "--all", "--now")


def test_an_agent_that_was_off_for_longer_than_its_certificate_returns(lab: LabUnderTest) -> None:
    """With its pods: it renews with the key that it has. So it does after the control plane was off."""
    lab.apply(pod("stays", nodeSelector={"kubernetes.io/hostname": "node-1"}))
    lab.kctl("wait", "pod/stays", "--for=condition=Ready")
    [container] = lab.pods()["stays"]["status"]["containerStatuses"]
    lab.kill("node-1")
    lab.kill("control")
    time.sleep(TTL + 2)
    assert certificate.validity(node_certificate(lab, "node-1")).end < time.time()
    lab.start_control()
    lab.start_agent("node-1")
    eventually(lambda: certificate.validity(node_certificate(lab, "node-1")).end > time.time())
    for node in ("node-1", "node-2"):
        # Briefly, and again: until the control plane has renewed it, the certificate of kctl may have expired.
        ready = ("wait", f"node/{node}", "--for=condition=Ready", "--timeout=2s")
        eventually(lambda ready=ready: lab.run(*ready).returncode == 0, within=60)
    eventually(lambda: lab.run("exec", "stays", "--", "true").returncode == 0)
    assert lab.pods()["stays"]["status"]["containerStatuses"][0]["containerID"] == container["containerID"]
    lab.kctl("delete", "pod", "--all", "--now")


class Copy:
    """The files of a node, as a thief has them."""

    def __init__(self, lab: LabUnderTest, node: str, folder: Path) -> None:
        shutil.copytree(lab.node_dir(node) / "pki", folder / "stolen")
        self._lab = lab
        self._folder = folder / "stolen"

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    @contextlib.contextmanager
    def stub(self) -> Iterator[nodes_pb2_grpc.NodesStub]:
        credentials = grpc.ssl_channel_credentials(*(self._read(name) for name in ("ca.crt", "node.key", "node.crt")))
        options = (("grpc.ssl_target_name_override", pki.SERVER_NAME),)
        with grpc.secure_channel(f"unix:/run/pinnace/labs/{self._lab.name}/api.sock", credentials, options=options) as channel:
            yield nodes_pb2_grpc.NodesStub(channel)

    def report(self) -> str:
        """The reason of the refusal of a call, empty when it is served."""
        with self.stub() as stub:
            try:
                stub.ReportStatus(nodes_pb2.ReportStatusRequest(), timeout=20)
            except grpc.RpcError as error:
                return wire.from_rpc_error(error).reason
        return ""


@pytest.fixture
def long_lived(tmp_path: Path) -> Iterator[LabUnderTest]:
    """A lab whose certificates do not expire while a test runs."""
    with running("t-identity-l", tmp_path, nodes=2, image=False) as found:
        yield found


def test_a_removed_node_is_out_at_once_and_for_good(long_lived: LabUnderTest, tmp_path: Path) -> None:
    """Its open session ends, its calls are refused, also after the control plane was restarted; joining again brings it back,
    and the certificate from before stays revoked."""
    lab = long_lived
    stolen = Copy(lab, "node-2", tmp_path)
    assert stolen.report() == ""
    lab.kctl("delete", "node", "node-2")
    eventually(
        lambda: "session_closed node=node-2" in (Path(f"/var/lib/pinnace/labs/{lab.name}/logs/control.log")).read_text(),
        within=2,
    )
    assert stolen.report() == "Unauthorized"
    lab.kill("control")
    lab.start_control()
    assert stolen.report() == "Unauthorized"
    with stolen.stub() as stub, pytest.raises(grpc.RpcError, match="has been removed"):
        list(stub.Session(iter([nodes_pb2.NodeMessage(hello=nodes_pb2.Hello())]), timeout=20))
    assert "node/node-2" not in lab.kctl("get", "nodes", "-o", "name")
    lab.lab("node", "remove", "node-2")
    lab.lab("node", "add", "node-2")
    assert Copy(lab, "node-2", tmp_path / "new").report() == ""
    assert stolen.report() == "Unauthorized"


def test_a_session_ends_as_soon_as_its_node_is_removed(long_lived: LabUnderTest, tmp_path: Path) -> None:
    """A thief that holds one open hears nothing more."""
    stolen = Copy(long_lived, "node-2", tmp_path)
    long_lived.lab("node", "stop", "node-2")
    with stolen.stub() as stub:
        call = stub.Session(_hello(), timeout=60)
        assert next(call).HasField("welcome")
        assert next(call).HasField("assignment")
        long_lived.kctl("delete", "node", "node-2")
        with pytest.raises(grpc.RpcError) as caught:
            for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    long_lived.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"}})
    assert stolen.report() == "Unauthorized"


def _hello() -> Iterator[nodes_pb2.NodeMessage]:
    yield nodes_pb2.NodeMessage(hello=nodes_pb2.Hello())
    time.sleep(60)


class _Watch(threading.Thread):
    """Command lines with a word in them, again and again, as any user of the machine can read them."""

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self._words = [word.encode() for word in words]
        self.found: set[bytes] = set()
        self.count = 0
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(0.002):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    if any(word in line for word in self._words):
                        self.count += 1
                        self.found |= {line} if TOKEN.search(line) else set()

    def end(self) -> None:
        self._stop_now.set()
        self.join()


def test_no_command_line_has_a_token(long_lived: LabUnderTest) -> None:
    """While a node joins in a lab, and while a host joins as the documentation says."""
    folder = long_lived.config.parent / "host"
    watch = _Watch((long_lived.name, str(folder)))
    watch.start()
    try:
        long_lived.lab("node", "add", "node-9")
        line = long_lived.kctl("node", "join-command", "host").strip()
        assert TOKEN.search(line.encode())
        namespace = f"/run/pinnace/labs/{long_lived.name}/ns/node-1.net"
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin"}
        said = subprocess.run(
            ["nsenter", f"--net={namespace}", "sh"], input=f"{line} --state-dir {folder}\n".encode(), env=environment,
            capture_output=True, timeout=DEADLINE, check=True,
        ).stdout  # fmt: skip
        assert b"node host has joined" in said
    finally:
        watch.end()
    assert watch.count > 0
    assert watch.found == set()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane that is started with a file of join tokens, as often as a test wants."""
    (tmp_path / "tokens").write_text("usedup.0123456789abcdef\nunused.0123456789abcdef\nbound1.0123456789abcdef n-bound\n")
    made = Plane(tmp_path / "control", "--join-tokens", str(tmp_path / "tokens"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def enroll(found: Plane, folder: Path, node: str, token: str) -> None:
    ca = certificate.fingerprint((found.folder / "pki/ca.crt").read_bytes())
    join(found.endpoint, node=node, token=token, ca_hash=ca, folder=folder / node, clock=SystemClock())


def test_listed_tokens_survive_restarts_as_they_are(plane: Plane, tmp_path: Path) -> None:
    """Used ones stay used, the unused one does not keep the control plane from starting and still works, once."""
    enroll(plane, tmp_path, "n1", "usedup.0123456789abcdef")
    for turn in range(2):
        plane.stop()
        plane.start()
        with pytest.raises(Forbidden):
            enroll(plane, tmp_path, f"again-{turn}", "usedup.0123456789abcdef")
    enroll(plane, tmp_path, "n2", "unused.0123456789abcdef")
    with pytest.raises(Forbidden):
        enroll(plane, tmp_path, "n3", "unused.0123456789abcdef")
    with pytest.raises(Forbidden, match="another node name"):
        enroll(plane, tmp_path, "n3", "bound1.0123456789abcdef")
    enroll(plane, tmp_path, "n-bound", "bound1.0123456789abcdef")


def test_no_token_makes_its_holder_an_existing_node(lab: LabUnderTest, tmp_path: Path) -> None:
    """The attack, over the wire: neither with a token for new nodes, nor with one that is bound to the Ready node itself."""
    uid = lab.get("node", "node-1")["metadata"]["uid"]
    for token_for, error in ((), AlreadyExists), (("node-1",), Conflict):
        line = lab.kctl("node", "join-command", *token_for).split()
        token, ca_hash = line[1], line[line.index("--ca-hash") + 1]
        with pytest.raises(error):
            _join_from(lab, "node-2", "node-1", token, ca_hash, tmp_path)
    assert lab.get("node", "node-1")["metadata"]["uid"] == uid
    lab.kctl("wait", "node/node-1", "--for=condition=Ready", "--timeout=10s")


def _join_from(lab: LabUnderTest, host: str, node: str, token: str, ca_hash: str, folder: Path) -> None:
    """Join from a host of the lab. Raises what the control plane refused with."""
    program = (
        "import sys; from pathlib import Path; from nodeagent.control.join import join; from pinnace.clock import SystemClock\n"
        "from pinnace.errors import ApiError\n"
        "try: join('198.51.100.1:6444', node=sys.argv[1], token=sys.stdin.read(), ca_hash=sys.argv[2], folder=Path(sys.argv[3]), "
        "clock=SystemClock())\n"
        "except ApiError as error: print(error.reason)\n"
    )
    command = ["nsenter", f"--net=/run/pinnace/labs/{lab.name}/ns/{host}.net", sys.executable, "-c", program]
    said = subprocess.run(
        [*command, node, ca_hash, str(folder / "pki")],
        input=token,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.strip()
    from pinnace.errors import BY_REASON

    if said:
        raise BY_REASON[said](said)


def test_a_replaced_ca_is_taken_by_joining_again_and_pods_keep_running(lab: LabUnderTest) -> None:
    """As deploy/README.md says: the control plane makes a new CA, each node joins again, and no agent is restarted."""
    lab.apply(pod("stays", nodeSelector={"kubernetes.io/hostname": "node-1"}))
    lab.kctl("wait", "pod/stays", "--for=condition=Ready")
    [container] = lab.pods()["stays"]["status"]["containerStatuses"]
    agent, control = lab.pid("node-1"), Path(f"/var/lib/pinnace/labs/{lab.name}/control")
    old = certificate.fingerprint((control / "pki/ca.crt").read_bytes())
    lab.kill("control")
    (control / "pki").rename(control / "pki.old")
    lab._start("processes.start_control(lab, None)")
    eventually(lambda: (control / "pki/ca.crt").exists())
    admin = ("--config", str(control / "admin.yaml"))
    eventually(lambda: lab.run("get", "nodes", *admin).returncode == 0)
    assert certificate.fingerprint((control / "pki/ca.crt").read_bytes()) != old
    for node in ("node-1", "node-2"):
        lab.kctl("wait", f"node/{node}", "--for=condition=Ready=Unknown", "--timeout=60s", *admin)
        line = lab.kctl("node", "join-command", node, *admin).split()
        token, ca_hash = line[1], line[line.index("--ca-hash") + 1]
        _join_from(lab, node, node, token, ca_hash, lab.node_dir(node))
        lab.kctl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=60s", *admin)
    eventually(lambda: lab.run(*admin, "exec", "stays", "--", "true").returncode == 0)
    found = json.loads(lab.kctl("get", "pod", "stays", "-o", "json", *admin))
    assert found["status"]["containerStatuses"][0]["containerID"] == container["containerID"]
    assert lab.pid("node-1") == agent
    shutil.copy(control / "admin.yaml", lab.config)
