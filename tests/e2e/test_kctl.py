"""kctl as its users meet it: wording, exit codes, and what bad input gets."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


def test_apply_says_created_configured_unchanged(lab: LabUnderTest, tmp_path: Path) -> None:
    """And prunes fields that the file no longer has."""
    path = tmp_path / "cm.yaml"
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: words\n  labels: {a: b}\ndata: {x: '1', y: '2'}\n")
    assert lab.kctl("apply", "-f", str(path)) == "configmap/words created\n"
    assert lab.kctl("apply", "-f", str(path)) == "configmap/words unchanged\n"
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: words\ndata: {x: '3'}\n")
    assert lab.kctl("apply", "-f", str(path), "--dry-run=server") == "configmap/words configured (server dry run)\n"
    assert lab.kctl("apply", "-f", str(path)) == "configmap/words configured\n"
    found = lab.get("cm", "words")
    assert found["data"] == {"x": "3"}
    assert "labels" not in found["metadata"]


def test_apply_conflict_names_the_other_manager_and_force_takes_over(lab: LabUnderTest) -> None:
    """Exit code 1, the manager and the field; --force-conflicts takes it."""
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"k": "mine"}}
    lab.apply(item)
    other = json.dumps({**item, "data": {"k": "theirs"}})
    result = lab.run("apply", "-f", "-", "--field-manager=other", stdin=other)
    assert result.returncode == 1
    assert b'conflict with "kctl"' in result.stderr
    assert b".data.k" in result.stderr
    lab.kctl("apply", "-f", "-", "--field-manager=other", "--force-conflicts", stdin=other)
    assert lab.get("cm", "shared")["data"] == {"k": "theirs"}


def test_apply_follows_create_and_patch_without_a_conflict(lab: LabUnderTest) -> None:
    """What kctl's own commands wrote is apply's to change; what no file stated stays; another manager still conflicts."""
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": {"a": "1", "b": "1"}}
    lab.kctl("create", "-f", "-", stdin=json.dumps(item))
    lab.kctl("patch", "cm", "own", "--type=merge", "-p", '{"data": {"a": "2", "c": "2"}}')
    assert lab.apply({**item, "data": {"a": "3"}}) == "configmap/own configured\n"
    assert lab.get("cm", "own")["data"] == {"a": "3", "b": "1", "c": "2"}
    lab.kctl("patch", "cm", "own", "--type=merge", "-p", '{"data": {"a": "4"}}', "--field-manager=other")
    result = lab.run("apply", "-f", "-", stdin=json.dumps({**item, "data": {"a": "3"}}))
    assert result.returncode == 1
    assert b'Apply failed with 1 conflict: conflict with "other" using v1: .data.a\n' in result.stderr
    assert b"--force-conflicts" in result.stderr
    refused = lab.run("apply", "-f", "-", "--force", stdin=json.dumps(item))
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"use kctl delete, then kctl apply" in refused.stderr


def test_get_prints_tables_names_and_templates(lab: LabUnderTest) -> None:
    """NAME first, AGE last, -o in all its forms."""
    lab.apply(pod("table"))
    lab.kctl("wait", "pod/table", "--for=condition=Ready")
    header, row = lab.kctl("get", "pods").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["table", "1/1", "Running", "0"]
    assert lab.kctl("get", "po", "-o", "name") == "pod/table\n"
    assert lab.kctl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}") == "table"
    assert lab.kctl("get", "pod/table", "-o", 'jsonpath={.status.containerStatuses[?(@.name=="main")].ready}') == "true"
    assert "NAMESPACE" in lab.kctl("get", "pods", "-A").splitlines()[0]
    assert lab.kctl("get", "pods", "--field-selector", "status.phase=Failed") == ""
    again = lab.kctl("get", "pod", "table", "-o", "yaml")
    assert "uid:" in again
    assert lab.kctl("apply", "-f", "-", "--dry-run=client", stdin=again).startswith("pod/table is well-formed")


def test_watch_prints_every_change(lab: LabUnderTest) -> None:
    """`get -w` shows a pod come and go."""
    lab.apply(pod("first", nodeSelector={"no": "node"}))
    command = [sys.executable, "-P", "-m", "cli.main", "get", "pods", "-w"]
    with subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        try:
            # The list, which the watch continues.
            while "first" not in watcher.stdout.readline():
                pass
            lab.apply(pod("seen"))
            lab.kctl("wait", "pod/seen", "--for=condition=Ready")
            lab.kctl("delete", "pod", "seen")
            said = ""
            while "Terminating" not in said:
                said += watcher.stdout.readline()
        finally:
            watcher.terminate()
    assert "seen    0/1     Pending" in said
    assert "1/1     Running   0" in said


def test_not_found_and_unknown_words(lab: LabUnderTest) -> None:
    """kubectl's sentences on stderr, exit code 1."""
    result = lab.run("get", "pod", "nope")
    assert (result.returncode, result.stderr) == (1, b'Error from server (NotFound): pods "nope" not found\n')
    assert lab.run("get", "pods").stderr == b"No resources found in default namespace.\n"
    assert b'doesn\'t have a resource type "foos"' in lab.run("get", "foos").stderr
    assert lab.run("nonsense").returncode == 1
    assert lab.run("get", "pods", "-o", "xml").returncode == 1


