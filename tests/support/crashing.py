"""Agents' networks that end at a chosen change of the kernel, as by SIGKILL: processes forked from one that has imported them.

`Forker` is for the tests; the process that it starts reads an `Order` in a line of JSON for each agent, and answers with a pid.
An agent is the parts that the product's has, put together in the order in which `nodeagent.agent` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.control.changes import Change
from nodeagent.linux import syscalls
from nodeagent.network.fastpath import bpf
from nodeagent.network.fastpath.fastpath import FastPath
from nodeagent.network.interface import Comparison, NetworkError, Peer
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.overlay import OverlayNetwork
from nodeagent.network.policies.enforcer import Enforcer
from nodeagent.network.policies.model import Pod
from nodeagent.network.reconciler import NetworkReconciler
from nodeagent.network.services.model import facts_of
from nodeagent.network.services.proxy import ServiceProxy
from nodeagent.network.vxlan import mac_of
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import SystemClock
from pinnace.policypeers import PeerSelector
from tests.support.deathsignal import end_with_parent
from tests.support.labs import eventually
from tests.support.policyworlds import message
from tests.support.services import service, slice_

ROOT = Path(__file__).resolve().parents[2]
CLUSTER, SERVICES, VIP, SERVED = "10.244.0.0/16", "10.96.0.0/12", "10.96.0.20", 8080
# Exit codes: at the chosen change, and of an agent that has failed.
CRASHED, FAILED = 77, 78
# A message to rtnetlink has a type, of which the two lowest bits say what it does: 2 reads.
_READS = 2


@dataclass(frozen=True)
class Order:
    """`crash_at`: the number of the change before which the agent ends, from 1; 0 for none. `directory` is the node's: its state,
    `ready`, a file that is there once nothing differs, and `log`."""

    node: int
    netns: str
    pod_netns: str
    directory: str
    crash_at: int = 0
    attach: bool = False


def pod_address(node: int) -> str:
    return f"10.244.{node}.2"


def underlay_address(node: int) -> str:
    return f"10.9.0.{node}"


class _Counted:
    """Changes of the kernel by this process, of which one is the last."""

    def __init__(self, crash_at: int) -> None:
        self._left = crash_at

    def before(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(CRASHED)

    def install(self) -> None:
        send, run, write, call = NetlinkSocket._send, Nftables._run_alone, pathlib.Path.write_text, bpf._call

        def counted_send(sock: NetlinkSocket, messages: Sequence[bytes]) -> None:
            types = [int.from_bytes(item[4:6], sys.byteorder) for item in messages]
            if sock._socket.proto == 0 and any(type_ % 4 != _READS for type_ in types):
                self.before()
            send(sock, messages)

        def counted_run(nft: Nftables, commands: bytes) -> bytes:
            if not commands.startswith(b"list "):
                self.before()
            return run(nft, commands)

        def counted_write(path: Path, *words: Any, **named: Any) -> int:
            if str(path).startswith("/proc/sys/"):
                self.before()
            return write(path, *words, **named)

        def counted_call(command: int, attribute: bytes, what: str) -> int:
            if command == bpf._LINK_CREATE:
                self.before()
            return call(command, attribute, what)

        NetlinkSocket._send = counted_send
        Nftables._run_alone = counted_run
        pathlib.Path.write_text = counted_write
        bpf._call = counted_call


def _welcome(node: int) -> nodes_pb2.Welcome:
    return nodes_pb2.Welcome(
        podCIDR=f"10.244.{node}.0/24", clusterCIDRs=[CLUSTER], vni=7, vxlanPort=4789, serviceCIDRs=[SERVICES]
    )  # fmt: skip


def _policies() -> list[Change]:
    """The other node's pod may connect to the second node's."""
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}], "policyTypes": ["Ingress"]}
    members = [nodes_pb2.PolicyGroupMember(podIPs=[pod_address(node)]) for node in (1, 2)]
    every = PeerSelector("default", (), ()).id()
    return [
        Change(f"PolicyGroup//{every}.0", None, nodes_pb2.PolicyGroup(members=members)),
        Change("NetworkPolicy/default/allow", None, message("default", "allow", spec)),
    ]


async def _no_health(health: object) -> None:
    pass


async def agent(order: Order) -> None:
    directory, clock, node = Path(order.directory), SystemClock(), order.node
    other, uid = 3 - node, f"pod-{node}"
    network = OverlayNetwork(directory / "forwarding", directory, fast_path=FastPath(clock, quiet=0.05))
    services = ServiceProxy(network, clock, _no_health)
    policies = Enforcer(network, clock, lambda namespace: True)
    network.configured = lambda found: services.configure(facts_of(found))
    peer = Peer(f"n{other}", (f"10.244.{other}.0/24",), underlay_address(other), mac_of(f"n{other}"))
    reconciler = NetworkReconciler(
        network, directory / "welcome.pb", clock, node=f"n{node}", peers=lambda: [peer], addresses=list,
        ranged=lambda: None,
    )  # fmt: skip
    reconciler.host_ips = (underlay_address(node),)
    services.changed([
        Change("Service/default/web", None, service(ip=VIP)),
        Change("EndpointSlice/default/web-1", None, slice_(pod_address(2), port=SERVED)),
    ])  # fmt: skip
    services.all_known()
    (directory / "welcome.pb").write_bytes(_welcome(node).SerializeToString())
    await reconciler.restore()
    policies.assigned(_policies())
    pod, address = Path(order.pod_netns), [pod_address(node)]
    if order.attach:
        await policies.isolate(uid, Pod("default", {}, tuple(address)))
        await network.attach(uid, pod, address)
    else:
        policies.update(uid, Pod("default", {}, tuple(address)))
        network.resume(uid, pod, address, ())
    tasks = [asyncio.ensure_future(part.run()) for part in (reconciler, services, policies)]
    await _settled(network, [services, policies])
    (directory / "ready").touch()
    await asyncio.gather(*tasks)


async def _settled(network: OverlayNetwork, parts: list[Any]) -> None:
    """Nothing differs, and nothing waits to be programmed."""
    while True:
        try:
            there = {concern for concern, items in network.ruleset.wanted().elements.items() if items}
            if {"services", "policy", "peers"} <= there and await network.verify() == Comparison():
                return
        except NetworkError as error:
            print("verify:", error, flush=True)
        await asyncio.sleep(0.05)


def _become(order: Order) -> None:
    """In a fork."""
    code = FAILED
    try:
        end_with_parent()
        os.setsid()
        log = os.open(f"{order.directory}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        with open(order.netns) as file:
            syscalls.setns(file.fileno(), syscalls.CLONE_NEWNET)
        print(f"--- agent of node {order.node}, which ends at change {order.crash_at}", flush=True)
        _Counted(order.crash_at).install()
        asyncio.run(agent(order))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def serve() -> None:
    """The process of `Forker`, until standard input ends; agents end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C reaches the whole process group, and finalizers of pytest run after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(order)
        print(pid, flush=True)


class Forker:
    """`close` ends all agents."""

    def __init__(self) -> None:
        program = "from tests.support.crashing import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def start(self, order: Order) -> int:
        """The agent's pid."""
        Path(order.directory, "ready").unlink(missing_ok=True)
        orders, pids = self._process.stdin, self._process.stdout
        assert orders is not None
        assert pids is not None
        orders.write(json.dumps(dataclasses.asdict(order)) + "\n")
        orders.flush()
        return int(pids.readline())

    def close(self) -> None:
        self._process.communicate(timeout=20)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def kill(pid: int) -> None:
    """As `kill -9`; returns once the process is gone, and with it what it held in the kernel."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # Without its forker, only PID 1 can wait for it, which is not an init everywhere.
    eventually(lambda: not runs(pid), within=10, every=0.005)
