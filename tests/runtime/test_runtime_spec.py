"""What a container sees, against the OCI runtime-spec (config.md, config-linux.md, runtime-linux.md): a row for each rule.

Seen from inside, in an ordinary container and in one with a user namespace of its own: they must not differ.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from nodeagent.linux import syscalls
from nodeagent.linux.capabilities import DEFAULT, NUMBERS, held, mask
from nodeagent.runtime.cgroups import Limits
from nodeagent.runtime.interface import IdRange, SandboxConfig
from tests.support.boxes import Boxes, boxes

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
IDS = IdRange(903 * 65536, 65536)


@dataclass(frozen=True)
class Row:
    """A rule: a script, and what it prints. `more` are fields of ContainerConfig."""

    rule: str
    script: str
    expected: str
    more: dict[str, Any] = field(default_factory=dict)


def mounted(path: str) -> str:
    """Type of a mount, and those of its options that are rules."""
    return f"awk '$2 == \"{path}\" {{print $3, $4}}' /proc/mounts | tail -1 | sed 's/,relatime.*//'"


HOST_NOFILE = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
NOFILE = 1 << 20 if HOST_NOFILE == resource.RLIM_INFINITY else min(HOST_NOFILE, 1 << 20)
ROWS = [
    # config-linux.md, Default Filesystems.
    Row("/proc is procfs", mounted("/proc"), "proc rw,nosuid,nodev,noexec"),
    Row("/sys is sysfs", mounted("/sys"), "sysfs ro,nosuid,nodev,noexec"),
    Row("/dev is a tmpfs", mounted("/dev"), "tmpfs rw,nosuid,noexec"),
    Row("/dev/pts is devpts", mounted("/dev/pts"), "devpts rw,nosuid,noexec"),
    Row("/dev/shm is a tmpfs", mounted("/dev/shm"), "tmpfs rw,nosuid,nodev,noexec"),
    Row("/dev/mqueue is mqueue", mounted("/dev/mqueue"), "mqueue rw,nosuid,nodev,noexec"),
    Row("/dev/shm is of 64 MiB and for all", "df -k /dev/shm | awk 'NR==2{print $2}'; stat -c %a /dev/shm", "65536\n1777"),
    Row("the root is an overlay", mounted("/"), "overlay rw,nodev"),
    Row("the root is read-only where asked", mounted("/") + "; touch /x 2>&1", "overlay ro,nodev\ntouch: /x: Read-only file system",
        {"read_only_root": True}),
    Row("/tmp of a read-only root too", "touch /tmp/x 2>&1; touch /dev/shm/x", "touch: /tmp/x: Read-only file system",
        {"read_only_root": True}),
    # config-linux.md, Default Devices.
    *(Row(f"/dev/{name} is device {numbers}", f"stat -c '%F %t:%T %a' /dev/{name}", f"character special file {numbers} 666")
      for name, numbers in (("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"),
                            ("tty", "5:0"))),
    Row("devices work", "head -c 4 /dev/zero | wc -c; echo x > /dev/null; echo x 2>&1 > /dev/full; true",
        "4\nsh: write error: No space left on device"),
    # runtime-linux.md, Dev symbolic links.
    *(Row(f"/dev/{name} is a link", f"readlink /dev/{name}", target)
      for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                           ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"))),
    # config-linux.md, Masked and read-only paths.
    *(Row(f"/proc/{name} is masked", f"[ ! -e /proc/{name} ] || cat /proc/{name} | wc -c", "0")
      for name in ("keys", "timer_list", "interrupts")),
    *(Row(f"/proc/{name} is read-only", mounted(f"/proc/{name}"), "proc ro,nosuid,nodev,noexec")
      for name in ("bus", "fs", "irq", "sys")),
    Row("/proc/acpi is empty", "ls /proc/acpi | wc -l", "0"),
    Row("procMount Unmasked has no mask", "grep -c ' /proc/' /proc/mounts", "0", {"masked": False}),
    # config.md, Process.
    Row("cwd", "pwd", "/tmp", {"cwd": "/tmp"}),
    Row("cwd is made", "pwd; stat -c '%a %u' .", "/a/b\n755 0", {"cwd": "/a/b"}),
    Row("cwd of a user who may enter it", "pwd", "/tmp", {"cwd": "/tmp", "user": 1000}),
    Row("cwd is made for a user too", "pwd", "/made/here", {"cwd": "/made/here", "user": 1000}),
    Row("env, and nothing else", "xargs -0 -n 1 echo < /proc/1/environ", "A=1=2\nB=\nHOME=/h", {"env": ("A=1=2", "B=", "HOME=/h")}),
    Row("umask", "umask", "0022"),
    Row("user, group and groups", "id -u; id -g; id -G", "1000\n1001\n1001 7 8", {"user": 1000, "group": 1001, "groups": (7, 8)}),
    Row("no core files", "ulimit -Sc", "0"),
    Row("open files", "ulimit -Sn; ulimit -Hn", f"1024\n{NOFILE}"),
    Row("oom score", "cat /proc/self/oom_score_adj", "500", {"oom_score_adj": 500}),
    Row("no signal is blocked or ignored", "grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u", "0" * 16),
    Row("session and process group of its own", "cut -d' ' -f 5,6 /proc/1/stat", "1 1"),
    Row("standard input is at its end", "cat | wc -c", "0"),
    Row("no descriptor but the standard ones", "ls /proc/1/fd; true", "0\n1\n2"),
    # config.md, Linux process: capabilities in effective, permitted and bounding; none inheritable or ambient.
    *(Row(f"capabilities: {name}", f"grep {name} /proc/self/status | cut -f2", f"{value:016x}")
      for name, value in (("CapEff", mask(DEFAULT)), ("CapPrm", mask(DEFAULT)), ("CapBnd", mask(DEFAULT)), ("CapInh", 0),
                          ("CapAmb", 0))),
    Row("capabilities: others", "grep CapEff /proc/self/status | cut -f2", f"{1 << NUMBERS['SYS_TIME']:016x}",
        {"capabilities": ("SYS_TIME",)}),
    Row("no_new_privs", "grep NoNewPrivs /proc/self/status | cut -f2", "1", {"no_new_privileges": True}),
    Row("no_new_privs: not", "grep NoNewPrivs /proc/self/status | cut -f2", "0"),
    Row("seccomp", "grep -E 'Seccomp(_filters)?:' /proc/self/status | cut -f2", "2\n1"),
    Row("seccomp with no_new_privs", "grep -E 'Seccomp:' /proc/self/status | cut -f2", "2", {"no_new_privileges": True, "user": 5}),
    Row("seccomp: none", "grep Seccomp: /proc/self/status | cut -f2", "0", {"seccomp": ""}),
    # config.md, Hostname; config-linux.md, Namespaces.
    Row("hostname", "hostname", "box"),
    Row("pid namespace", "echo $$; ls -d /proc/[0-9]* | head -1", "1\n/proc/1"),
    Row("ipc namespace", "wc -l < /proc/sysvipc/msg; ls /dev/mqueue | wc -l", "1\n0"),
    Row("network namespace", "ls /sys/class/net; ip -o addr | awk '{print $4}'", "lo\n127.0.0.1/8\n::1/128"),
    Row("cgroup namespace", "cut -d: -f3 /proc/self/cgroup | grep -v -e '^/$' | grep -c pod; true", "0"),
    Row("mount namespace", "grep -c -e ' /work' -e ' /mnt' /proc/mounts; true", "0"),
    # config-linux.md, Cgroups: what is mounted is its own, and not for writing.
    Row("cgroups are read-only", "grep -c -E '^cgroup2? /sys/fs/cgroup[^ ]* cgroup2? rw' /proc/mounts; true", "0"),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box() -> AsyncIterator[Boxes]:
    # Whoever starts an agent may ignore signals, and children inherit that: the usual ones, and those that glibc hides.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    ignore = ctypes.create_string_buffer(struct.pack("QQQQ", int(signal.SIG_IGN), 0, 0, 0), 32)
    assert libc.syscall(syscalls._NR_RT_SIGACTION, 32, ignore, None, ctypes.c_size_t(8)) == 0
    try:
        async with boxes("t-spec") as found:
            yield found
    finally:
        signal.signal(signal.SIGUSR1, before)
        syscalls.default_action(32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandboxes(box: Boxes) -> dict[str, SandboxConfig]:
    return {"ordinary": await box.sandbox(), "own users": await box.sandbox(ids=IDS)}


@pytest.mark.parametrize("kind", ["ordinary", "own users"])
@pytest.mark.parametrize("row", ROWS, ids=[row.rule for row in ROWS])
async def test_a_container_sees(box: Boxes, sandboxes: dict[str, SandboxConfig], row: Row, kind: str) -> None:
    """What the runtime-spec says, rule by rule."""
    ran = await box.run(sandboxes[kind], "/bin/sh", "-c", row.script, **row.more)
    assert (ran.out + ran.err).rstrip("\n") == row.expected


async def test_a_privileged_container_sees_the_devices_of_the_node(box: Boxes) -> None:
    """All capabilities, a writable /sys and cgroups, no masks, device nodes with the node's numbers."""
    sandbox = await box.sandbox()
    script = (
        "grep CapEff /proc/self/status | cut -f2; grep -c ' /proc/' /proc/mounts; stat -c '%F %t:%T' /dev/kmsg; "
        'awk \'$2 ~ "^/sys/fs/cgroup/" || $2 == "/sys" {print $4}\' /proc/mounts | cut -c1-2 | sort -u; head -c 1 /dev/kmsg | wc -c'
    )
    folders = box.cgroups.create("pod/privileged", Limits(), leaf=True, all_devices=True)
    said = await box.shell(sandbox, script, privileged=True, capabilities=held(), seccomp="", cgroups=folders)
    assert said.split("\n") == [f"{mask(held()):016x}", "0", "character special file 1:b", "rw", "1", ""]


async def test_devices_of_the_node_are_denied_by_the_cgroup(box: Boxes) -> None:
    """A node that a container has made, or has been given, opens for nobody (v1's devices, or BPF on v2)."""
    script = "mknod /dev/k c 1 11; cat /dev/k 2>&1 | head -c 80; cat /dev/null"
    said = await box.shell(await box.sandbox(), script, capabilities=(*DEFAULT, "MKNOD"))
    assert said == "cat: can't open '/dev/k': Operation not permitted\n"