def test_delete_waits_and_reports(lab: LabUnderTest) -> None:
    """The object is gone when the command returns."""
    lab.apply(pod("gone"))
    lab.kctl("wait", "pod/gone", "--for=condition=Ready")
    assert lab.kctl("delete", "pod", "gone") == 'pod "gone" deleted\n'
    assert lab.run("get", "pod", "gone").returncode == 1
    assert lab.run("delete", "pod", "gone").returncode == 1
    assert lab.kctl("delete", "pod", "gone", "--ignore-not-found") == ""


def test_namespaces_hold_and_take_their_content_along(lab: LabUnderTest) -> None:
    """Objects need their namespace; deleting it deletes them."""
    result = lab.run("apply", "-f", "-", stdin=json.dumps(pod("x", namespace="team")))
    assert b'namespaces "team" not found' in result.stderr
    lab.kctl("create", "namespace", "team")
    lab.apply(pod("x", namespace="team"))
    lab.kctl("wait", "pod/x", "-n", "team", "--for=condition=Ready")
    lab.kctl("delete", "namespace", "team", "--timeout=30s")
    assert lab.run("get", "ns", "team").returncode == 1
    assert "team" not in lab.kctl("get", "pods", "-A", "-o", "name")


def test_pending_pods_say_why(lab: LabUnderTest) -> None:
    """The scheduler's reasons, in describe and in why."""
    lab.apply(pod("big", container={"resources": {"requests": {"cpu": "1000"}}}))
    eventually(lambda: "0/3 nodes are available: 3 Insufficient cpu." in lab.kctl("describe", "pod", "big"))
    assert "Insufficient cpu" in lab.kctl("why", "pod/big")


