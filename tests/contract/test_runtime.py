"""What every runtime promises (nodeagent/runtime/interface.py): native, runc, crun and the fake."""

from __future__ import annotations

import os
import signal

import pytest

from nodeagent.runtime.interface import ExecConfig, Handle, Mount, StartError, Terminal
from pinnace.clock import SystemClock
from tests.support.awaiting import eventually
from tests.support.runtimes import Node, catches, end, kill, run, runs


async def test_a_program_runs_and_its_end_is_known(node: Node) -> None:
    """Exit code and times."""
    before = SystemClock().now()
    bundle = node.bundle("sh", "-c", "exit 3")
    handle = await node.runtime.start(bundle)
    exit_ = await end(node, handle)
    assert (exit_.code, exit_.signal, exit_.oom_killed) == (3, 0, False)
    assert before <= handle.started_at <= exit_.finished_at
    assert handle.bundle == bundle


async def test_output_goes_to_the_log_with_its_stream(node: Node) -> None:
    """In the CRI format; a last line without its end is a part."""
    _, lines = await run(node, "sh", "-c", "echo $GREETING; echo oops >&2; printf end")
    assert sorted(lines) == ["stderr F oops", "stdout F hello", "stdout P end"]


async def test_a_signal_is_told_from_an_exit_code(node: Node) -> None:
    """128 and the signal, as shells say it."""
    handle = await node.runtime.start(node.bundle("sleep", "1000"))
    kill(handle)
    exit_ = await end(node, handle)
    assert (exit_.code, exit_.signal, exit_.oom_killed) == (137, 9, False)


async def test_an_end_can_be_waited_for_late_and_twice(node: Node) -> None:
    """The record stays as long as the bundle."""
    bundle = node.bundle("true")
    handle = await node.runtime.start(bundle)
    assert await end(node, handle) == await end(node, handle)
    assert node.runtime.recover(bundle) == await end(node, handle)


async def test_a_missing_program_fails_the_start(node: Node) -> None:
    """By name, and nothing is left that a recovery would take for a container."""
    bundle = node.bundle("no-such-program")
    with pytest.raises(StartError, match=r"no-such-program.*not found"):
        await node.runtime.start(bundle)
    assert node.runtime.recover(bundle) is None


async def test_a_bundle_is_started_once(node: Node) -> None:
    """A second request is a mistake or a repetition: never a second container."""
    bundle = node.bundle("sleep", "1000")
    first = await node.runtime.start(bundle)
    try:
        second = await node.runtime.start(bundle)
    except StartError:
        second = first
    assert second == first
    kill(first)
    await end(node, first)


