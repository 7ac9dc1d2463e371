"""exec, attach, cp and port-forward as people use them, over the agent's outgoing connection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

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


def test_attach_talks_to_the_program(lab: LabUnderTest) -> None:
    """Input and output, both streams, half-close, and the container's exit code."""
    script = "echo hello; cat; echo bye >&2; exit 7"
    up(lab, pod("talk", "sh", "-c", script, container={**TALK, "stdinOnce": True}, restartPolicy="Never"))
    with started(lab, "attach", "-i", "talk") as call:
        out, err = call.communicate(b"x" * 200_000 + b"\n", timeout=DEADLINE)
    assert (out[-200_001:], err, call.returncode) == (b"x" * 200_000 + b"\n", b"bye\n", 7)
    assert lab.kctl("logs", "talk").splitlines()[0] == "hello"


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
