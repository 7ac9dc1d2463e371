"""kctl debug: a container beside those of a pod that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.labs import LabUnderTest, eventually, pod
from tests.support.terminals import on_terminal

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


@pytest.fixture
def web(lab: LabUnderTest) -> str:
    lab.apply(pod("web"))
    eventually(lambda: lab.all_running(["web"]))
    return "web"


@pytest.mark.shows("spec.ephemeralContainers[].{stdin,tty}")
def test_debug_on_a_terminal_sees_the_targets_processes(lab: LabUnderTest, web: str) -> None:
    """It shares the pod's network, and with --target the processes; its exit code is ours."""
    with on_terminal(lab, "debug", "-it", web, "--image=busybox", "--target=main", "--env=A=kept", "--", "sh") as screen:
        screen.until(b"Defaulting debug container name to debugger-")
        screen.until(b"try pressing enter")
        screen.type(b"\nps; hostname; echo $A; tty\n")
        screen.until(b"sleep 987654")
        screen.until(b"web\r\n")
        screen.until(b"kept\r\n")
        screen.until(b"/dev/pts/0\r\n")
        screen.type(b"exit 6\n")
        assert screen.code() == 6
    status = lab.pods()[web]["status"]
    assert status["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 6
    assert status["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.shows("spec.ephemeralContainers[].stdinOnce")
def test_debug_with_pipes_and_one_that_ends_at_once(lab: LabUnderTest, web: str) -> None:
    """What is piped in ends, what it says comes back whole, and so does its code."""
    result = lab.run("debug", "-i", web, "-q", "--image=busybox", "--", "sh", "-c", "cat; exit 3", stdin=b"hello\n" * 9000)
    assert (result.returncode, result.stdout) == (3, b"hello\n" * 9000)
    result = lab.run("debug", "--attach", "-q", web, "--image=busybox", "-c", "quick", "--", "sh", "-c", "echo done; exit 4")
    assert (result.returncode, result.stdout) == (4, b"done\n")
    assert b"already" in lab.run("debug", web, "--image=busybox", "-c", "quick").stderr


def test_debug_without_attaching_says_how(lab: LabUnderTest, web: str) -> None:
    """The container runs on, and its log can be read."""
    said = lab.kctl("debug", web, "--image=busybox", "-c", "later", "--", "sh", "-c", "echo here; sleep 600")
    assert "kctl attach web -c later" in said
    eventually(lambda: lab.run("logs", web, "-c", "later").stdout == b"here\n")
    assert lab.kctl("exec", web, "-c", "later", "--", "hostname") == "web\n"
