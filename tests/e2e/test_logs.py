"""Logs that are followed: across rotation, restarts of containers and of agents, and of pods that come later."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.labs import SLEEP, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """With logs that rotate early, and little time between restarts."""
    arguments = ("--container-log-max-size=20Ki", "--container-log-max-files=4", "--backoff=0.3", "--max-backoff=1")
    with running("t-logs", tmp_path_factory.mktemp("logs"), nodes=2, agent=arguments) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


class Followed:
    """kctl logs, running; `text` is what it has said so far."""

    def __init__(self, call: subprocess.Popen[bytes]) -> None:
        self._call = call
        self._said = b""
        assert call.stdout is not None
        os.set_blocking(call.stdout.fileno(), False)

    @property
    def text(self) -> str:
        assert self._call.stdout is not None
        while chunk := self._call.stdout.read(1 << 20):
            self._said += chunk
        return self._said.decode()

    def lines(self) -> list[str]:
        return self.text.splitlines()

    def ended(self) -> bool:
        return self._call.poll() is not None


@contextlib.contextmanager
def followed(lab: LabUnderTest, *arguments: str) -> Iterator[Followed]:
    command = [sys.executable, "-P", "-m", "cli.main", "logs", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=lab.environment, bufsize=0) as call:
        try:
            yield Followed(call)
        finally:
            call.kill()


def up(lab: LabUnderTest, *manifests: dict[str, Any]) -> None:
    lab.apply(*manifests)
    eventually(lambda: lab.all_running([item["metadata"]["name"] for item in manifests]))


def test_following_crosses_rotations(lab: LabUnderTest) -> None:
    """Every line once and in order, of a log that is rotated many times and keeps few files."""
    # Not faster than a reader that looks ten times a second: what has been rotated away four times is gone.
    line = "echo line $i of many; i=$((i+1)); [ $((i % 200)) -gt 0 ] || sleep 0.15"
    script = f"echo ready; while [ ! -e /go ]; do sleep 0.05; done; i=0; while [ $i -lt 3000 ]; do {line}; done; "
    up(lab, pod("rotates", "sh", "-c", script + SLEEP))
    with followed(lab, "-f", "rotates") as log:
        # Nor before there is a reader.
        eventually(lambda: log.lines() == ["ready"])
        lab.kctl("exec", "rotates", "--", "touch", "/go")
        eventually(lambda: len(log.lines()) == 3001)
        assert log.lines() == ["ready", *(f"line {number} of many" for number in range(3000))]
    item = lab.pods()["rotates"]
    folder = lab.node_dir(item["spec"]["nodeName"]) / "logs" / f"default_rotates_{item['metadata']['uid']}" / "main"
    files = list(folder.iterdir())
    assert len(files) == 4
    assert all(path.stat().st_size < 24 << 10 for path in files)


def test_following_goes_on_with_the_next_run(lab: LabUnderTest) -> None:
    """Also when a run ends in the middle of a line; it ends when the pod does."""
    script = "n=$(cat /keep/n 2>/dev/null || echo 0); echo $((n+1)) > /keep/n; echo run $n; printf half; [ $n -ge 3 ]"
    mount = {"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]}
    manifest = pod("again", "sh", "-c", script, container=mount, restartPolicy="OnFailure")
    manifest["spec"]["volumes"] = [{"name": "keep", "emptyDir": {}}]
    lab.apply(manifest)
    eventually(lambda: lab.run("logs", "again").returncode == 0)
    with followed(lab, "-f", "again") as log:
        eventually(log.ended)
        said = log.lines()
    runs = [line for line in said if line.startswith("run")]
    assert runs == [f"run {number}" for number in range(int(runs[0].split()[1]), 4)]
    assert [line for line in said if not line.startswith("run")] == ["half"] * len(runs)


def test_following_outlives_the_agent(lab: LabUnderTest) -> None:
    """Killed and started again in between: no line is missing, none comes twice."""
    script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
    up(lab, pod("count", "sh", "-c", f"trap 'exit 0' TERM; {script}"))
    node = lab.pods()["count"]["spec"]["nodeName"]
    with followed(lab, "-f", "count") as log:
        eventually(lambda: len(log.lines()) > 10)
        lab.kill(node)
        lab.start_agent(node)
        before = len(log.lines())
        eventually(lambda: len(log.lines()) > before + 50)
        numbers = [int(line) for line in log.lines()]
    assert numbers == list(range(len(numbers)))


def test_selected_pods_that_come_later_are_followed(lab: LabUnderTest) -> None:
    """With a prefix, whole lines, all containers, and a pod that is made anew under its name."""

    def speaker(name: str, words: str) -> dict[str, Any]:
        manifest = pod(name, "sh", "-c", f"i=0; while [ $i -lt 200 ]; do echo {words} $i; i=$((i+1)); done; {SLEEP}")
        side = {**manifest["spec"]["containers"][0], "name": "side", "command": ["sh", "-c", f"echo beside; {SLEEP}"]}
        manifest["spec"]["containers"].append(side)
        manifest["metadata"]["labels"] = {"app": "speak"}
        return manifest

    up(lab, speaker("first", "one"))
    with followed(lab, "-f", "-l", "app=speak", "--prefix", "--all-containers", "--tail=-1") as log:
        eventually(lambda: "[pod/first/side] beside" in log.lines() and "[pod/first/main] one 199" in log.lines())
        lab.apply(speaker("second", "two"), pod("other", "echo", "not mine"))
        eventually(lambda: "[pod/second/main] two 199" in log.lines() and "[pod/second/side] beside" in log.lines())
        lab.kctl("delete", "pod", "second", "--now")
        lab.apply(speaker("second", "three"))
        eventually(lambda: "[pod/second/main] three 199" in log.lines())
        said = log.lines()
    for words, name in (("one", "first"), ("two", "second"), ("three", "second")):
        expected = [f"[pod/{name}/main] {words} {number}" for number in range(200)]
        assert [line for line in said if f" {words} " in line] == expected
    assert "not mine" not in "\n".join(said)


def test_selected_pods_at_once(lab: LabUnderTest) -> None:
    """The last ten lines of each by default, pod by pod; since a time; and what cannot be meant."""
    manifests = [pod(f"p{n}", "sh", "-c", f"seq 20; {SLEEP}") for n in (1, 2)]
    for manifest in manifests:
        manifest["metadata"]["labels"] = {"app": "seq"}
    up(lab, *manifests)
    eventually(lambda: lab.kctl("logs", "-l", "app=seq") == "".join(f"{n}\n" for n in range(11, 21)) * 2)
    assert lab.kctl("logs", "-l", "app=seq", "--prefix", "--tail=1") == "[pod/p1/main] 20\n[pod/p2/main] 20\n"
    stamp = lab.kctl("logs", "p1", "--timestamps", "--tail=3").splitlines()[0].split()[0]
    # A clock of microseconds is as fine as it gets on the command line.
    assert lab.kctl("logs", "p1", "--since-time", stamp[:26] + "Z").split()[-3:] == ["18", "19", "20"]
    assert lab.kctl("logs", "p1", "--since-time", "2100-01-01T00:00:00Z") == ""
    for words, text in (
        (("-l", "app=seq", "p1"), b"specify a pod NAME, or -l SELECTOR"),
        (("p1", "--since=1s", "--since-time=2026-01-01T00:00:00Z"), b"only one of --since and --since-time"),
        (("p1", "--since-time=yesterday"), b"is not a time with its zone"),
        (("p1", "-c", "main", "--all-containers"), b"cannot be used together"),
        (("-l", "app=none"), b"matches app=none"),
    ):
        result = lab.run("logs", *words)
        assert (result.returncode, text in result.stderr) == (1, True), (words, result.stderr)


def test_too_many_to_follow_is_said(lab: LabUnderTest) -> None:
    """The others are followed."""
    manifests = [pod(f"p{n}", "sh", "-c", f"echo hello; {SLEEP}") for n in (1, 2)]
    for manifest in manifests:
        manifest["metadata"]["labels"] = {"app": "many"}
    up(lab, *manifests)
    command = [sys.executable, "-P", "-m", "cli.main", "logs", "-f", "-l", "app=many", "--max-log-requests=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment) as call:
        assert call.stderr is not None
        assert b"--max-log-requests" in call.stderr.readline()
        assert call.stdout is not None
        assert call.stdout.readline() == b"hello\n"
        call.kill()


def test_following_ends_with_the_output(lab: LabUnderTest) -> None:
    """A full disk is an error, and a reader that has gone ends kctl by SIGPIPE, in whatever thread the log is read."""
    manifest = pod("ends", "sh", "-c", "while :; do echo line; sleep 0.2; done")
    manifest["metadata"]["labels"] = {"app": "ends"}
    up(lab, manifest)
    # As a shell starts a background command.
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    selected = ["logs", "-f", "-l", "app=ends"]
    for before, words in (([], ["logs", "-f", "ends"]), ([], selected), (ignoring, selected)):
        command = [*before, sys.executable, "-P", "-m", "cli.main", *words]
        with open("/dev/full", "wb") as full:
            said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=lab.environment, timeout=60, check=False)
        assert (said.returncode, said.stderr) == (1, b"error: No space left on device\n"), words
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment) as call:
            assert call.stdout is not None
            assert call.stderr is not None
            assert call.stdout.readline() == b"line\n"
            call.stdout.close()
            assert (call.wait(60), call.stderr.read()) == (-signal.SIGPIPE, b""), words


def test_the_container_that_was_taken_is_noted(lab: LabUnderTest) -> None:
    """On stderr, as kubectl does: of logs, of one pod or selected, exec and cp; not for a named container, or with -q."""
    manifest = pod("two", "sh", "-c", f"echo main; {SLEEP}")
    manifest["metadata"]["labels"] = {"app": "two"}
    manifest["spec"]["containers"].append({**manifest["spec"]["containers"][0], "name": "side"})
    up(lab, manifest)
    note = b'Defaulted container "main" out of: main, side\n'
    commands = (
        ["logs", "two"],
        ["logs", "-l", "app=two"],
        ["exec", "two", "--", "echo", "main"],
        ["cp", "two:/etc/hostname", "-"],
    )
    for words in commands:
        done = lab.run(*words)
        assert (done.returncode, done.stderr) == (0, note), words
    for words in (["logs", "two", "-c", "main"], ["exec", "-q", "two", "--", "echo", "main"]):
        assert (lab.run(*words).stdout, lab.run(*words).stderr) == (b"main\n", b""), words
