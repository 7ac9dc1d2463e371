"""Containers and callers that do their worst, and processes of ours that are stopped instead of killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cli.lab import hosts, layout, processes, waiting
from cli.lab.layout import Process
from nodeagent.control.session import MAX_STREAMS
from pinnace.api.v1 import streams_pb2, streams_pb2_grpc
from tests.support.breaking import COUNT, IDLE, goes_on, nothing_left, pids, restarts, script, settle_in
from tests.support.labs import DEADLINE, LabUnderTest, eventually, running
from tests.support.traces import Traces, traces

pytestmark = pytest.mark.root
MEBIBYTE = 1 << 20
# Output that says by itself whether any of it is missing: numbered lines of 64 bytes.
NUMBERED = "awk 'BEGIN { for (i = 0; i < %d; i++) printf \"%%063d\\n\", i }'"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    arguments = ("--heartbeat=0.5", "--node-grace=2")
    with running("t-rob-abuse", tmp_path_factory.mktemp("abuse"), nodes=2, arguments=arguments) as found:
        settle_in(found)
        yield found


@pytest.fixture
def before(lab: LabUnderTest) -> Iterator[Traces]:
    found = traces(lab)
    yield found
    nothing_left(lab, found)


def started(lab: LabUnderTest, *arguments: str) -> subprocess.Popen[bytes]:
    """kctl, running."""
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment, bufsize=0)


def node_is(lab: LabUnderTest, node: str, value: str) -> bool:
    conditions = lab.get("node", node)["status"]["conditions"]
    return any((c["type"], c["status"]) == ("Ready", value) for c in conditions)


def in_container(lab: LabUnderTest, name: str, word: str) -> list[int]:
    """Processes of the pod's first container whose command line has the word."""
    inside = os.stat(f"/proc/{lab.state(lab.pods()[name])['pid']}/ns/pid").st_ino
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat(f"/proc/{entry}/ns/pid").st_ino == inside:
                if word in Path(f"/proc/{entry}/cmdline").read_text():
                    found.append(int(entry))
        except OSError:
            continue
    return found


def ended(lab: LabUnderTest, name: str, word: str) -> bool:
    return not in_container(lab, name, word)


def test_a_stopped_agent_is_lost_and_found_again(lab: LabUnderTest, before: Traces) -> None:
    """SIGSTOP makes the node NotReady, SIGCONT makes it Ready; its pods never notice."""
    lab.apply(script("count", COUNT))
    item = eventually(lambda: lab.all_running(["count"]))["count"]
    node, first = item["spec"]["nodeName"], pids(lab, [item])
    lab.kill(node, signal.SIGSTOP)
    try:
        eventually(lambda: node_is(lab, node, "Unknown"))
        taints = lab.get("node", node)["spec"]["taints"]
        assert {"node.kubernetes.io/unreachable"} == {taint["key"] for taint in taints}
        assert lab.pods()["count"]["status"]["conditions"][-1]["status"] == "False"
    finally:
        lab.kill(node, signal.SIGCONT)
    eventually(lambda: node_is(lab, node, "True"))
    eventually(lambda: not lab.get("node", node)["spec"].get("taints"))
    found = eventually(lambda: lab.all_running(["count"]))["count"]
    assert (pids(lab, [found]), restarts(found)) == (first, 0)
    goes_on(lab, "count")


def test_a_stopped_launcher_delays_and_loses_nothing(lab: LabUnderTest, before: Traces) -> None:
    """Starts that were asked for while the launcher stood still happen once, when it goes on."""
    launchers = [lab.launcher(node) for node in ("node-1", "node-2")]
    names = [f"later-{n}" for n in range(8)]
    for launcher in launchers:
        os.kill(launcher, signal.SIGSTOP)
    try:
        lab.apply(*(script(name, IDLE) for name in names))
        eventually(lambda: all("hostIP" in lab.pods()[name].get("status", {}) or lab.pods()[name]["spec"].get("nodeName")
                               for name in names))  # fmt: skip
    finally:
        for launcher in launchers:
            os.kill(launcher, signal.SIGCONT)
    items = eventually(lambda: lab.all_running(names))
    assert [restarts(item) for item in items.values()] == [0] * len(names)


def test_a_container_that_ignores_sigterm_is_killed(lab: LabUnderTest, before: Traces) -> None:
    """After its grace it goes, with its children, whatever they do with signals."""
    stubborn = "trap '' TERM INT HUP; (trap '' TERM; while :; do sleep 1; done) & while :; do sleep 1; done"
    lab.apply(script("stubborn", stubborn, terminationGracePeriodSeconds=1))
    item = eventually(lambda: lab.all_running(["stubborn"]))["stubborn"]
    state = lab.state(item)
    lab.kctl("delete", "pod", "stubborn", "--timeout", "30s")
    assert not processes.alive(Process(state["pid"], state["pid_start"]))
    assert not processes.alive(Process(state["monitor"], state["monitor_start"]))


