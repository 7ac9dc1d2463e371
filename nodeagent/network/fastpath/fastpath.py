"""The fast path: packets of established connections between pods pass by bridge, routes, connection tracking and rules.

nftables stays the authority. A packet is forwarded past it only if one of the same connection and direction passed it within
`MAX_AGE` seconds, and nothing has changed since, as far as the agent knows: each change begins a new *generation*, and flows of
earlier ones do not count.

    learn     egress of pinnace-vx and pinnace0         a packet that the rules have marked: its flow is recorded
    forward   ingress of pinnace-vx and of each port    a packet of a recorded flow: sent on at once

A packet may be between the rules and `learn` while the rules change, and be recorded in the new generation. Each packet is
forwarded within a read-side section of the kernel's RCU: so a second generation begins after a grace period, when all of these
have ended. That takes some 10 ms, as does attaching a program; both are done on a thread of their own. (One that waits for a
neighbour that was deleted may be later, and `MAX_AGE` bounds that: neighbours of the overlay are permanent.)

Links of programs to devices are held by the agent's file descriptors, and nothing is pinned: when the agent ends, the fast path
ends with it, and all traffic takes the slow path.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nodeagent.network.fastpath.bpf import EGRESS, INGRESS
from nodeagent.network.fastpath.objects import Objects
from nodeagent.network.fastpath.parsing import ETHERNET
from pinnace import clock as clocks
from pinnace.clock import Clock

log = logging.getLogger("pinnace.network")
# Seconds without a new port until programs are attached, and the longest that a port waits: attaching holds a lock of the
# kernel's that pods which start wait for.
QUIET, PATIENCE = 1.0, 15.0
# Seconds that closing waits for the thread.
_CLOSING = 10.0
# linux/membarrier.h, MEMBARRIER_CMD_GLOBAL: waits for a grace period.
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}[os.uname().machine]
_GLOBAL = 1
# Seconds instead, where the kernel refuses (nohz_full): much longer than a packet is on its way.
_MOMENT = 0.2
_syscall = ctypes.CDLL(None, use_errno=True)["syscall"]


@dataclass(frozen=True, slots=True)
class _Node:
    """Indexes of the devices; bytes of the longest frame."""

    vxlan: int = 0
    bridge: int = 0
    limit: int = 0


@dataclass(slots=True)
class _State:
    """What is wanted; guarded by the lock. `ports` has indexes and addresses by device. `due`: when programs are attached, and
    `since`: when that was first wanted."""

    node: _Node = field(default_factory=_Node)
    ports: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    generation: int = 0
    due: float | None = None
    since: float = 0.0
    closing: bool = False


class FastPath:
    """From threads of the node's network namespace. All methods raise OSError, and without `open` do nothing."""

    def __init__(self, clock: Clock, quiet: float = QUIET, make: Callable[[], Objects] = Objects) -> None:
        self._clock, self._quiet, self._make = clock, quiet, make
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._state = _State()
        self._kernel: Objects | None = None
        # File descriptors by index of the device and place; of the thread.
        self._links: dict[tuple[int, int], int] = {}
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        return self._thread is not None and not self._state.closing

    def open(self) -> None:
        self._kernel = self._make()
        self._thread = threading.Thread(target=self._run, name="fast path", daemon=True)
        self._thread.start()

    def configure(self, *, vxlan: int, bridge: int, mtu: int) -> None:
        """The node's devices by index."""
        node = _Node(vxlan, bridge, mtu + ETHERNET)
        with self._lock:
            if node != self._state.node:
                self._state.node = node
                self._attach_soon()
        self.bump()

    def bind(self, device: str, index: int, addresses: Sequence[str]) -> None:
        """A pod's port, with the addresses that it may send from."""
        port = index, tuple(addresses)
        with self._lock:
            if self._kernel is None or self._state.ports.get(device) == port:
                return
            self._forget(device, self._kernel)
            self._state.ports[device] = port
            for address in addresses:
                self._kernel.add_port(address, index)
            self._attach_soon()
        self.bump()

    def unbind(self, device: str) -> None:
        """The port is gone."""
        with self._lock:
            if self._kernel is None or device not in self._state.ports:
                return
            self._forget(device, self._kernel)
            self._attach_soon()
        self.bump()

    def _forget(self, device: str, kernel: Objects) -> None:
        index, addresses = self._state.ports.pop(device, (0, ()))
        for address in addresses:
            kernel.remove_port(address, index)

    def bump(self) -> None:
        """Something has changed that packets depend on: flows that were learnt until now do not count."""
        self._next_generation()
        self._wake.set()

    def _next_generation(self) -> None:
        """If that fails, flows would outlive the change: the fast path ends."""
        with self._lock:
            state, node = self._state, self._state.node
            if self._kernel is None:
                return
            state.generation = state.generation + 1 & 0xFFFFFFFF
            try:
                self._kernel.configure(state.generation, vxlan=node.vxlan, bridge=node.bridge, limit=node.limit)
            except OSError:
                state.closing = True
                self._wake.set()
                raise

    def packets(self) -> dict[str, int]:
        """Packets since the agent started, by result; empty without the fast path."""
        with self._lock:
            return self._kernel.packets() if self._kernel is not None else {}

    def _attach_soon(self) -> None:
        state, now = self._state, self._clock.monotonic()
        state.since = state.since if state.due is not None else now
        state.due = min(now + self._quiet, state.since + PATIENCE)

    def _run(self) -> None:
        try:
            while not self._state.closing:
                self._step()
        finally:
            for fd in self._links.values():
                os.close(fd)
            self._links.clear()

    def _step(self) -> None:
        due = self._state.due
        woken = self._wake.wait(max(due - self._clock.monotonic(), 0) if due is not None else None)
        try:
            if woken:
                self._wake.clear()
                _wait_for_packets()
                self._next_generation()
            if due is not None and self._clock.monotonic() >= due:
                self._attach()
        except OSError as error:
            log.error("fast_path_failed error=%s", error)

    def _attach(self) -> None:
        """The wanted links, and no others. A device that has gone has none."""
        with self._lock:
            kernel, node, ports = self._kernel, self._state.node, list(self._state.ports.values())
            self._state.due = None
        wanted = {(node.vxlan, INGRESS), (node.vxlan, EGRESS), (node.bridge, EGRESS)} if node.vxlan else set()
        wanted |= {(index, INGRESS) for index, _ in ports}
        for key in self._links.keys() - wanted:
            os.close(self._links.pop(key))
        for index, place in sorted(wanted - self._links.keys()):
            if kernel is None or self._state.closing:
                return
            try:
                self._links[index, place] = kernel.attach(index, place)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    log.error("fast_path_not_attached device=%d error=%s", index, error)

    def close(self) -> None:
        with self._lock:
            self._state.closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_CLOSING)
        with self._lock:
            kernel, self._kernel, self._thread = self._kernel, None, None
        if kernel is not None:
            kernel.close()


def _wait_for_packets() -> None:
    """Until those that are being forwarded have left."""
    if int(_syscall(_MEMBARRIER, _GLOBAL, 0, 0)) < 0:
        clocks.pause(_MOMENT)
