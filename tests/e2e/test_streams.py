"""exec, attach, cp and port-forward as people use them, over the agent's outgoing connection."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod
from tests.support.terminals import on_terminal

pytestmark = pytest.mark.root
TALK = {"stdin": True}
TTY = {"stdin": True, "tty": True}


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def started(lab: LabUnderTest, *arguments: str) -> subprocess.Popen[bytes]:
    """kctl, running."""
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=lab.environment, bufsize=0)


def up(lab: LabUnderTest, *manifests: dict) -> None:  # type: ignore[type-arg]
    lab.apply(*manifests)
    eventually(lambda: lab.all_running([item["metadata"]["name"] for item in manifests]))


def test_exec_with_a_terminal_of_the_containers(lab: LabUnderTest) -> None:
    """`tty` names it, and a resize reaches the program."""
    up(lab, pod("tty"))
    with on_terminal(lab, "exec", "-it", "tty", "--", "sh") as screen:
        screen.until(b"# ")
        screen.type(b"tty\n")
        screen.until(b"/dev/pts/0\r\n")
        screen.type(b"sh -c \"trap 'stty size; exit 5' WINCH; echo rea''dy; while :; do sleep 0.1; done\"; exit $?\n")
        screen.until(b"ready\r\n")
        screen.resize(123, 45)
        screen.until(b"45 123")
        assert screen.code() == 5


@pytest.mark.shows("spec.containers[].{stdin,stdinOnce}")
def test_attach_talks_to_the_program(lab: LabUnderTest) -> None:
    """Input and output, both streams, half-close, and the container's exit code."""
    script = "echo hello; cat; echo bye >&2; exit 7"
    up(lab, pod("talk", "sh", "-c", script, container={**TALK, "stdinOnce": True}, restartPolicy="Never"))
    with started(lab, "attach", "-i", "talk") as call:
        out, err = call.communicate(b"x" * 200_000 + b"\n", timeout=DEADLINE)
    assert (out[-200_001:], err, call.returncode) == (b"x" * 200_000 + b"\n", b"bye\n", 7)
    assert lab.kctl("logs", "talk").splitlines()[0] == "hello"


@pytest.mark.shows("spec.containers[].tty")
def test_attach_on_a_terminal_and_again_after_the_agent_was_killed(lab: LabUnderTest) -> None:
    """The session is the container's: another one goes on where the last one was, also with another agent."""
    up(lab, pod("shell", "sh", container=TTY))
    node = lab.pods()["shell"]["spec"]["nodeName"]
    with on_terminal(lab, "attach", "-it", "shell") as screen:
        screen.until(b"try pressing enter")
        screen.resize(99, 33)
        screen.type(b"\nX=kept; tty; stty size\n")
        screen.until(b"/dev/pts/0")
        screen.until(b"33 99")
    lab.kill(node)
    lab.start_agent(node)
    eventually(lambda: lab.run("exec", "shell", "--", "true").returncode == 0)
    with on_terminal(lab, "attach", "-it", "shell") as screen:
        screen.until(b"try pressing enter")
        screen.type(b"\necho it is $X; exit 3\n")
        screen.until(b"it is kept")
        assert screen.code() == 3


def test_attach_without_input_only_listens(lab: LabUnderTest) -> None:
    """Its end ends nothing."""
    up(lab, pod("count", "sh", "-c", "while :; do echo tick; sleep 0.1; done"))
    with started(lab, "attach", "count") as call:
        assert call.stdout is not None
        assert call.stdout.read(5) == b"tick\n"
        call.kill()
    assert b"no standard input" in lab.run("attach", "-i", "count").stderr
    assert lab.pods()["count"]["status"]["containerStatuses"][0]["restartCount"] == 0


def test_caller_that_goes_while_its_input_is_not_read_takes_the_command_along(lab: LabUnderTest) -> None:
    """Nothing of it is left in the container, though the agent was held up by a program that does not read."""
    up(lab, pod("deaf"))
    with started(lab, "exec", "-i", "deaf", "--", "sleep", "4711") as call:
        eventually(lambda: "sleep 4711" in lab.kctl("exec", "deaf", "--", "ps"))
        assert call.stdin is not None
        try:
            call.communicate(b"x" * (8 << 20), timeout=3)
        except subprocess.TimeoutExpired:
            call.kill()
    eventually(lambda: "sleep 4711" not in lab.kctl("exec", "deaf", "--", "ps"))


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below with its mode and content; links with their target."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, content)
    return found


def make_tree(folder: Path) -> Path:
    site = folder / "site"
    (site / "deep/er").mkdir(parents=True)
    (site / "empty").mkdir()
    (site / "big").write_bytes(os.urandom(3 << 20))
    (site / "deep/er/run.sh").write_text("#!/bin/sh\n")
    (site / "deep/er/run.sh").chmod(0o751)
    (site / "deep/link").symlink_to("er/run.sh")
    (site / ("n" * 180 + "é")).write_text("long")
    (site / "deep/er").chmod(0o555)
    return site


