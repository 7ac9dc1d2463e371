"""kill -9 of each of our processes, at random moments: what runs goes on, what was asked for happens once."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout, processes
from cli.lab.layout import Process
from tests.support.breaking import (
    COUNT,
    IDLE,
    Moments,
    counted,
    gated,
    goes_on,
    nothing_left,
    open_gate,
    pids,
    restarts,
    script,
    settle_in,
)
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.traces import Traces, traces

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2")
ROUNDS = 3
BATCH = 12
TARGETS = ("agent", "launcher", "control plane", "agent and launcher")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rob-kill", tmp_path_factory.mktemp("kill"), nodes=len(NODES)) as found:
        settle_in(found)
        yield found


@pytest.fixture
def before(lab: LabUnderTest) -> Iterator[Traces]:
    """The nodes as they are without pods, and that they are so again after the test."""
    found = traces(lab)
    yield found
    nothing_left(lab, found)


def strike(lab: LabUnderTest, target: str) -> Callable[[], None]:
    """Kill it, on every node at once; returns what brings back what does not come back by itself."""
    if target == "control plane":
        lab.kill("control")
        return lab.start_control
    agents, launchers = "agent" in target, "launcher" in target
    for node in NODES:
        launcher = lab.launcher(node)
        if agents:
            lab.kill(node)
        if launchers and launcher:
            os.kill(launcher, signal.SIGKILL)

    def restore() -> None:
        for node in NODES if agents else ():
            lab.start_agent(node)

    return restore


def begun(lab: LabUnderTest, names: list[str]) -> dict[str, tuple[int, int]]:
    """Pid and start time of those of the named containers that run by now."""
    ran: dict[str, tuple[int, int]] = {}
    for name, item in lab.pods().items():
        try:
            ran |= pids(lab, [item] if name in names else [])
        except KeyError:
            continue
    return ran


def gone(lab: LabUnderTest, names: list[str]) -> bool:
    return not set(names) & set(lab.pods())


@pytest.mark.parametrize("target", TARGETS)
def test_containers_that_run_outlive_it(lab: LabUnderTest, before: Traces, target: str) -> None:
    """Pids, restart counts and logs are as if nothing had happened."""
    moments = Moments(target)
    names = [f"count-{n}" for n in range(4)]
    lab.apply(*(script(name, COUNT) for name in names))
    items = eventually(lambda: lab.all_running(names))
    at_first = pids(lab, items.values())
    for _ in range(ROUNDS):
        moments.wait(0.3)
        strike(lab, target)()
    for name in names:
        goes_on(lab, name)
    items = eventually(lambda: lab.all_running(names))
    assert pids(lab, items.values()) == at_first
    assert {name: restarts(item) for name, item in items.items()} == dict.fromkeys(names, 0)


@pytest.mark.parametrize("target", TARGETS)
def test_pods_being_started_and_deleted_all_arrive(lab: LabUnderTest, before: Traces, target: str) -> None:
    """Each container is started exactly once, and a deleted pod goes, wherever in its life it was struck."""
    moments = Moments("churn " + target)
    kept: list[str] = []
    for turn in range(ROUNDS - 1):
        names = [f"churn-{turn}-{n}" for n in range(BATCH)]
        lab.apply(*(script(name, IDLE) for name in names))
        moments.wait(0.6)
        restore = strike(lab, target)
        if target == "control plane":
            # Nothing can be asked without it.
            restore()
        ran = begun(lab, names)
        doomed, staying = names[::2], names[1::2]
        lab.kctl("delete", "pods", *doomed, "--wait=false")
        moments.wait(0.6)
        if target == "control plane":
            strike(lab, target)()
        else:
            restore()
        eventually(partial(lab.all_running, staying))
        moments.wait(0.3)
        strike(lab, target)()
        kept += staying
        items = eventually(partial(lab.all_running, kept))
        assert {name: restarts(items[name]) for name in kept} == dict.fromkeys(kept, 0)
        now = pids(lab, items.values())
        assert {name: now[name] for name in staying if name in ran} == {n: ran[n] for n in staying if n in ran}
        eventually(partial(gone, lab, doomed))


def test_a_lost_monitor_takes_its_container_with_it_and_no_other(lab: LabUnderTest, before: Traces) -> None:
    """The container ends with 137 and restarts by policy; its neighbours do not notice."""
    policies = ("Always", "OnFailure", "Never")
    lab.apply(*(script(f"{kind}-{p.lower()}", COUNT, restartPolicy=p) for p in policies for kind in ("struck", "spared")))
    names = [f"{kind}-{p.lower()}" for p in policies for kind in ("struck", "spared")]
    items = eventually(lambda: lab.all_running(names))
    at_first = pids(lab, items.values())
    for name in names[::2]:
        os.kill(lab.state(items[name])["monitor"], signal.SIGKILL)

    def settled() -> bool:
        found = lab.all_running(["struck-always", "struck-onfailure"])
        assert [restarts(item) for item in found.values()] == [1, 1]
        assert lab.pods()["struck-never"]["status"]["phase"] == "Failed"
        return True

    eventually(settled)
    found = lab.pods()
    for name in ("struck-always", "struck-onfailure"):
        last = found[name]["status"]["containerStatuses"][0]["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (137, "Error")
        assert not processes.alive(Process(*at_first[name])), "the first run still runs"
        assert lab.state(found[name], number=1)["pid"] != at_first[name][0]
        goes_on(lab, name)
    ended = found["struck-never"]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 137
    spared = [found[name] for name in names[1::2]]
    assert pids(lab, spared) == {name: at_first[name] for name in names[1::2]}
    for name in names[1::2]:
        goes_on(lab, name)


def test_a_monitor_lost_while_the_agent_is_away_is_noticed(lab: LabUnderTest, before: Traces) -> None:
    """The agent that comes back finds the container dead and restarts it."""
    lab.apply(script("struck", COUNT), script("spared", COUNT))
    items = eventually(lambda: lab.all_running(["struck", "spared"]))
    spared = pids(lab, [items["spared"]])
    node = items["struck"]["spec"]["nodeName"]
    state = lab.state(items["struck"])
    lab.kill(node)
    os.kill(state["monitor"], signal.SIGKILL)
    eventually(lambda: not processes.alive(Process(state["pid"], state["pid_start"])))
    lab.start_agent(node)
    eventually(lambda: restarts(lab.all_running(["struck"])["struck"]) == 1)
    assert pids(lab, [lab.pods()["spared"]]) == spared
    goes_on(lab, "struck")


def forks(launcher: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_what_the_launcher_forked_may_die_while_it_starts_a_pod(lab: LabUnderTest, before: Traces) -> None:
    """A sandbox or a monitor that is killed half-way costs a try, never the pod."""
    moments = Moments("forks")
    launchers = [lab.launcher(node) for node in NODES]
    names = [f"young-{n}" for n in range(BATCH)]
    lab.apply(*(script(name, IDLE) for name in names))
    killed = 0

    def kill_some() -> bool:
        nonlocal killed
        for victims in map(forks, launchers):
            if victims and killed < 8:
                killed += 1
                os.kill(moments.choose(victims), signal.SIGKILL)
        return killed == 8

    eventually(kill_some, every=0.01)
    eventually(lambda: lab.all_running(names), within=40)


def test_exit_codes_of_runs_that_end_meanwhile_are_right(lab: LabUnderTest, before: Traces) -> None:
    """What ends while the agent or the control plane is away is reported with its own code, once, and not run again."""
    lab.apply(gated("while-agent", restartPolicy="Never"), gated("while-control", restartPolicy="Never"),
              gated("while-both", restartPolicy="Never"), gated("again", restartPolicy="OnFailure"))  # fmt: skip
    names = ["while-agent", "while-control", "while-both", "again"]
    items = eventually(lambda: lab.all_running(names))

    def end(name: str) -> None:
        open_gate(lab, items[name])
        eventually(lambda: (lab.bundle(items[name]) / "exit.json").exists())

    for node in NODES:
        lab.kill(node)
    end("while-agent")
    lab.kill("control")
    end("while-both")
    for node in NODES:
        lab.start_agent(node)
    end("while-control")
    end("again")
    lab.start_control()

    def reported() -> bool:
        found = lab.pods()
        for name in names[:3]:
            status = found[name]["status"]
            assert status["phase"] == "Failed", (name, status)
            ended = status["containerStatuses"][0]["state"]["terminated"]
            assert (ended["exitCode"], ended["reason"], restarts(found[name])) == (7, "Error", 0)
        last = found["again"]["status"]["containerStatuses"][0]
        assert last["lastState"]["terminated"]["exitCode"] == 7
        assert last["restartCount"] >= 1
        return True

    eventually(reported)


def test_a_killed_agent_loses_no_line_of_what_is_followed_later(lab: LabUnderTest, before: Traces) -> None:
    """Logs are written by the monitors: strokes at agent, launcher and control plane in turn leave no gap."""
    moments = Moments("logs")
    lab.apply(script("count", COUNT))
    eventually(lambda: lab.all_running(["count"]))
    for target in (*TARGETS, *TARGETS):
        strike(lab, target)()
        moments.wait(0.2)
    goes_on(lab, "count")
    assert counted(lab, "count") > 0


@pytest.mark.parametrize("folder", ["assignment/objects", "assignment/peers"])
def test_an_agent_killed_while_it_writes_a_file_starts_again(lab: LabUnderTest, before: Traces, folder: str) -> None:
    """Half a file that a killed agent left is swept away, not read."""
    lab.apply(script("count", COUNT))
    item = eventually(lambda: lab.all_running(["count"]))["count"]
    node, first = item["spec"]["nodeName"], pids(lab, [item])
    lab.kill(node)
    for whole in list((lab.node_dir(node) / folder).iterdir()):
        # As pki.write_private names what it has not finished.
        (whole.parent / f".{whole.name}.1").write_bytes(whole.read_bytes()[:-1])
    lab.start_agent(node)
    goes_on(lab, "count")
    assert pids(lab, [lab.pods()["count"]]) == first


def test_a_pod_whose_sandbox_was_half_made_gets_its_network(lab: LabUnderTest, before: Traces) -> None:
    """Agents killed again and again while pods start: every pod ends up with its address on the wire."""
    moments = Moments("sandbox")
    names = [f"net-{n}" for n in range(BATCH)]
    lab.apply(*(script(name, IDLE) for name in names))
    for _ in range(4):
        moments.wait(0.15)
        strike(lab, "agent")()
        moments.wait(0.5)
    items = eventually(lambda: lab.all_running(names), within=40)
    assert {name: restarts(item) for name, item in items.items()} == dict.fromkeys(names, 0)
    for name, item in items.items():
        address = item["status"]["podIP"]
        # The agent that was killed last may not be connected again yet.
        eventually(lambda name=name: lab.run("exec", name, "--", "true").returncode == 0)
        assert f"{address}/24" in lab.kctl("exec", name, "--", "ip", "-o", "addr", "show", "eth0")
        assert address in lab.kctl("exec", name, "--", "cat", "/etc/hosts")


def launching(node: str, found: layout.Lab) -> list[int]:
    """Processes of the node that are launchers or will be; their forks are not."""
    pids = [
        pid for pid in processes.of_host(found, node) if b"/nodeagent/launcher\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def _words(pid: int) -> bytes:
    """The command line of a process; of one that has gone, that of the resolver, which does not count."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"nodeagent/dns"