def test_a_fork_bomb_ends_at_its_own_limit(lab: LabUnderTest, before: Traces) -> None:
    """The pids limit holds it, a neighbour on the same node goes on, and it can be deleted."""
    bomb = "i=0; while sleep 1000 & do i=$((i+1)); done; echo stopped at $i; wait"
    lab.apply(script("neighbour", COUNT, nodeName="node-1"))
    eventually(lambda: lab.all_running(["neighbour"]))
    lab.apply(script("bomb", bomb, nodeName="node-1", restartPolicy="Never"))
    eventually(lambda: "can't fork" in lab.run("logs", "bomb").stdout.decode(), within=40)
    # busybox's shell gives up then, and its pid namespace takes all that it forked with it.
    ended = eventually(lambda: lab.pods()["bomb"]["status"]["containerStatuses"][0]["state"]["terminated"])
    assert ended["exitCode"] != 0
    goes_on(lab, "neighbour")
    lab.kctl("delete", "pod", "bomb", "--timeout", "60s")


def test_fifty_mebibytes_of_output_lose_only_what_rotation_drops(lab: LabUnderTest, before: Traces) -> None:
    """What is kept is the end, without a gap, in order, and bounded; the writer is never held up for good."""
    lines = 50 * MEBIBYTE // 64
    lab.apply(script("flood", NUMBERED % lines, restartPolicy="Never"))
    item = eventually(lambda: lab.pods()["flood"]["status"]["phase"] == "Succeeded" and lab.pods()["flood"], within=60)
    numbers = [int(line) for line in lab.kctl("logs", "flood").split()]
    assert numbers == list(range(numbers[0], lines))
    assert len(numbers) * 64 > 20 * MEBIBYTE
    folder = lab.node_dir(item["spec"]["nodeName"]) / "logs" / f"default_flood_{item['metadata']['uid']}" / "main"
    files = [path.stat().st_size for path in folder.iterdir()]
    assert len(files) <= 5
    assert sum(files) < 5 * 11 * MEBIBYTE
    assert lab.kctl("logs", "flood", "--tail", "3").split() == [f"{n:063d}" for n in range(lines - 3, lines)]


def test_a_flood_that_is_followed_arrives_whole(lab: LabUnderTest, before: Traces) -> None:
    """Over several rotations no line is lost or told twice, when the writer is no faster than the reader."""
    lines = 40 * MEBIBYTE // 64
    paced = 'awk \'BEGIN { for (i = 0; i < %d; i++) { printf "%%063d\\n", i; if (i %% 8192 == 0) { fflush(); system("usleep 60000") } } }\''
    lab.apply(script("flood", f"usleep 500000; {paced % lines}", restartPolicy="Never"))
    eventually(lambda: lab.pods()["flood"]["status"].get("phase") == "Running", every=0.02)
    numbers = [int(line) for line in lab.kctl("logs", "flood", "--follow").split()]
    wrong = next((i for i, number in enumerate(numbers) if i != number), len(numbers))
    assert wrong == lines, f"line {wrong} is {numbers[wrong - 1 : wrong + 2]}, of {len(numbers)}"


def test_a_line_without_an_end_is_kept_in_parts(lab: LabUnderTest, before: Traces) -> None:
    """Eight mebibytes without a newline come back as one line."""
    size = 8 * MEBIBYTE
    lab.apply(script("line", f"head -c {size} /dev/zero | tr '\\0' x; echo; echo end", restartPolicy="Never"))
    eventually(lambda: lab.pods()["line"]["status"]["phase"] == "Succeeded")
    first, second = lab.kctl("logs", "line").split("\n")[:2]
    assert (len(first), set(first), second) == (size, {"x"}, "end")


def test_thirty_execs_at_once_each_get_their_own_output(lab: LabUnderTest, before: Traces) -> None:
    """No stream is mixed up with another, and every exit code arrives."""
    lab.apply(script("busy", IDLE))
    eventually(lambda: lab.all_running(["busy"]))
    calls = [started(lab, "exec", "busy", "--", "sh", "-c", f"echo {n}; echo e{n} >&2; exit {n}") for n in range(30)]
    for number, call in enumerate(calls):
        out, err = call.communicate(timeout=DEADLINE)
        assert (out, err, call.returncode) == (b"%d\n" % number, b"e%d\n" % number, number)


def test_an_exec_ends_with_its_caller_and_with_the_agent(lab: LabUnderTest, before: Traces) -> None:
    """Nothing that a stream started is left in the container when the stream is gone."""
    lab.apply(script("host", IDLE))
    item = eventually(lambda: lab.all_running(["host"]))["host"]
    first = pids(lab, [item])
    for word, agent in (("4711", False), ("4712", True)):
        with started(lab, "exec", "host", "--", "sleep", word) as call:
            eventually(partial(in_container, lab, "host", word))
            if agent:
                lab.kill(item["spec"]["nodeName"])
            else:
                call.kill()
        eventually(partial(ended, lab, "host", word))
    lab.start_agent(item["spec"]["nodeName"])
    eventually(lambda: lab.run("exec", "host", "--", "true").returncode == 0)
    assert pids(lab, [lab.pods()["host"]]) == first