def test_cp_takes_folders_both_ways(lab: LabUnderTest, tmp_path: Path) -> None:
    """Content, modes, links and long names; into a folder that is there, and under a new name."""
    up(lab, pod("files"))
    site = make_tree(tmp_path)
    assert lab.kctl("cp", str(site), "files:/tmp") == ""
    assert lab.kctl("exec", "files", "--", "stat", "-c", "%a %u", "/tmp/site/deep/er/run.sh") == "751 0\n"
    lab.kctl("cp", str(site), "default/files:/tmp/renamed", "-c", "main")
    back = tmp_path / "back"
    lab.kctl("cp", "files:/tmp/renamed", str(back))
    assert tree(back) == tree(site)
    (tmp_path / "into").mkdir()
    lab.kctl("cp", "files:/tmp/site/", str(tmp_path / "into"))
    assert tree(tmp_path / "into/site") == tree(site)


def test_cp_takes_single_files_and_standard_streams(lab: LabUnderTest, tmp_path: Path) -> None:
    """Also through links of the container's, which stay in it, and relative to its working directory."""
    up(lab, pod("files", container={"workingDir": "/www"}))
    (tmp_path / "page").write_text("hello")
    lab.kctl("cp", str(tmp_path / "page"), "files:index.html")
    assert lab.kctl("exec", "files", "--", "cat", "/www/index.html") == "hello"
    lab.kctl("exec", "files", "--", "ln", "-s", "/../../../www", "/tmp/out")
    assert lab.kctl("cp", "files:/tmp/out/index.html", "-") == "hello"
    lab.kctl("cp", "-", "files:/tmp/out/second", stdin=b"from a pipe")
    lab.kctl("cp", "files:/www/second", str(tmp_path))
    assert (tmp_path / "second").read_text() == "from a pipe"


def test_cp_says_what_is_wrong(lab: LabUnderTest, tmp_path: Path) -> None:
    """One line, exit code 1, and nothing half done."""
    up(
        lab,
        pod(
            "files",
            "sh",
            "-c",
            "mkdir /tmp/dir; mkfifo /tmp/dir/pipe; echo a > /tmp/dir/a; trap 'exit 0' TERM; while :; do sleep 0.2; done",
        ),
    )
    for words, text in (
        (("files:/nope", str(tmp_path)), b"No such file"),
        ((str(tmp_path / "nope"), "files:/tmp"), b"no such file"),
        ((str(tmp_path), "files:/tmp/no/such"), b"no such folder"),
        (("files:/a", "files:/b"), b"one of source and destination"),
        (("none:/a", "x"), b"NotFound"),
        (("files:/tmp/dir/pipe", "-"), b"neither a file nor a folder"),
    ):
        result = lab.run("cp", *words)
        assert (result.returncode, text in result.stderr) == (1, True), (words, result.stderr)
    result = lab.run("cp", "files:/tmp/dir", str(tmp_path))
    assert b"a device, pipe or socket is not copied" in result.stderr
    assert (tmp_path / "dir/a").read_text() == "a\n"


def test_cp_acts_as_the_containers_user(lab: LabUnderTest, tmp_path: Path) -> None:
    """It may do what the container may, and what it makes belongs to it."""
    up(lab, pod("user", container={"securityContext": {"runAsUser": 1234}}))
    (tmp_path / "page").write_text("hello")
    assert b"denied" in lab.run("cp", str(tmp_path / "page"), "user:/etc/page").stderr
    lab.kctl("cp", str(tmp_path / "page"), "user:/tmp/page")
    assert lab.kctl("exec", "user", "--", "stat", "-c", "%u", "/tmp/page") == "1234\n"


def test_cp_is_not_led_out_by_the_containers_links(lab: LabUnderTest, tmp_path: Path) -> None:
    """Neither by those to paths of the node, nor by the kernel's own in /proc."""
    secret = Path("/tmp/pinnace-test-secret")
    secret.write_text("of the node")
    try:
        up(
            lab,
            pod(
                "bad",
                "sh",
                "-c",
                "ln -s /tmp/pinnace-test-secret /tmp/s; ln -s /proc/self/fd/3 /tmp/f; ln -s /proc/1/root /tmp/r; sleep 600",
            ),
        )
        for name in ("s", "f", "r/etc/passwd", "r"):
            result = lab.run("cp", f"bad:/tmp/{name}", "-")
            assert result.returncode == 1, name
            assert b"of the node" not in result.stdout
        (tmp_path / "x").write_text("x")
        lab.run("cp", str(tmp_path / "x"), "bad:/tmp/s")
        assert secret.read_text() == "of the node"
    finally:
        secret.unlink()


# Answers each connection with what it has read, once that has ended.
ECHO = "while :; do nc -l -p 7000 -e sh -c 'cat > /tmp/got; cat /tmp/got'; done"


