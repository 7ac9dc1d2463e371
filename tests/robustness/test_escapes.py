"""A hostile program in a container tries everything it can think of; a table says what came of each. All are refused.

The tries are in tests/support/tries.c, by system call, for no shell offers most of them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from nodeagent.linux.capabilities import DEFAULT
from nodeagent.runtime.interface import IdRange
from tests.support.boxes import boxes, program_layer

pytestmark = pytest.mark.root
IDS = IdRange(900 * 65536, 65536)
# What Kubernetes grants by default: NET_RAW makes packets of any kind in the pod's own network namespace, where they
# reach nobody who believes them (tests/e2e/test_neighbours.py forges ARP replies between pods).
GRANTED = {"packet_socket", "forge_arp", "raw_ip"}
PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "own users": {"ids": IDS},
    "no new privileges": {"user": 1000, "group": 1000, "groups": (1000,), "no_new_privileges": True, "capabilities": ()},
    "root, bare": {"capabilities": (), "seccomp": ""},
    "own users, admin": {"ids": IDS, "capabilities": (*DEFAULT, "SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "MKNOD")},
}
# With SYS_ADMIN in a user namespace a container may arrange its own mounts and namespaces, and load BPF of its own kind;
# without a filter, its own keys, namespaces of its own making and user space page faults: none of it is the host's.
SOCKETS = {
    f"{way}{name}" for way in ("", "compat_", "wide_", "x32_") for name in ("kernel_crypto", "hypervisor_socket")
} | {"compat_multiplexed_crypto", "compat_multiplexed_hypervisor"}  # fmt: skip
OWN = {
    "mount_tmpfs", "new_mount", "copy_mount", "unshare_user", "unshare_mounts", "unshare_network", "clone_user",
    "clone_mounts", "clone3_user", "join_mounts", "host_name", "compat_host_name", "compat_unshare_user", "mount_cgroup2", "pidfd_host",
}  # fmt: skip
ALLOWED = {
    "default": GRANTED,
    "own users": GRANTED,
    "no new privileges": set[str](),
    "root, bare": {
        *SOCKETS,
        "keyring",
        "make_key",
        "ask_key",
        "unshare_user",
        "clone_user",
        "clone3_user",
        "uring",
        *(f"compat_{name}" for name in ("unshare_user", "keyring", "uring")),
    },
    "own users, admin": GRANTED | OWN,
}

# OCI runtimes run no pod with users of its own (docs/runtimes.md).
CASES = [(name, "native") for name in PROFILES] + [(name, "runc") for name in PROFILES if "ids" not in PROFILES[name]]


async def attempts(profile: str, handler: str) -> dict[str, str]:
    settings = dict(PROFILES[profile])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with boxes("t-escape", handler) as box:
            marker = box.folder / "of-the-host"
            marker.write_text("here")
            disk = os.stat("/").st_dev
            sandbox = await box.sandbox(ids=settings.get("ids"))
            arguments = [str(os.getpid()), str(listening.getsockname()[1]), str(marker)]
            ran = await box.run(
                sandbox, "/bin/tries", *arguments, str(os.major(disk)), str(os.minor(disk)),
                layers=(str(program_layer(box, "tries")), str(box.image)), **settings,
            )  # fmt: skip
            assert ran.code == 0, ran
            assert marker.read_text() == "here"
    return dict(line.split("\t") for line in ran.out.splitlines())


@pytest.mark.parametrize(("profile", "handler"), CASES)
async def test_no_try_to_escape_succeeds(profile: str, handler: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every attempt fails, but for what the profile grants the container over what is its own."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    table = await attempts(profile, handler)
    with capsys.disabled():
        print(f"\n{profile} ({handler}):")
        for name, outcome in table.items():
            print(f"  {name:32}{'granted' if outcome == 'SUCCEEDED' and name in ALLOWED[profile] else outcome}")
    assert len(table) > 70
    assert {name for name, outcome in table.items() if outcome == "SUCCEEDED"} - ALLOWED[profile] == set()
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_ordinary_sockets_work_in_both_abis() -> None:
    """What the filter denies of sockets costs no program its network."""
    async with boxes("t-sockets") as box:
        layers = (str(program_layer(box, "sockets")), str(box.image))
        ran = await box.run(await box.sandbox(), "/bin/sockets", layers=layers)
    assert ran.out == "all\n"