def test_only_one_launcher_is_ever_left(lab: LabUnderTest, before: Traces) -> None:
    """A launcher whose agent was killed before it listened finds that of the next agent, and leaves it alone."""
    node, found = NODES[0], layout.load(lab.name)
    lab.kill(node)
    os.kill(lab.launcher(node), signal.SIGKILL)
    # The node's resolver outlives both.
    eventually(lambda: all(b"nodeagent/dns" in _words(pid) for pid in processes.of_host(found, node)))
    lab.start_agent(node)
    late = eventually(lambda: launching(node, found), every=0.001)[0]
    os.kill(late, signal.SIGSTOP)
    lab.kill(node)
    lab.start_agent(node)
    serving = eventually(lambda: lab.launcher(node))
    assert serving != late
    os.kill(late, signal.SIGCONT)
    eventually(lambda: launching(node, found) == [serving])
    assert lab.launcher(node) == serving


def held_restart(lab: LabUnderTest, name: str) -> tuple[dict[str, Any], int]:
    """A pod whose container has ended and is asked for again, of a launcher that is stopped: the pod, the launcher."""
    lab.apply(gated(name, restartPolicy="OnFailure"))
    item = eventually(lambda: lab.all_running([name]))[name]
    launcher = lab.launcher(item["spec"]["nodeName"])
    os.kill(launcher, signal.SIGSTOP)
    open_gate(lab, item)
    eventually(lambda: (lab.bundle(item, number=1) / "attempt.json").exists(), every=0.01)
    # So that the next run does not end too.
    (lab.bundle(item).parents[2] / "volumes/gate/open").unlink()
    return item, launcher