async def test_what_runs_is_found_by_the_next_agent(node: Node) -> None:
    """The same handle, and then its exit code."""
    bundle = node.bundle("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    handle = await node.runtime.start(bundle)
    runtime = await node.restarted()
    assert runtime.recover(bundle) == handle
    await eventually(lambda: catches(handle, signal.SIGTERM))
    kill(handle, signal.SIGTERM)
    assert (await end(node, handle)).code == 7


async def test_what_was_never_started_never_will_be(node: Node) -> None:
    """A request of a dead agent that comes late finds the bundle cancelled."""
    bundle = node.bundle("true")
    assert node.runtime.recover(bundle) is None
    with pytest.raises(StartError):
        await node.runtime.start(bundle)


async def test_a_sandbox_can_be_made_and_removed_again(node: Node) -> None:
    """Both are repeated after a crash."""
    folder = await node.sandbox("other")
    await node.sandbox("other")
    await node.runtime.remove_sandbox(folder)
    await node.runtime.remove_sandbox(folder)
    await node.runtime.remove_sandbox(node.folder / "pods/never")


async def test_exec_runs_beside_the_program(node: Node) -> None:
    """On the descriptors given; its exit code comes back."""
    handle = await node.runtime.start(node.bundle("sleep", "1000"))
    read, write = os.pipe()
    with open(os.devnull) as null:
        code = await node.runtime.exec(handle, ExecConfig(("sh", "-c", "echo inside; exit 5")), (null.fileno(), write, write))
        os.close(write)
        assert (code, os.read(read, 100)) == (5, b"inside\n")
        os.close(read)
        with pytest.raises(StartError):
            await node.runtime.exec(handle, ExecConfig(("no-such-program",)), (null.fileno(),) * 3)
    kill(handle)
    await end(node, handle)


# What only containers have


async def test_a_container_has_what_its_configuration_says(container: Node) -> None:
    """Process 1, host name, user, capabilities, filter, root; the host's processes are not to be seen."""
    script = "echo $$ $(hostname) $(id -u) $(id -g) $(ls /proc | grep -c '^[0-9]'); grep -E '^(CapBnd|Seccomp|NoNewPrivs):' /proc/self/status"
    _, lines = await run(container, "sh", "-c", script, user=1000, group=100, no_new_privileges=True)
    words = [line.split()[2:] for line in lines]
    assert words[0][:4] == ["1", "pod", "1000", "100"]
    assert int(words[0][4]) < 6
    assert ["CapBnd:", "00000000a00425fb"] in words
    assert ["Seccomp:", "2"] in words
    assert ["NoNewPrivs:", "1"] in words


async def test_a_terminal_is_the_containers_own(container: Node) -> None:
    """It has a name inside, it controls the session, and what it shows is standard output."""
    script = "tty; (exec < /dev/tty) && echo controls"
    _, lines = await run(container, "sh", "-c", script, terminal=Terminal(stdin=True, tty=True))
    assert [line.rstrip("\r") for line in lines] == ["stdout F /dev/pts/0", "stdout F controls"]


async def test_containers_of_a_pod_share_its_sandbox(container: Node) -> None:
    """Network, ipc and uts namespace, and /dev/shm."""
    show = "for n in net ipc uts; do readlink /proc/self/ns/$n; done; ls /dev/shm"
    _, first = await run(container, "sh", "-c", f"touch /dev/shm/here; {show}")
    _, second = await run(container, "sh", "-c", show)
    assert first[:3] == second[:3]
    assert second[3].endswith("here")
    assert f"net:[{os.stat(container.folder / 'pods/pod/ns/net').st_ino}]" in first[0]


async def test_the_root_can_be_read_only(container: Node) -> None:
    """Volumes stay as they say."""
    volume = container.folder / "volume"
    volume.mkdir()
    mounts = (Mount(str(volume), "/data"), Mount(str(volume), "/look", read_only=True))
    script = "touch /x || echo root; touch /data/y && echo data; touch /look/z || echo look"
    _, lines = await run(container, "sh", "-c", script, read_only_root=True, mounts=mounts)
    assert [line for line in lines if line.startswith("stdout")] == ["stdout F root", "stdout F data", "stdout F look"]
    assert [path.name for path in volume.iterdir()] == ["y"]


async def test_running_out_of_memory_is_told(container: Node) -> None:
    """The kernel's kill is not anybody's."""
    exit_, _ = await run(container, "sh", "-c", "exec tail /dev/zero")
    assert (exit_.code, exit_.oom_killed) == (137, True)


async def test_a_container_without_its_monitor_is_ended(container: Node) -> None:
    """Nobody would read its output or see its end; and what the runtime knew of it goes."""
    handle = await container.runtime.start(container.bundle("sleep", "1000"))
    os.kill(handle.monitor, signal.SIGKILL)
    exit_ = await end(container, handle)
    assert (exit_.code, exit_.signal) == (137, 9)
    assert not runs(handle)


async def test_a_monitor_that_died_while_no_agent_ran_is_seen_by_the_next(container: Node) -> None:
    """As the test before, but for who sees it."""
    bundle = container.bundle("sleep", "1000")
    handle = await container.runtime.start(bundle)
    os.kill(handle.monitor, signal.SIGKILL)
    runtime = await container.restarted()
    found = runtime.recover(bundle)
    if isinstance(found, Handle):
        found = await end(container, found)
    assert found.code == 137
    assert not runs(handle)


async def test_hundreds_of_lines_arrive_whole(container: Node) -> None:
    """The log has all that a program printed before it ended."""
    _, lines = await run(container, "sh", "-c", "seq 1 5000")
    assert [int(line.split()[2]) for line in lines] == list(range(1, 5001))
