"""AppArmor profiles of pods, on a kernel that has it: which one is taken, and that it holds.

Without AppArmor these are skipped; tests/vm runs them on a kernel that has it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cli.lab import processes
from nodeagent.runtime import apparmor
from tests.support.boxes import boxes, program_layer
from tests.support.labs import ROOT, SLEEP, LabUnderTest, eventually, pod, running

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(apparmor.loaded() is None, reason="this kernel has no AppArmor; tests/vm runs these on one that has"),
]
DEFAULT = ROOT / "deploy/apparmor/pinnace-default"
OWN = "t-pinnace-own"
OWN_PROFILE = f"""
profile {OWN} flags=(attach_disconnected) {{
  file,
  network,
  capability,
  signal,
  deny /tmp/locked/** w,
}}
"""
PROFILES = {"pinnace-default": DEFAULT.read_text(), OWN: OWN_PROFILE}
# What it is confined by; then what only a profile refuses, for the container has CAP_SYS_ADMIN.
SAY = "cat /proc/self/attr/current; mkdir -p /tmp/locked /tmp/on; echo x > /tmp/locked/x; mount -t tmpfs none /tmp/on"


def confined(name: str, profile: dict[str, Any] | None, script: str = SAY, **context: Any) -> dict[str, Any]:
    security = {"capabilities": {"add": ["SYS_ADMIN"]}, **context} | ({"appArmorProfile": profile} if profile else {})
    return pod(name, "sh", "-c", f"({script}) 2>&1; {SLEEP}", container={"securityContext": security})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    before = apparmor.loaded() or frozenset()
    for profile in PROFILES.values():
        parse("-rK", profile)
    try:
        yield from _lab(tmp_path_factory)
    finally:
        for name in PROFILES.keys() - before:
            parse("-R", PROFILES[name])


def parse(how: str, profile: str) -> None:
    subprocess.run(["apparmor_parser", how], input=profile.encode(), check=True, timeout=60)


def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-armour", tmp_path_factory.mktemp("armour"), nodes=1) as found:
        found.apply(
            confined("silent", None),
            confined("default", {"type": "RuntimeDefault"}),
            confined("own", {"type": "Localhost", "localhostProfile": OWN}),
            confined("free", {"type": "Unconfined"}),
            confined("absent", {"type": "Localhost", "localhostProfile": "t-pinnace-absent"}),
        )
        yield found


def said(lab: LabUnderTest, name: str) -> str:
    eventually(lambda: lab.all_running([name]), within=60)
    return lab.kctl("logs", name)


@pytest.mark.parametrize("name", ["silent", "default"])
def test_the_profile_of_the_project_is_the_default(lab: LabUnderTest, name: str) -> None:
    """Where it is loaded; mount(2) is refused although the container has the capability, and the image's files are not."""
    text = said(lab, name)
    assert text.splitlines()[0] == "pinnace-default (enforce)"
    assert "permission denied" in text.lower()
    assert "locked/x" not in text
    assert "mounting none on /tmp/on failed: Permission denied" in text


@pytest.mark.shows("spec.containers[].securityContext.appArmorProfile")
def test_a_profile_of_the_node_by_name(lab: LabUnderTest) -> None:
    """It holds what it says and nothing else."""
    text = said(lab, "own")
    assert text.splitlines()[0] == f"{OWN} (enforce)"
    assert "can't create /tmp/locked/x: Permission denied" in text


def test_the_doctor_knows_whether_the_profile_is_there(lab: LabUnderTest) -> None:
    """It is, for the lab of these tests has loaded it."""
    assert "apparmor: pinnace-default is loaded" in lab.run("doctor").stdout.decode()


def test_unconfined_is_confined_by_nothing(lab: LabUnderTest) -> None:
    """What the others are refused is done."""
    assert said(lab, "free").splitlines() == ["unconfined"]


def test_a_profile_that_is_not_loaded_keeps_the_container_from_starting(lab: LabUnderTest) -> None:
    """And says which one."""

    def waiting() -> dict[str, Any]:
        return dict(lab.get("pod", "absent")["status"]["containerStatuses"][0]["state"]["waiting"])

    found = eventually(lambda: (state := waiting())["reason"] == "CreateContainerError" and state, within=60)
    assert found["message"] == 'AppArmor profile "t-pinnace-absent" is not loaded on the node'


async def test_the_default_keeps_the_machine_s_files_from_being_written(lab: LabUnderTest) -> None:
    """In a container that sees /proc without a mask or a read-only mount, where root writes what it wants without it."""
    files = ("vm/swappiness", "kernel/panic", "fs/file-max")
    script = "; ".join(f"f=/proc/sys/{name}; v=$(cat $f); (echo $v > $f) 2>&1 && echo wrote" for name in files)
    async with boxes("t-armour-box") as box:
        sandbox = await box.sandbox()
        free = await box.run(sandbox, "sh", "-c", script, masked=False)
        held = await box.run(sandbox, "sh", "-c", script, masked=False, apparmor="pinnace-default")
    assert free.out.split() == ["wrote"] * len(files)
    assert held.out.count("Permission denied") == len(files)
    assert "wrote" not in held.out


async def test_the_default_denies_the_kernels_crypto_without_a_seccomp_filter(lab: LabUnderTest) -> None:
    """And sockets of hypervisors: a container whose seccompProfile is Unconfined has the profile alone. Others it may make."""
    async with boxes("t-armour-sockets") as box:
        sandbox, layers = await box.sandbox(), (str(program_layer(box, "families")), str(box.image))
        command = ("/bin/families", *(str(int(family)) for family in (socket.AF_ALG, socket.AF_VSOCK, socket.AF_INET)))
        free = await box.run(sandbox, *command, layers=layers, seccomp="")
        held = await box.run(sandbox, *command, layers=layers, seccomp="", apparmor="pinnace-default")
    assert "38 made\n" in free.out
    assert "Permission denied" not in free.out
    assert held.out == "38 Permission denied\n40 Permission denied\n2 made\n"


def test_a_confined_container_ends_with_its_monitor(lab: LabUnderTest) -> None:
    """The kernel forgets to end it, for a profile that is taken on clears the signal of the parent's death; the agent does."""
    item = eventually(lambda: lab.all_running(["default"]))["default"]
    state = lab.state(item)
    os.kill(state["monitor"], signal.SIGKILL)
    eventually(lambda: processes.start_time(state["pid"]) != state["pid_start"])
    eventually(lambda: lab.get("pod", "default")["status"]["containerStatuses"][0]["restartCount"] == 1, within=60)