def test_describe_explain_and_discovery(lab: LabUnderTest) -> None:
    """What people look up."""
    assert "restartPolicy" in lab.kctl("explain", "pod.spec")
    assert "Not supported by Pinnace yet" in lab.kctl("explain", "pod.spec")
    assert "po" in lab.kctl("api-resources")
    assert "Server Version" in lab.kctl("version")
    assert "PodCIDR" in lab.kctl("describe", "node", "node-1")
    assert "_kctl" in lab.kctl("completion", "bash")
    assert "*         lab-t-e2e" in lab.kctl("config", "get-contexts")
    assert lab.run("doctor").returncode in (0, 1)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "wrong type": (
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: b\n    ports:\n"
        b"    - containerPort: http\n",
        'stdin:9: spec.containers[0].ports[0].containerPort: expected an integer, got "http"',
    ),
    "unknown field": (
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: b\n    imagePolicy: x\n",
        "stdin:8: spec.containers[0].imagePolicy: unknown field",
    ),
    "unsupported field": (
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  schedulingGroup: {podGroupName: b}\n  containers:\n  - {name: c, image: b}\n",
        "stdin:5: spec.schedulingGroup: Pinnace does not support this field yet",
    ),
    "duplicate key": (b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n", "stdin:5: metadata.name: duplicate key"),
    "alias bomb": (
        b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % ((n, n) + (n - 1,) * 10) for n in range(98, 108)
        ),
        "values once aliases are expanded",
    ),
    "deep nesting": (b"[" * (10 << 20), "nest"),
    "not utf-8": (b"apiVersion: v1\nkind: Pod\nmetadata: {name: \xff\xfe}\n", "stdin:3: not valid UTF-8"),
    "slashes in a name": (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ../../etc\n",
        "stdin:4: metadata.name: Invalid value",
    ),
    "no such kind": (
        b"apiVersion: v1\nkind: Pot\nmetadata: {name: a}\n",
        'no matches for kind "Pot" in version "v1"\nensure CRDs are installed first (stdin:2; ',
    ),
    "a list": (b"- 1\n- 2\n", "stdin:1: expected an object, got a list"),
    "broken yaml": (b"apiVersion: v1\nkind: {Pod\n", "stdin:"),
    "nothing": (b"", "no objects passed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifests_get_one_clear_error(lab: LabUnderTest, name: str) -> None:
    """The place is named, nothing is stored, and the server is still there."""
    content, expected = HOSTILE[name]
    before = lab.kctl("get", "pods,cm", "-A", "-o", "name")
    result = lab.run("apply", "-f", "-", stdin=content)
    assert result.returncode == 1
    assert expected in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert lab.kctl("get", "pods,cm", "-A", "-o", "name") == before


def test_server_survives_garbage_on_its_ports(lab: LabUnderTest) -> None:
    """Bytes that are no protocol, and clients without a certificate, change nothing."""
    namespace = f"/run/pinnace/labs/{lab.name}/ns/node-1.net"
    script = (
        "import os,socket,ssl\n"
        "for port in (6443, 6444):\n"
        "    with socket.create_connection(('198.51.100.1', port), 5) as s: s.sendall(os.urandom(4096))\n"
        "c=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname=False; c.verify_mode=ssl.CERT_NONE\n"
        "def ask(path, extra=b''):\n"
        "    with c.wrap_socket(socket.create_connection(('198.51.100.1', 6444), 5)) as s:\n"
        "        s.sendall(b'GET '+path+b' HTTP/1.1\\r\\nhost: x\\r\\n'+extra+b'\\r\\n'); return s.recv(200)\n"
        "print(ask(b'/metrics')[:12], ask(b'/ca.pem')[:12], ask(b'/join')[:12], ask(b'/x', b'a: '+b'y'*20000+b'\\r\\n')[:12])\n"
    )
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert said.startswith("b'HTTP/1.1 401' b'HTTP/1.1 200' b'HTTP/1.1 400'")
    assert "Server Version" in lab.kctl("version")


def test_no_plaintext_port_is_open(lab: LabUnderTest) -> None:
    """Every listening TCP socket of the control plane's host speaks TLS. Agents listen nowhere; nodes answer DNS, at the
    cluster's address alone."""
    dns, own = lab.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"], "198.51.100.1"
    for host, expected in (("control", {(own, 6443), (own, 6444)}), ("node-1", {(dns, 53)})):
        namespace = f"/run/pinnace/labs/{lab.name}/ns/{host}.net"
        said = subprocess.run(
            ["nsenter", f"--net={namespace}", "cat", "/proc/net/tcp", "/proc/net/tcp6"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
        assert {_listening(line.split()[1]) for line in said.splitlines() if " 0A " in line} == expected


def _listening(text: str) -> tuple[str, int]:
    """Address and port of proc(5)'s net/tcp."""
    address, _, port = text.partition(":")
    # Words of the machine's byte order.
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return str(getattr(found, "ipv4_mapped", None) or found), int(port, 16)


def test_secrets_are_private_files_and_in_no_log(lab: LabUnderTest) -> None:
    """What holds a key or a secret is 0600 in 0700 folders; no log says a secret or a token."""
    lab.kctl("create", "secret", "generic", "quiet", "--from-literal=k=very-hidden-value")
    state = Path(f"/var/lib/pinnace/labs/{lab.name}")
    for path in [*state.rglob("*.key"), *state.rglob("admin.yaml"), *state.rglob("store.db*"), lab.config]:
        assert path.stat().st_mode & 0o077 == 0, path
    for log in (state / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert "very-hidden-value" not in text
        assert "--token" not in text


def test_metrics_health_and_grpc_standard_services(lab: LabUnderTest) -> None:
    """Prometheus text with a client certificate; gRPC health and reflection with a kctl one."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    pki = Path(f"/var/lib/pinnace/labs/{lab.name}/control/pki")
    script = (
        "import ssl,socket,sys\nc=ssl.create_default_context(cafile=sys.argv[1]+'/ca.crt'); c.load_cert_chain(sys.argv[1]+'/admin.crt', sys.argv[1]+'/admin.key')\n"
        "for path in ('/metrics','/healthz'):\n"
        "    with c.wrap_socket(socket.create_connection(('198.51.100.1', 6444), 5), server_hostname='pinnace-controlplane') as s:\n"
        "        s.sendall(f'GET {path} HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n'.encode()); data=b''\n"
        "        while chunk := s.recv(65536): data += chunk\n"
        "        print(data.decode())\n"
    )
    namespace = f"/run/pinnace/labs/{lab.name}/ns/node-2.net"
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", script, str(pki)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "pinnace_rpc_seconds_bucket" in said
    assert "pinnace_node_sessions 3.0" in said
    assert said.rstrip().endswith("ok")
    credentials = grpc.ssl_channel_credentials(*((pki / name).read_bytes() for name in ("ca.crt", "admin.key", "admin.crt")))
    options = (("grpc.ssl_target_name_override", "pinnace-controlplane"),)
    with grpc.secure_channel(f"unix:/run/pinnace/labs/{lab.name}/api.sock", credentials, options=options) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = next(iter(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=10)))
        assert "pinnace.api.v1.Objects" in {service.name for service in listed.list_services_response.service}


def test_node_certificate_may_act_only_for_its_node(lab: LabUnderTest) -> None:
    """An agent's key opens neither Objects nor Streams."""
    import grpc

    from pinnace import wire
    from pinnace.api.v1 import objects_pb2, objects_pb2_grpc

    pki = lab.node_dir("node-1") / "pki"
    credentials = grpc.ssl_channel_credentials(*((pki / name).read_bytes() for name in ("ca.crt", "node.key", "node.crt")))
    options = (("grpc.ssl_target_name_override", "pinnace-controlplane"),)
    with grpc.secure_channel(f"unix:/run/pinnace/labs/{lab.name}/api.sock", credentials, options=options) as channel:
        ref = objects_pb2.Reference(apiVersion="v1", kind="Secret")
        with pytest.raises(grpc.RpcError) as caught:
            objects_pb2_grpc.ObjectsStub(channel).List(objects_pb2.ListRequest(ref=ref), timeout=10)
        assert wire.from_rpc_error(caught.value).reason == "Forbidden"


def test_exec_with_a_terminal_resizes(lab: LabUnderTest) -> None:
    """-it gives a terminal of the size of ours, in raw mode, and its exit code comes back."""
    import fcntl
    import pty
    import struct
    import termios

    lab.apply(pod("tty"))
    lab.kctl("wait", "pod/tty", "--for=condition=Ready")
    pid, master = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-P", "-m", "cli.main", "exec", "-it", "tty", "--", "sh"], lab.environment)
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 99, 0, 0))
        said = b""

        def until(text: bytes) -> None:
            nonlocal said
            deadline = time.monotonic() + 20
            while text not in said:
                assert time.monotonic() < deadline, said
                said += os.read(master, 4096)

        until(b"# ")
        os.write(master, b"sleep 0.3; stty size\n")
        until(b"40 99")
        os.write(master, b"exit 5\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(master)
