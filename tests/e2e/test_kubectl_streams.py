"""exec, attach, cp, port-forward and logs with kubectl, over SPDY and over WebSockets, on real nodes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import kubectls
from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod
from tests.support.terminals import on_terminal

pytestmark = [pytest.mark.root, pytest.mark.parametrize("kubectl", kubectls.params())]


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def up(lab: LabUnderTest, *manifests: dict) -> None:  # type: ignore[type-arg]
    lab.apply(*manifests)
    eventually(lambda: lab.all_running([item["metadata"]["name"] for item in manifests]))


def run(lab: LabUnderTest, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, env=lab.environment, timeout=DEADLINE, check=False)


def started(lab: LabUnderTest, *command: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=lab.environment, bufsize=0)


def test_exec_has_both_outputs_and_the_exit_code(lab: LabUnderTest, kubectl: str) -> None:
    """And the reason why a command does not start."""
    up(lab, pod("web"))
    done = run(lab, kubectl, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert done.stderr.startswith(b"err\n")
    assert b"command terminated with exit code 3" in done.stderr
    missing = run(lab, kubectl, "exec", "web", "--", "nosuch")
    assert (missing.returncode, b"executable file not found" in missing.stderr) == (1, True)
    unknown = run(lab, kubectl, "exec", "web", "-c", "other", "--", "ls")
    assert (unknown.returncode, b"container other is not valid for pod web" in unknown.stderr) == (1, True)


def test_exec_carries_megabytes_and_the_end_of_input(lab: LabUnderTest, kubectl: str) -> None:
    """Both ways at once, byte for byte."""
    up(lab, pod("web"))
    content = os.urandom(8 << 20)
    done = run(lab, kubectl, "exec", "-i", "web", "--", "cat", stdin=content)
    assert (done.returncode, done.stdout == content) == (0, True)


def test_exec_on_a_terminal(lab: LabUnderTest, kubectl: str) -> None:
    """Its size follows, and its exit code comes back."""
    up(lab, pod("web"))
    with on_terminal(lab, "exec", "-it", "web", "--", "sh", program=(kubectl,)) as screen:
        screen.until(b"# ")
        screen.resize(123, 45)
        screen.type(b"until stty size | grep '45 123'; do sleep 0.1; done; tty\n")
        screen.until(b"45 123\r\n")
        screen.until(b"/dev/pts/0\r\n")
        screen.type(b"exit 5\n")
        assert screen.code() == 5


@pytest.mark.parametrize("fed", [False, True], ids=["idle", "with-input-unread"])
def test_a_kubectl_that_is_killed_takes_its_command_along(lab: LabUnderTest, kubectl: str, fed: bool) -> None:
    """Also when the command reads nothing of what kubectl has sent."""
    up(lab, pod("web"))
    with started(lab, kubectl, "exec", "-i", "web", "--", "sleep", "4711") as call:
        eventually(lambda: "sleep 4711" in lab.kctl("exec", "web", "--", "ps"))
        if fed:
            with pytest.raises(subprocess.TimeoutExpired):
                call.communicate(bytes(64 << 20), timeout=3)
        call.kill()
    eventually(lambda: "sleep 4711" not in lab.kctl("exec", "web", "--", "ps"), within=30)


def test_attach_talks_to_the_program(lab: LabUnderTest, kubectl: str) -> None:
    """Input, both outputs and half-close."""
    script = "echo hello; cat; echo bye >&2; exit 7"
    up(lab, pod("talk", "sh", "-c", script, container={"stdin": True, "stdinOnce": True}, restartPolicy="Never"))
    done = run(lab, kubectl, "attach", "-i", "talk", stdin=b"x" * 200_000 + b"\n")
    assert done.stdout.endswith(b"x" * 200_000 + b"\n")
    assert b"bye\n" in done.stderr


def test_cp_both_ways(lab: LabUnderTest, kubectl: str, tmp_path: Path) -> None:
    """It is tar through exec."""
    up(lab, pod("files"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there/data").write_bytes(os.urandom(3 << 20))
    assert run(lab, kubectl, "cp", str(tmp_path / "there"), "files:/tmp/there").returncode == 0
    assert run(lab, kubectl, "cp", "files:/tmp/there", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back/data").read_bytes() == (tmp_path / "there/data").read_bytes()


@contextlib.contextmanager
def forwarding(lab: LabUnderTest, kubectl: str, name: str, *ports: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """kubectl port-forward, and its local ports."""
    with started(lab, kubectl, "port-forward", f"pod/{name}", *ports, "--address", "127.0.0.1") as call:
        try:
            assert call.stdout is not None
            lines = [call.stdout.readline().decode() for _ in ports]
            yield call, [int(re.findall(r"127\.0\.0\.1:(\d+) ->", line)[0]) for line in lines]
        finally:
            call.kill()


def test_port_forward_carries_many_connections(lab: LabUnderTest, kubectl: str) -> None:
    """Two at once, with a megabyte each, and half-closes."""
    # Answers once it has all of the input.
    up(lab, pod("port", "nc", "-ll", "-p", "8080", "-e", "sh", "-c", "f=$(mktemp); cat > $f; cat $f; rm $f"))
    content = os.urandom(1 << 20)
    with forwarding(lab, kubectl, "port", ":8080") as (_, (local,)):

        def talk(_: int) -> bytes:
            with socket.create_connection(("127.0.0.1", local), timeout=DEADLINE) as sock:
                sock.sendall(content)
                sock.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: sock.recv(1 << 16), b""))

        # busybox's nc resets connections when there are more to be accepted.
        with ThreadPoolExecutor(2) as pool:
            assert all(found == content for found in pool.map(talk, range(8)))


def test_port_forward_says_that_a_port_refuses(lab: LabUnderTest, kubectl: str) -> None:
    """In the pod's words, and the stream to the node ends."""
    up(lab, pod("quiet"))
    with forwarding(lab, kubectl, "quiet", ":81") as (call, (local,)):
        with socket.create_connection(("127.0.0.1", local), timeout=DEADLINE) as sock:
            assert sock.recv(1) == b""
        assert call.stderr is not None
        said = b""
        while b"in the pod: Connection refused" not in said:
            said += os.read(call.stderr.fileno(), 4096) or b"(kubectl has ended) in the pod: Connection refused"
        assert b"kubectl has ended" not in said


