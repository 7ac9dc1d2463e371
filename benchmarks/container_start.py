"""Create, start and exit of `/bin/true`: the native runtime without and with network, and `runc run`, in one run.

All three take turns, so that what disturbs the machine disturbs them alike. A native run is a whole pod of one container:
cgroups, sandbox, bundle, start, end, and removal of sandbox and cgroups. The files of the bundle, which an agent keeps for
`kctl logs`, are deleted outside of the measure, as runc's bundle is. runc's is one process for each container, on a root
filesystem that is there already (it has no overlay to mount), otherwise with the same isolation: namespaces, filter,
capabilities, masks, limits.

Both sides' files lie on a fresh ext4 with its journal, on a loop device, as most machines have it: what a file system makes
of files that earlier work has deleted is not what is to be measured (an ext4 without a journal steps over them for minutes,
and takes ten times as long to make a file). `--folder` takes a folder as it is instead.

Everything happens in mount and network namespaces of the benchmark's own: they take away with them what it left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support import DEADLINE, ROOT, client, lab, percentiles, remove_pods, start_pods

from nodeagent.runtime.cgroups import Limits

WARM_UP, RUNS = 5, 60
PODS = 100
# Bytes of the file system, of which few are ever written.
DISK = 1 << 30
UNDERLAY = "192.0.2.1"
CGROUP = "pinnace-bench-start"
# Of a whole core, as runc's container has it: one without requests would wait for whatever else the machine does.
WEIGHT = Limits(cpu_request=1000)


class Bench:
    def __init__(self, folder: Path, rootfs: Path) -> None:
        from nodeagent.network.overlay import OverlayNetwork
        from nodeagent.runtime.cgroups import Cgroups
        from nodeagent.runtime.nativeruntime import NativeRuntime
        from pinnace.clock import SystemClock

        self.folder, self.rootfs = folder, rootfs
        self.runtime = NativeRuntime(folder, SystemClock())
        self.network = OverlayNetwork(folder / "forwarding", folder)
        self.cgroups = Cgroups(CGROUP, node=WEIGHT)

    async def set_up(self) -> None:
        from nodeagent.network.interface import Node

        # An underlay for the overlay's devices: nothing else is in this network namespace.
        for command in ("add under0 type bridge", "set under0 up", "set lo up"):
            subprocess.run(["ip", "link", *command.split()], check=True, timeout=DEADLINE)
        subprocess.run(["ip", "address", "add", f"{UNDERLAY}/24", "dev", "under0"], check=True, timeout=DEADLINE)
        node = Node(("10.99.1.0/24",), ("10.99.0.0/16",), UNDERLAY, "02:00:00:00:00:01", 99, 4789)
        await self.network.setup(node)
        await self.runtime.warm()

    async def close(self) -> None:
        await self.network.close()
        await self.runtime.close()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.connect(str(self.folder / "launcher.sock"))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
        self.cgroups.prune()

    def config(self, sandbox: Path, bundle: Path, cgroups: tuple[str, ...]) -> Any:
        """What a pod that says nothing about its isolation gets."""
        from nodeagent.linux.capabilities import DEFAULT
        from nodeagent.runtime import seccomp
        from nodeagent.runtime.interface import ContainerConfig

        return ContainerConfig(
            args=("/bin/true",), env=("PATH=/bin",), cwd="/", layers=(str(self.rootfs),), sandbox=str(sandbox),
            log=str(bundle / "log"), cgroups=cgroups, hierarchies=tuple(self.cgroups.hierarchies), capabilities=DEFAULT,
            seccomp=str(seccomp.compiled(self.folder / "seccomp", DEFAULT)), oom_score_adj=1000,
        )  # fmt: skip

    async def native(self, number: int, *, network: bool) -> float:
        """Milliseconds of one pod, from nothing until nothing of it runs or is mounted."""
        from nodeagent.runtime.interface import SandboxConfig

        name = f"pod{number}{'n' if network else ''}"
        pod = self.folder / name
        bundle = pod / "0"
        begun = time.perf_counter()
        self.cgroups.create(name, WEIGHT, leaf=False)
        await self.runtime.create_sandbox(SandboxConfig(pod / "sandbox", name))
        if network:
            await self.network.attach(name, pod / "sandbox/ns/net", [f"10.99.1.{number % 200 + 10}"])
        bundle.mkdir(parents=True)
        config = self.config(pod / "sandbox", bundle, self.cgroups.create(f"{name}/main", WEIGHT, leaf=True))
        (bundle / "config.json").write_text(json.dumps(asdict(config)))
        end = await self.runtime.wait(await self.runtime.start(bundle))
        if network:
            await self.network.detach(name)
        await self.runtime.remove_sandbox(pod / "sandbox")
        if not self.cgroups.remove(name) or end.code != 0:
            raise SystemExit(f"the container did not end well: {end}")
        took = (time.perf_counter() - begun) * 1000
        shutil.rmtree(pod)
        return took

    def make_runc_bundle(self) -> Path:
        """The same container for runc, which makes the namespaces too that a sandbox has."""
        from nodeagent.launcher import init
        from nodeagent.runtime.oci import filters
        from nodeagent.runtime.oci.spec import Layout, spec

        bundle = self.folder / "runc"
        bundle.mkdir()
        config = json.loads(json.dumps(asdict(self.config(bundle, bundle, ()))))
        layout = Layout(str(self.rootfs), "", "", "")
        made = spec(config, layout, seccomp=filters.profile(config), rlimits=init.rlimits(), devices=[])
        for namespace in made["linux"]["namespaces"]:
            namespace.pop("path", None)
        for mount in made["mounts"]:
            if mount["destination"] == "/dev/shm":
                mount |= {"type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]}
        made["hostname"] = "bench"
        (bundle / "config.json").write_text(json.dumps(made))
        return bundle

    def runc(self, bundle: Path, number: int) -> float:
        command = ["runc", "--root", str(self.folder / "runc-root"), "run", f"bench-{os.getpid()}-{number}"]
        begun = time.perf_counter()
        subprocess.run(command, cwd=bundle, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=DEADLINE)
        return (time.perf_counter() - begun) * 1000


@contextlib.contextmanager
def disk() -> Iterator[str]:
    """A folder of a fresh file system, in this mount namespace only."""
    with tempfile.TemporaryDirectory(prefix="pinnace-bench-") as folder:
        image, target = Path(folder) / "disk", Path(folder) / "on"
        target.mkdir()
        with image.open("wb") as file:
            file.truncate(DISK)
        for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(target)]):
            subprocess.run(command, check=True, timeout=DEADLINE)
        try:
            yield str(target)
        finally:
            subprocess.run(["umount", "-l", str(target)], check=True, timeout=DEADLINE)


@contextlib.asynccontextmanager
async def bench(folder: str) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="pinnace-bench-", dir=folder) as place:
        rootfs = Path(place) / "rootfs"
        subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(rootfs)], check=True, timeout=DEADLINE)
        made = Bench(Path(place), rootfs)
        await made.set_up()
        try:
            yield made
        finally:
            await made.close()


async def starts(folder: str) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"native_ms": [], "native_net_ms": [], "runc_ms": []}
    async with bench(folder) as made:
        bundle = made.make_runc_bundle()
        for number in range(WARM_UP + RUNS):
            round_ = {
                "native_ms": await made.native(number, network=False),
                "native_net_ms": await made.native(number, network=True),
                "runc_ms": made.runc(bundle, number),
            }
            if number >= WARM_UP:
                for name, value in round_.items():
                    took[name].append(value)
    return took


def pods_per_s() -> float:
    """Pods of one node from Apply until the last of them is Ready."""
    with lab("bench-start", 1) as (config, _):
        connection = client(config)
        start_pods(connection, ["warm"])
        remove_pods(connection, ["warm"])
        names = [f"pod-{number}" for number in range(PODS)]
        seconds = start_pods(connection, names)
        remove_pods(connection, names)
    return PODS / seconds


def measured_apart(folder: str) -> dict[str, list[float]]:
    """`starts` in a child with mount and network namespaces of its own; the lab is made outside of them."""
    from nodeagent.linux import syscalls as sc

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sc.unshare(sc.CLONE_NEWNET | sc.CLONE_NEWNS)
            sc.mount("", "/", "", sc.MS_REC | sc.MS_PRIVATE)
            with contextlib.nullcontext(folder) if folder else disk() as place:
                os.write(write, json.dumps(asyncio.run(starts(place))).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the measurement failed")
    return dict(json.loads(data))


def main() -> None:
    parser = argparse.ArgumentParser(description="Create, start and exit of /bin/true: the native runtime against runc.")
    parser.add_argument("--folder", default="", help="where the files lie; a fresh ext4 with its journal by default")
    took = measured_apart(parser.parse_args().folder)
    result: dict[str, Any] = {name: percentiles(values) for name, values in took.items()}
    result["ratio"] = round(result["native_ms"]["p50"] / result["runc_ms"]["p50"], 3)
    result["pods_per_s"] = round(pods_per_s(), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
