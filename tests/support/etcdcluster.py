"""A real etcd cluster of three members, each of which can be killed and frozen."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cli.lab.netns import entered
from tests.support.underlay import Host

START_DEADLINE = 60.0


class Members:
    """Endpoints, and processes by their index; each may have a host of its own. `leader` is the index of the present one."""

    def __init__(self, folder: Path, clients: Sequence[str], peers: Sequence[str], hosts: Sequence[Host] = ()) -> None:
        """`clients` and `peers`: the addresses, HOST:PORT, on which they serve clients and each other."""
        self._folder = folder
        self.endpoints = list(clients)
        self._peers = [f"http://{peer}" for peer in peers]
        self.hosts = list(hosts)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        os.makedirs(self._folder, exist_ok=True)
        for index in range(len(self.endpoints)):
            self.start_one(index)

    def start_one(self, index: int) -> None:
        """Also one that was killed, with what it had on disk."""
        binary = shutil.which("etcd")
        if binary is None:
            pytest.skip("etcd is not installed (Debian: etcd-server)")
        endpoint, peer = self.endpoints[index], self._peers[index]
        cluster = ",".join(f"m{n}={peer}" for n, peer in enumerate(self._peers))
        command = [
            binary, f"--name=m{index}", f"--data-dir={self._folder / str(index)}", "--unsafe-no-fsync",
            f"--listen-client-urls=http://{endpoint}", f"--advertise-client-urls=http://{endpoint}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster={cluster}",
        ]  # fmt: skip
        with open(self._folder / f"{index}.log", "ab") as log:
            if self.hosts:
                self._processes[index] = self.hosts[index].start(command, log)
            else:
                self._processes[index] = subprocess.Popen(command, stdout=log, stderr=log)

    async def healthy(self) -> None:
        """Wait until every member has a leader."""
        async with asyncio.timeout(START_DEADLINE):
            while not all([await asyncio.to_thread(self.is_healthy, n) for n in range(len(self.endpoints))]):
                await asyncio.sleep(0.1)

    def is_healthy(self, index: int) -> bool:
        """Whether a member answers and has a leader."""
        with self._near(index):
            return _healthy(self.endpoints[index])

    async def leader(self) -> int:
        """The index of the leader."""
        return await asyncio.to_thread(self.find_leader)

    def find_leader(self) -> int:
        for n, endpoint in enumerate(self.endpoints):
            with self._near(n):
                status = _status(endpoint)
            if status["leader"] == status["header"]["member_id"]:
                return n
        raise AssertionError("no member is the leader")

    def _near(self, index: int) -> AbstractContextManager[None]:
        """Where the calling thread reaches a member."""
        return entered(self.hosts[index].namespace) if self.hosts else nullcontext()

    def freeze(self, index: int) -> None:
        self._processes[index].send_signal(signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        self._processes[index].send_signal(signal.SIGCONT)

    def kill(self, index: int) -> None:
        self._processes[index].kill()
        self._processes[index].wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def _healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{endpoint}/health", timeout=1) as answer:
            return b"true" in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def _status(endpoint: str) -> Any:
    request = urllib.request.Request(f"http://{endpoint}/v3/maintenance/status", data=b"{}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


@asynccontextmanager
async def three(folder: Path, ports: list[int]) -> AsyncIterator[Members]:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    members = Members(folder, addresses[:3], addresses[3:])
    try:
        members.start()
        await members.healthy()
        yield members
    finally:
        members.stop()