def test_logs_of_an_attempt_and_those_to_come(lab: LabUnderTest, kubectl: str) -> None:
    """Tail, timestamps, the previous container, following, and what there is no log of."""
    up(lab, pod("count", "sh", "-c", "echo one; echo two; echo three; sleep 1; echo four; sleep 1000; exit 1"))
    eventually(lambda: "three" in lab.kctl("logs", "count"))
    assert run(lab, kubectl, "logs", "count", "--tail=2", "--limit-bytes=7").stdout in (b"two\nthr", b"three\nf")
    stamped = run(lab, kubectl, "logs", "count", "--timestamps", "--since=1h").stdout.decode().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one", stamped[0])
    with started(lab, kubectl, "logs", "-f", "count") as call:
        assert call.stdout is not None
        assert [call.stdout.readline() for _ in range(4)] == [b"one\n", b"two\n", b"three\n", b"four\n"]
        # The end of the attempt is the end of its log, though the container runs again.
        lab.kctl("exec", "count", "--", "killall", "sleep")
        assert call.wait(DEADLINE) == 0
    eventually(lambda: lab.pods()["count"]["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert run(lab, kubectl, "logs", "count", "--previous").stdout.startswith(b"one\ntwo\nthree\nfour\n")
    up(lab, pod("first"))
    for words, text in (
        (("first", "--previous"), b"previous terminated container"),
        (("first", "-c", "x"), b"x is not valid for pod"),
    ):
        done = run(lab, kubectl, "logs", *words)
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
