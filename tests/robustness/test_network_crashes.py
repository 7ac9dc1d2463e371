"""An agent that ends at any change that it makes to the kernel's network, as by `kill -9`: its successor completes it.

For numbers of changes, an agent is started that ends before that change, and then one that does not. Two nodes with a pod each;
connections between the pods, directly and through a Service, by a policy and with the fast path, last from the first change to the
last.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import crashing, netreport
from tests.support.conversations import Conversation
from tests.support.crashing import SERVED, VIP, Forker, Order, pod_address, underlay_address
from tests.support.labs import PATIENCE, eventually
from tests.support.networks import pinned
from tests.support.shells import inside

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200 * PATIENCE)]
# Every how many changes an agent ends; 0 for the test's own number. The first one is drawn: over many runs, it is each of them.
STEP = int(os.environ.get("PINNACE_CRASH_STEP", "0"))
# Seconds for all of one test; changes that are left then are reported.
BUDGET = 60.0 * PATIENCE
# Seconds until an agent that has started finds no difference: five are promised, and a busy machine needs more to start it.
HEALED = 30.0
# On node 1: much of what it keeps is gone, or another.
DAMAGE = """
    ip route del 10.244.2.0/24; ip neigh flush dev pinnace-vx nud permanent; ip link del pinnace-vx
    ip link set "$(ls /sys/class/net | grep ^pnc)" nomaster || true
    ip address flush dev pinnace0; ip neigh flush dev pinnace0 nud permanent
    nft flush chain inet pinnace guard; nft flush set inet pinnace peers_4; nft delete table bridge pinnace
    sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.pinnace0.proxy_arp_pvlan=0 net.netfilter.nf_conntrack_tcp_be_liberal=0
"""


class Place:
    def __init__(self, forker: Forker, directory: Path, netns: dict[str, Path]) -> None:
        self._forker, self.directory, self.netns = forker, directory, netns
        self._agents: dict[int, int] = {}
        for node in (1, 2):
            (directory / str(node)).mkdir()
            underlay = f"ip link set lo up; ip link set under0 up; ip address add {underlay_address(node)}/24 dev under0"
            inside(netns[f"node {node}"], f"{self._veth() if node == 1 else ''}{underlay}")
            self.start(node, attach=True)
        for node in (1, 2):
            self.settle(node)
        client, server = netns["pod 1"], netns["pod 2"]
        self.conversations = {
            "direct": Conversation(client, server, pod_address(2)),
            "service": Conversation(client, server, pod_address(2), target=(VIP, 80), port=SERVED),
        }

    def _veth(self) -> str:
        return f"ip link add under0 type veth peer name under0 netns {self.netns['node 2']}; "

    def close(self) -> None:
        for conversation in self.conversations.values():
            conversation.close()
        for node in list(self._agents):
            self.kill(node)

    def start(self, node: int, *, crash_at: int = 0, attach: bool = False) -> None:
        directory = self.directory / str(node)
        order = Order(
            node, str(self.netns[f"node {node}"]), str(self.netns[f"pod {node}"]), str(directory), crash_at=crash_at, attach=attach
        )  # fmt: skip
        self._agents[node] = self._forker.start(order)

    def kill(self, node: int) -> None:
        crashing.kill(self._agents.pop(node))

    def is_settled(self, node: int) -> bool:
        return (self.directory / str(node) / "ready").exists()

    def settle(self, node: int) -> None:
        """The agent finds no difference any more."""
        eventually(lambda: self.is_settled(node), within=HEALED, every=0.02)

    def crashes(self, node: int, number: int) -> bool:
        """An agent is started, and ends at this change; False if it makes fewer until nothing differs."""
        self.start(node, crash_at=number)
        pid = self._agents[node]
        eventually(lambda: not crashing.runs(pid) or self.is_settled(node), within=HEALED, every=0.01)
        if crashing.runs(pid):
            self.kill(node)
            return False
        del self._agents[node]
        return True

    def goes_on(self, *names: str) -> bool:
        return all(self.conversations[name].goes_on() for name in names)

    def log(self, node: int) -> str:
        return (self.directory / str(node) / "log").read_text()

    def report(self, node: int) -> str:
        """The explanation of a stalled connection, or of a difference that an agent finds for ever."""
        found = [f"{name}: {conversation}" for name, conversation in self.conversations.items()]
        found += [f"==== {name}\n{netreport.namespace(path)}\n{netreport.links(path)}" for name, path in self.netns.items()]
        return "\n".join([*found, "==== log", self.log(node)[-netreport.MOST_OF_LOG :]])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("crashes")
    with contextlib.ExitStack() as stack:
        names = ("node 1", "node 2", "pod 1", "pod 2")
        netns = {name: stack.enter_context(pinned(directory / name.replace(" ", "-"))) for name in names}
        forker = stack.enter_context(contextlib.closing(Forker()))
        yield stack.enter_context(contextlib.closing(Place(forker, directory, netns)))


@contextlib.contextmanager
def explained(place: Place, node: int, number: int) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        error.add_note(f"at change {number}\n{place.report(node)}")
        raise


def numbers(step: int) -> Iterator[int]:
    """Of changes, as far as there is time."""
    deadline = time.monotonic() + BUDGET
    for number in itertools.count(random.SystemRandom().randint(1, STEP or step), STEP or step):
        if time.monotonic() > deadline:
            print(f"from change {number} on nothing was tried: more time is needed")
            return
        yield number


@pytest.mark.parametrize(("node", "step"), [(1, 1), (2, 2)])
def test_an_agent_that_ends_at_any_change_of_its_start_interrupts_nothing(place: Place, node: int, step: int) -> None:
    """The network was as wanted before: connections continue without an agent, and with the next one."""
    for number in numbers(step):
        with explained(place, node, number):
            place.kill(node)
            if not place.crashes(node, number):
                place.start(node)
                break
            assert place.goes_on("direct", "service")
            place.start(node)
            place.settle(node)
            assert place.goes_on("direct", "service")
    print(f"{number - 1} changes")
    assert number > 5
    assert "Traceback" not in place.log(node)


def test_an_agent_that_ends_at_any_change_of_a_repair_is_completed_by_the_next_one(place: Place) -> None:
    place.settle(1)
    for number in numbers(5):
        with explained(place, 1, number):
            place.kill(1)
            inside(place.netns["node 1"], DAMAGE)
            if not place.crashes(1, number):
                place.start(1)
                break
            place.start(1)
            place.settle(1)
            assert place.goes_on("direct", "service")
    print(f"{number - 1} changes")
    assert number > 5
    assert "Traceback" not in place.log(1)


def test_the_fast_path_ends_with_both_agents_and_begins_with_the_next_ones(place: Place) -> None:
    """Connection tracking has seen few of the packets until then; those of a Service are translated by it all the same."""
    for _ in range(5):
        time.sleep(0.3)
        with explained(place, 1, 0):
            for node in (1, 2):
                place.kill(node)
            assert place.goes_on("direct", "service")
            for node in (1, 2):
                place.start(node)
            for node in (1, 2):
                place.settle(node)
            assert place.goes_on("direct", "service")