def test_a_slow_reader_gets_everything(lab: LabUnderTest, before: Traces) -> None:
    """Output waits for who reads it, also when the process that wrote it has ended long before."""
    lines = 7 * MEBIBYTE // 64
    lab.apply(script("source", f"{NUMBERED % lines} > /tmp/flood; cat /tmp/flood; touch /tmp/ready; {IDLE}"))
    eventually(lambda: lab.all_running(["source"]))
    eventually(lambda: lab.run("exec", "source", "--", "test", "-e", "/tmp/ready").returncode == 0)
    with started(lab, "logs", "source") as logs, started(lab, "exec", "source", "--", "cat", "/tmp/flood") as cat:
        outputs = [call.stdout for call in (logs, cat) if call.stdout is not None]
        received = [output.read(64) for output in outputs]
        # An agent that gives up on a reader which does not read has done so by then.
        lab.kctl("exec", "source", "--", "sleep", "12")
        for number, output in enumerate(outputs):
            while chunk := output.read(MEBIBYTE):
                received[number] += chunk
            assert [int(line) for line in received[number].split()] == list(range(lines))
    assert (logs.returncode, cat.returncode) == (0, 0)


def test_callers_that_hang_up_hold_no_place(lab: LabUnderTest, before: Traces) -> None:
    """More streams than an agent carries at once are opened and dropped half-way; the next one is served."""
    last = f"{4 * MEBIBYTE // 64 - 1:063d}"
    lab.apply(script("source", f"{NUMBERED % (4 * MEBIBYTE // 64)}; {IDLE}"))
    eventually(lambda: lab.run("logs", "source", "--tail", "1").stdout.decode().strip() == last)
    client = waiting.client(layout.load(lab.name), lab.config)
    opening = streams_pb2.OpenStream(namespace="default", pod="source", logs=streams_pb2.LogOptions())
    try:
        stub = streams_pb2_grpc.StreamsStub(client.channel)
        for _ in range(MAX_STREAMS + 10):
            call = stub.Logs(opening, timeout=20)
            assert next(call).stdout
            call.cancel()
    finally:
        client.channel.close()
    assert lab.kctl("logs", "source", "--tail", "1").strip() == last


def test_a_huge_environment_is_refused_or_arrives_whole(lab: LabUnderTest, before: Traces) -> None:
    """Large but legal arrives; larger than the kernel takes is the container's fault, and no one else's."""
    legal = [{"name": f"V{n}", "value": "x" * 100_000} for n in range(15)]
    beyond = [{"name": "V", "value": "x" * 200_000}]
    lab.apply(script("legal", f"echo ${{#V0}} ${{#V14}}; {IDLE}", container={"env": legal}),
              script("beyond", IDLE, container={"env": beyond}))  # fmt: skip
    eventually(lambda: lab.all_running(["legal"]))
    assert lab.kctl("logs", "legal").split() == ["100000", "100000"]

    def refused() -> str:
        status = lab.pods()["beyond"]["status"]["containerStatuses"][0]
        last = status["state"].get("terminated") or status["lastState"]["terminated"]
        return str(last["message"])

    assert "Argument list too long" in eventually(refused) or "argument list too long" in refused()


def test_a_pod_too_large_to_send_harms_no_other(lab: LabUnderTest, before: Traces) -> None:
    """Refused, or run: the node's other pods are told of their changes either way."""
    env = [{"name": f"V{n}", "value": "x" * 100_000} for n in range(39)]
    manifest = script("large", IDLE, container={"env": env}, nodeName="node-1")
    lab.run("apply", "-f", "-", stdin=json.dumps(manifest))
    lab.apply(script("small", IDLE, nodeName="node-1"))
    eventually(lambda: lab.all_running(["small"]))
    eventually(lambda: node_is(lab, "node-1", "True"))


def inside(lab: LabUnderTest, node: str, *command: str) -> None:
    subprocess.run([*hosts.inside(layout.load(lab.name), node), *command], check=True, timeout=DEADLINE)


def test_a_network_that_cannot_be_set_up_is_tried_again(lab: LabUnderTest, before: Traces) -> None:
    """Another VXLAN device in the way holds pods back; once it is gone they start, without anybody's help."""
    lab.kill("node-1")
    inside(lab, "node-1", "ip", "link", "del", "pinnace-vx")
    inside(lab, "node-1", "ip", "link", "add", "other", "type", "vxlan", "id", "42", "dstport", "4789", "dev", "eth0")
    lab.start_agent("node-1")
    eventually(lambda: node_is(lab, "node-1", "True"))
    lab.apply(script("held", IDLE, nodeName="node-1"))
    eventually(lambda: "FailedCreatePodSandBox" in lab.kctl("events"))
    inside(lab, "node-1", "ip", "link", "del", "other")
    eventually(lambda: lab.all_running(["held"]))
