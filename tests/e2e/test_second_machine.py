"""deploy/README.md, followed to the letter on two machines.

A machine here is a network, mount and UTS namespace with the address that the page uses, its own /var/lib/pinnace and
home, and nothing but the underlay to the other one. None of the lab's code is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import ROOT, eventually, pod

pytestmark = pytest.mark.root
DEADLINE = 60.0


class Machine:
    """One shell on a machine of its own, kept open, so that `&` works as it does for a reader of the page."""

    def __init__(self, name: str) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        isolate = "mount --make-rprivate / && mkdir -p /var/lib/pinnace && mount -t tmpfs none /var/lib/pinnace"
        self._shell = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "sh", "-c", f"hostname {name} && {isolate} && cd / && exec sh"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={"PATH": path, "HOME": "/var/lib/pinnace/home"}, text=True, bufsize=1,
        )  # fmt: skip
        self.pid = self._shell.pid
        self.run("true")

    def run(self, lines: str) -> str:
        """Lines of the page, and what they printed. Fails when the last of them fails."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(lines + '\necho "@@$?"\n')
        out = ""
        for line in self._shell.stdout:
            if "@@" in line:
                said, _, code = line.partition("@@")
                assert code.strip() == "0", f"{lines}\n{out}{said}"
                return out + said
            out += line
        raise AssertionError(f"the shell ended: {out}")

    def processes(self) -> list[int]:
        mine = os.stat(f"/proc/{self.pid}/ns/mnt").st_ino
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/mnt").st_ino == mine:
                    found.append(int(entry))
        return found

    def off(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while (left := [pid for pid in self.processes() if pid != self.pid]) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        with self._shell:
            self._shell.kill()


def page() -> list[tuple[str, str]]:
    """The page's blocks for a machine: its label and its lines."""
    text = (ROOT / "deploy/README.md").read_text()
    return [(label.strip(), body.strip()) for label, body in re.findall(r"^```sh ([^\n]+)\n(.*?)^```", text, re.M | re.S)]


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    first, second = Machine("first"), Machine("second")
    try:
        ip = ["nsenter", f"--net=/proc/{first.pid}/ns/net", "ip"]
        subprocess.run(
            [*ip, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(second.pid)], check=True
        )
        for number, machine in enumerate((first, second), 1):
            machine.run(f"ip link set lo up && ip addr add 192.0.2.{number}/24 dev eth0 && ip link set eth0 up")
        yield {"first": first, "second": second}
    finally:
        first.off()
        second.off()


def test_page_makes_a_cluster_of_two_machines(machines: dict[str, Machine], tmp_path: Path) -> None:
    """Every block of the page works as written, and pods of both machines then reach each other."""
    first = machines["first"]
    joining = ""
    for label, lines in page():
        name = label.split()[0]
        if name == "first" and "kctl" in lines:
            eventually(lambda: "Server Version" in first.run("kctl version || true"))
        if name == "second":
            machines[name].run(joining)
        said = machines[name].run(lines)
        if label.endswith("join"):
            joining = said.strip()
            assert re.fullmatch(
                r"echo \w{6}\.\w{16} \| pinnace-nodeagent join 192\.0\.2\.1:6444 --token-file - --ca-hash \S+", joining
            )
    # The page starts agents in the background of this shell, and they may log something into what it prints.
    said = first.run("kctl get nodes -o name").splitlines()
    assert sorted(line for line in said if line.startswith("node/")) == ["node/first", "node/second"]
    _pods_talk(first, tmp_path)


def _pods_talk(first: Machine, tmp_path: Path) -> None:
    import json

    rootfs = tmp_path / "rootfs"
    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(rootfs)], check=True, timeout=DEADLINE)
    first.run(f"kctl image load {rootfs} --name busybox")
    for node in ("first", "second"):
        manifest = tmp_path / f"{node}.json"
        manifest.write_text(json.dumps(pod(f"on-{node}", nodeSelector={"kubernetes.io/hostname": node})))
        first.run(f"kctl apply -f {manifest}")
    first.run("kctl wait pod --all --for=condition=Ready --timeout=30s")
    address = first.run("kctl get pod on-second -o jsonpath='{.status.podIP}'")
    assert "1 packets received" in first.run(f"kctl exec on-first -- ping -c 1 -W 5 {address}")
    first.run("kctl delete pod --all --now")


def test_join_token_works_once(machines: dict[str, Machine]) -> None:
    """A second host with the same line is refused, and told why."""
    first = machines["first"]
    first.run("pinnace-controlplane --advertise 192.0.2.1 2>/dev/null &")
    eventually(lambda: "Server Version" in first.run("kctl version 2>&1 || true"))
    line = first.run("kctl node join-command").strip()
    machines["second"].run(line)
    assert "wrong, used up or expired" in machines["second"].run(f"{line} --node-name other 2>&1 || true")


def test_wrong_ca_hash_is_refused_before_the_token_is_shown(machines: dict[str, Machine]) -> None:
    """A host that is told another CA does not send its token, which therefore still works."""
    first = machines["first"]
    first.run("pinnace-controlplane --advertise 192.0.2.1 2>/dev/null &")
    eventually(lambda: "Server Version" in first.run("kctl version 2>&1 || true"))
    line = first.run("kctl node join-command").strip()
    wrong = re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", line)
    assert "is this the right host?" in machines["second"].run(f"{wrong} 2>&1 || true")
    assert "has joined" in machines["second"].run(line)