class Forward:
    """kctl port-forward, running."""

    def __init__(self, call: subprocess.Popen[bytes]) -> None:
        self.call = call
        assert call.stdout is not None
        line = call.stdout.readline().decode()
        assert line.startswith("Forwarding from 127.0.0.1:"), (line, call.stderr and call.stderr.read(4096))
        self.port = int(line.split(":")[1].split()[0])

    def talk(self, data: bytes) -> bytes:
        """Send, half-close, and read to the end, which a reset is too: what was sent may not have been taken."""
        said = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                said += chunk
        return said


@contextlib.contextmanager
def forwarded(lab: LabUnderTest, *arguments: str) -> Iterator[Forward]:
    with started(lab, "port-forward", *arguments) as call:
        try:
            yield Forward(call)
        finally:
            call.kill()


def test_port_forward_half_closes_both_ways(lab: LabUnderTest) -> None:
    """The server answers after the client has ended its side, and the client speaks after the server has ended its own."""
    up(lab, pod("echo", "sh", "-c", ECHO), pod("first", "sh", "-c", "echo first | nc -l -p 7001 > /tmp/late; sleep 600"))
    data = os.urandom(1 << 20)
    with forwarded(lab, "echo", ":7000") as forward:
        assert eventually(lambda: forward.talk(data)) == data
    listens = "grep -q ':1B59 ' /proc/net/tcp /proc/net/tcp6"
    eventually(lambda: lab.run("exec", "first", "--", "sh", "-c", listens).returncode == 0)
    with (
        forwarded(lab, "first", ":7001") as forward,
        socket.create_connection(("127.0.0.1", forward.port), timeout=30) as sock,
    ):
        assert (sock.recv(100), sock.recv(100)) == (b"first\n", b"")
        sock.sendall(b"and then this")
        sock.shutdown(socket.SHUT_WR)
        eventually(lambda: lab.kctl("exec", "first", "--", "cat", "/tmp/late") == "and then this")


def test_port_forward_carries_many_connections_at_once(lab: LabUnderTest) -> None:
    """Each gets its own answer."""
    up(lab, pod("web", "sh", "-c", "mkdir /srv; for i in $(seq 40); do echo page $i > /srv/$i; done; httpd -f -p 80 -h /srv"))
    with forwarded(lab, "pod/web", "0:80") as forward:
        eventually(lambda: b"page 1" in forward.talk(b"GET /1 HTTP/1.0\r\n\r\n"))
        with ThreadPoolExecutor(40) as pool:
            said = list(pool.map(lambda n: forward.talk(b"GET /%d HTTP/1.0\r\n\r\n" % n), range(1, 41)))
    for number, answer in enumerate(said, 1):
        assert answer.endswith(b"page %d\n" % number)


def test_port_forward_says_what_is_wrong(lab: LabUnderTest) -> None:
    """A port that nobody listens on, one that is taken here, and a pod that goes."""
    up(lab, pod("none"))
    assert b"is not a port pair" in lab.run("port-forward", "none", "x:80").stderr
    with forwarded(lab, "none", ":81") as forward:
        assert forward.talk(b"hello") == b""
        assert forward.call.stderr is not None
        assert b"cannot connect to 127.0.0.1:81 in the pod: Connection refused" in forward.call.stderr.readline()
        assert b"unable to listen on port" in lab.run("port-forward", "none", f"{forward.port}:80").stderr
        lab.kctl("delete", "pod", "none", "--now")
        forward.talk(b"hello")
        assert forward.call.wait(20) == 1


def test_streams_reach_into_a_user_namespace(lab: LabUnderTest, tmp_path: Path) -> None:
    """Terminals, files and ports of a pod whose root is nobody on the node."""
    up(lab, pod("own", "sh", container=TTY, hostUsers=False), pod("echo", "sh", "-c", ECHO, hostUsers=False))
    with on_terminal(lab, "attach", "-it", "own") as screen:
        screen.until(b"try pressing enter")
        screen.type(b"\ntty; stat -c %u:%t /dev/console; cat /proc/self/uid_map\n")
        screen.until(b"/dev/pts/0")
        screen.until(b"0:88")
    with on_terminal(lab, "exec", "-it", "own", "--", "sh") as screen:
        screen.until(b"# ")
        screen.type(b"tty; exit 8\n")
        screen.until(b"/dev/pts/1")
        assert screen.code() == 8
    site = make_tree(tmp_path)
    lab.kctl("cp", str(site), "own:/tmp/site")
    assert lab.kctl("exec", "own", "--", "stat", "-c", "%u", "/tmp/site/big") == "0\n"
    lab.kctl("cp", "own:/tmp/site", str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(site)
    with forwarded(lab, "echo", ":7000") as forward:
        assert eventually(lambda: forward.talk(b"hello")) == b"hello"
