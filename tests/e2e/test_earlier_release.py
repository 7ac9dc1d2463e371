"""An agent of today over the state of an earlier release: its pods run on, and what it left is removed with them.

tests/support/state-before-0.2.tar.gz is the state directory of a node as the agent of commit b7842fe left it, without keys,
images and what was in memory. Its pod `web` has a Secret in the environment of all containers: `first` has ended, `main` runs,
`crash` has ended once and runs. The containers that run are started from the bundles of that time.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.pods.worker import Worker
from nodeagent.runtime import seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.interface import ExecConfig, Handle, SandboxConfig
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import SystemClock, VirtualClock
from tests.support import awaiting
from tests.support.hosting import EveryImage, Host
from tests.support.labs import DEADLINE, PATIENCE, ROOT

pytestmark = pytest.mark.root
STATE = ROOT / "tests/support/state-before-0.2.tar.gz"
# The state directory in that state's own paths, the pod's UID, and the value of its Secret.
ONCE = "/var/lib/pinnace/labs/evold/nodes/node-1"
UID = "1fd2184e-481b-4629-a539-ad2fc8b57f3d"
SECRET = "opensesame-4711"

eventually = partial(awaiting.eventually, within=60 * PATIENCE)


class Node:
    """A node with that state, whose containers run; `take_over` is the agent of today."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.native = NativeRuntime(folder, SystemClock())
        self.cgroups = Cgroups(f"t-pinnace-earlier-{os.getpid()}")
        self.host = Host(folder, self.native, VirtualClock(SystemClock().now()))
        self.pod = folder / "pods" / UID
        self.began: dict[str, Handle] = {}
        with tarfile.open(STATE) as archive:
            archive.extractall(folder, filter="data")

    async def begin(self) -> None:
        """The containers, from their bundles as they are."""
        subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(self.folder / "rootfs")], check=True, timeout=DEADLINE)
        await self.native.create_sandbox(SandboxConfig(self.pod / "sandbox", "web"))
        for path in self.pod.glob("containers/*/*/config.json"):
            config = json.loads(path.read_text().replace(ONCE, str(self.folder)))
            name = f"{path.parent.parent.name}-{path.parent.name}"
            config["cgroups"] = self.cgroups.create(f"besteffort/pod{UID}/{name}", Limits(), leaf=True)
            config["layers"] = [str(self.folder / "rootfs")]
            config["seccomp"] = str(seccomp.compiled(self.folder / "seccomp", tuple(config["capabilities"])))
            path.write_text(json.dumps(config))
        for bundle in (self.pod / "containers/main/0", self.pod / "containers/crash/1"):
            (bundle / "state.json").unlink()
            self.began[bundle.parent.name] = await self.native.start(bundle)

    def take_over(self) -> Worker:
        assignment = Assignment(self.folder / "assignment", self.folder / "memory/secrets")
        assignment.restore()
        [(_, item)] = assignment.pods()
        images: Any = EveryImage()
        made = self.host.deps(images=images, puller=images)
        return Worker(replace(made, cgroups=self.cgroups, lookup=assignment.lookup), item)

    async def output(self, container: str, *command: str) -> str:
        """Of a command in a container; it must succeed."""
        with open(self.folder / "output", "w+") as out, open(os.devnull) as null:
            stdio = (null.fileno(), out.fileno(), out.fileno())
            code = await self.native.exec(self.began[container], ExecConfig(command), stdio)
            out.seek(0)
            said = out.read()
        assert code == 0, said
        return said

    def holding_the_secret(self) -> list[Path]:
        """Files on the disk, which all are but those in `memory` and in file systems that are mounted in it."""
        command = ["find", str(self.folder), "-xdev", "-path", f"{self.folder}/memory", "-prune", "-o", "-type", "f", "-print0"]
        found = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=True).stdout.split(b"\0")
        return [path for name in found if name and SECRET.encode() in (path := Path(name.decode())).read_bytes()]

    async def close(self) -> None:
        self.cgroups.kill("besteffort")
        await self.native.remove_sandbox(self.pod / "sandbox")
        await self.native.close()
        if (launcher := self.native.launcher) is not None:
            launcher.terminate()
            launcher.wait(DEADLINE)
        await eventually(lambda: self.cgroups.remove("besteffort"))
        self.cgroups.prune()
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{self.folder}/" in line]
        assert not mounts, mounts


@asynccontextmanager
async def upgraded(folder: Path) -> AsyncIterator[tuple[Node, Worker]]:
    """The node, and the pod's worker in the agent of today, which ends the pod afterwards: nothing of it is left."""
    node = Node(folder)
    try:
        await node.begin()
        assert node.holding_the_secret() != []
        worker = node.take_over()
        task = asyncio.ensure_future(worker.run())
        try:
            yield node, worker
        finally:
            worker.leave()
            await eventually(task.done, clock=node.host.clock, step=0.5)
            await task
        assert node.host.reports[-1][1]
        assert not node.pod.exists()
        assert not list((folder / "logs").iterdir())
    finally:
        await node.close()


async def test_a_pod_of_an_earlier_release_runs_on_and_leaves_nothing(tmp_path: Path) -> None:
    """Its containers are not touched, no hook runs again, and a command enters them; status and counts continue."""
    async with upgraded(tmp_path) as (node, worker):
        reported = await eventually(lambda: node.host.reports and node.host.reports[-1][0], clock=node.host.clock, step=0.1)
        before = worker._state.checkpoint.load_status()
        assert worker.handles == node.began
        assert reported.phase == "Running"
        states = {item.name: item for item in (*reported.initContainerStatuses, *reported.containerStatuses)}
        assert {name: (item.restartCount, item.ready) for name, item in states.items()} == {
            "first": (0, True), "main": (0, True), "crash": (1, True),
        }  # fmt: skip
        assert states["crash"].lastState.terminated.exitCode == 3
        assert (reported.podIP, reported.startTime) == ("10.244.0.2", before.startTime)
        await eventually(lambda: ["true"] in node.host.executed, clock=node.host.clock, step=0.5)
        assert all(command == ["true"] for command in node.host.executed), "the readiness probe's"
        assert await node.output("main", "sh", "-c", "echo $PASSWORD; cat /work/hooks") == f"{SECRET}\nonce\n"
        assert node.host.events == []


async def test_secrets_of_an_earlier_release_leave_the_disk(tmp_path: Path) -> None:
    """Also those in the configuration of containers that have ended."""
    async with upgraded(tmp_path) as (node, _):
        await eventually(lambda: node.host.reports)
        await eventually(lambda: node.holding_the_secret() == [])
        assert await node.output("crash", "sh", "-c", "echo $PASSWORD") == f"{SECRET}\n"