def restarted_once(lab: LabUnderTest, name: str) -> dict[str, Any]:
    """The pod once its container's second run is reported; that there is no third."""
    eventually(lambda: restarts(lab.pods()[name]) > 0)
    found: dict[str, Any] = eventually(lambda: lab.all_running([name]))[name]
    assert restarts(found) == 1
    return found


def test_an_agent_killed_before_it_is_answered_finds_the_container_running(lab: LabUnderTest, before: Traces) -> None:
    """The monitor that cannot tell the agent of the start goes on all the same."""
    item, launcher = held_restart(lab, "unheard")
    with open(lab.container_config(item, number=1)) as file:
        # A monitor waits for this lock before it starts the container.
        fcntl.flock(file, fcntl.LOCK_EX)
        known = forks(launcher)
        os.kill(launcher, signal.SIGCONT)
        eventually(lambda: set(forks(launcher)) - set(known), every=0.01)
        lab.kill(item["spec"]["nodeName"])
    state = eventually(lambda: lab.state(item, number=1), every=0.01)
    lab.start_agent(item["spec"]["nodeName"])
    found = restarted_once(lab, "unheard")
    assert lab.state(found, number=1) == state
    assert processes.alive(Process(state["pid"], state["pid_start"]))


def test_a_launcher_killed_with_a_start_in_its_queue_costs_no_restart(lab: LabUnderTest, before: Traces) -> None:
    """What was never begun is begun by the next launcher, and counts as one run, not as two."""
    item, launcher = held_restart(lab, "queued")
    os.kill(launcher, signal.SIGKILL)
    restarted_once(lab, "queued")
    assert lab.launcher(item["spec"]["nodeName"]) != launcher
