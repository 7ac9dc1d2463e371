"""Keeps the kernel's rules of NetworkPolicies as the assignment and the node's pods want them.

    assignment ──► assigned ─┐
    pods' workers ► isolate ─┴► changes ──► compiler, and nftables: on the network's thread, in one transaction

The first change is programmed at once. Those that come within the next INTERVAL are put into the next transactions together
(see `pending`). A pod is isolated before it is attached, without a pause; nothing waits where its namespace has no policy.
After a failure everything is computed anew and compared with the kernel.

The policies of a namespace leave the assignment with its last pod there, which may still run: it was deleted by force. They
are removed when the node has no pod of the namespace any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from nodeagent.network.interface import NetworkError
from nodeagent.network.policies import budget, evaluator, pending, reader, shares
from nodeagent.network.policies.budget import Budget
from nodeagent.network.policies.compiler import Changes, Compiler
from nodeagent.network.policies.evaluator import Traffic, Verdict
from nodeagent.network.policies.model import Block, Group, Pod, Policy
from nodeagent.network.policies.pending import Pending
from nodeagent.network.policies.profiles import Key
from nodeagent.network.policies.skeleton import CONCERN
from nodeagent.network.ruleset import Ruleset
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicy

log = logging.getLogger("pinnace.policies")
# The kind of slices of groups in an assignment (`control.policygroups`).
GROUP = "PolicyGroup"
# Seconds before another attempt after a failure.
RETRY = 1.0
# Seconds from a transaction to the next one of what has changed meanwhile: a transaction costs some 20 ms, however little it
# changes, and a thousand policies that are applied come one by one.
INTERVAL = 0.1
_LEFT_OUT = (
    "{} NetworkPolicies of namespace {} allow nothing on this node: all of the namespace have more than "
    f"{budget.MOST.grants:,} pairs of a peer and a port together, {budget.MOST.sources:,} peers (ipBlocks of a rule are one), "
    f"or {budget.MOST.ranges:,} ipBlocks and exceptions"
)
_BLOCKS_LEFT_OUT = (
    "{} ipBlocks of namespace {} allow nothing on this node: those of all namespaces overlap too much "
    f"(more than {shares.MAX_NAMED:,} ranges), and this namespace is among those with the most"
)
_UNKNOWN = (
    "the NetworkPolicies of namespace {} are not known: a pod of it starts without those that the control plane has yet to send"
)


class Network(Protocol):
    async def program(self, work: Callable[[Ruleset], None]) -> None:
        """Call `work` on the network's thread. Raises NetworkError."""


class Change(Protocol):
    """Of the assignment: a policy or a slice by KIND/NAMESPACE/NAME. `new` None: it is gone."""

    @property
    def key(self) -> str: ...

    @property
    def new(self) -> Any | None: ...


class Enforcer:
    def __init__(
        self,
        network: Network,
        clock: Clock,
        policed: Callable[[str], bool],
        *,
        portion: int = pending.PORTION,
        compiler: Callable[[], Compiler] = Compiler,
    ) -> None:
        """`policed`: whether the assignment has the policies of a namespace, those that there are; if not, it says nothing of
        them. `portion`: elements of a transaction, at most (see `pending`). `compiler` makes one for everything, also after a
        failure."""
        self._new_compiler = compiler
        self._policed = policed
        self._network = network
        self._clock = clock
        self._policies: dict[Key, Policy] = {}
        self._slices: dict[str, Group] = {}
        self._pods: dict[str, Pod] = {}
        # Policies of each namespace, and pods.
        self._in_namespace, self._pods_of = Counter[str](), Counter[str]()
        # Policies that the assignment no longer has, of namespaces of which the node still has pods.
        self._withdrawn: dict[str, set[Key]] = {}
        self._budget = Budget()
        self._pending = Pending(portion)
        # Of what the kernel has; None: it is computed anew.
        self._compiler: Compiler | None = None
        # Blocks that the kernel does not have, by namespace.
        self._blocks_left_out: Mapping[str, frozenset[Block]] = {}
        self._programming = asyncio.Lock()
        self._changed = asyncio.Event()
        # Of the node: reason, message, and whether it is a warning.
        self.event: Callable[[str, str, bool], None] = lambda reason, message, warning: None

    def assigned(self, changes: Iterable[Change]) -> None:
        """Policies and slices of groups that are new, changed or gone."""
        policies = dict[Key, Policy | None]()
        for change in changes:
            kind, namespace, name = change.key.split("/", 2)
            if kind == GROUP:
                self._set_slice(name, reader.group(change.new) if change.new is not None else None)
            elif kind == kinds.NETWORK_POLICY.kind:
                policies[namespace, name] = _read(change.new) if change.new is not None else None
        self._change({key: policy for key, policy in policies.items() if not self._withhold(key, policy)})
        self.settle()

    def settle(self) -> None:
        """Remove what `_withhold` kept, where the node's pods have ended or the assignment has the namespace again.
        Call it when the assignment's pods have changed."""
        over = [name for name in self._withdrawn if not self._pods_of[name] or self._policed(name)]
        if over:
            self._change({key: None for name in over for key in self._withdrawn.pop(name)})

    def _withhold(self, key: Key, policy: Policy | None) -> bool:
        """Whether a policy stays as it is for pods that are ending."""
        withheld = policy is None and self._pods_of[key[0]] > 0 and not self._policed(key[0])
        if withheld and key in self._policies:
            self._withdrawn.setdefault(key[0], set()).add(key)
        elif not withheld and key[0] in self._withdrawn:
            self._withdrawn[key[0]].discard(key)
        return withheld

    def _change(self, policies: Mapping[Key, Policy | None]) -> None:
        before = self._budget.left_out.copy()
        for key, policy in self._budget.change(policies).items():
            self._set_policy(key, policy)
        self._report(before)
        self._changed.set()

    def _report(self, before: Mapping[str, frozenset[Key]]) -> None:
        for namespace, keys in self._budget.left_out.items():
            if len(keys) > len(before.get(namespace, ())):
                log.error("policies_left_out namespace=%s count=%d first=%s", namespace, len(keys), min(keys)[1])
                self.event("NetworkPoliciesLeftOut", _LEFT_OUT.format(len(keys), namespace), True)

    def _set_policy(self, key: Key, policy: Policy | None) -> None:
        old = self._policies.pop(key, None)
        self._in_namespace[key[0]] += (policy is not None) - (old is not None)
        if policy is not None:
            self._policies[key] = policy
        if policy != old:
            self._pending.set_policy(key, old, policy)

    def _set_slice(self, name: str, members: Group | None) -> None:
        self._slices.pop(name, None)
        if members:
            self._slices[name] = members
        self._pending.set_slice(name, members)

    async def isolate(self, uid: str, pod: Pod) -> None:
        """Have the rules for a pod, before it can send or receive anything. Repeatable. Raises NetworkError."""
        if not self._policed(pod.namespace):
            log.warning("policies_unknown namespace=%s pod=%s", pod.namespace, uid)
            self.event("NetworkPoliciesUnknown", _UNKNOWN.format(pod.namespace), True)
        self.update(uid, pod)
        if self._in_namespace[pod.namespace]:
            await self._program(pod.namespace)

    def update(self, uid: str, pod: Pod | None) -> None:
        """A pod that was attached before the agent started, that has other labels, or (None) that is gone."""
        if (old := self._pods.pop(uid, None)) is not None:
            self._pods_of[old.namespace] -= 1
        if pod is not None:
            self._pods[uid] = pod
            self._pods_of[pod.namespace] += 1
        if old == pod:
            return
        self._pending.set_pod(uid, pod)
        self.settle()
        self._changed.set()

    def relabel(self, uid: str, labels: dict[str, str]) -> None:
        """Other labels of a pod, if it is one that policies apply to."""
        if (old := self._pods.get(uid)) is not None:
            self.update(uid, Pod(old.namespace, labels, old.addresses, old.ports))

    async def run(self) -> None:
        """Program what changes. Call it once all pods that were here before are known. Until cancelled."""
        reported = ""
        while True:
            delay, began = None, self._clock.monotonic()
            try:
                await self._program()
                reported = ""
            except NetworkError as error:
                if str(error) != reported:
                    log.error("policies_failed error=%s", error)
                delay, reported = RETRY, str(error)
            await self._clock.wait(self._changed, delay)
            await self._clock.sleep(began + INTERVAL - self._clock.monotonic())
            self._changed.clear()

    async def _program(self, namespace: str = "") -> None:
        """Everything, or enough for the pods of a namespace, but for what changes meanwhile. Others have a turn after each
        portion. Raises NetworkError."""
        more = True
        while more:
            async with self._programming:
                more = await self._program_portion(namespace)

    async def _program_portion(self, namespace: str) -> bool:
        """Whether there was more than a portion to program."""
        compiler = self._compiler
        if compiler is not None and not self._pending:
            return False
        changes = self._pending.take(self._pods_of, namespace) if compiler is not None else self._everything()
        more = self._pending.has_policies(namespace) if namespace else bool(self._pending)
        self._compiler = None
        new = compiler or self._new_compiler()
        await self._network.program(lambda ruleset: _apply(ruleset, new, changes, anew=compiler is None))
        self._compiler = new
        self._report_blocks(new.left_out)
        return more

    def _report_blocks(self, left_out: Mapping[str, frozenset[Block]]) -> None:
        before, self._blocks_left_out = self._blocks_left_out, left_out
        for namespace, found in left_out.items():
            if len(found) > len(before.get(namespace, ())):
                log.error("blocks_left_out namespace=%s count=%d first=%s", namespace, len(found), min(found).cidr)
                self.event("NetworkPoliciesLeftOut", _BLOCKS_LEFT_OUT.format(len(found), namespace), True)

    def _everything(self) -> Changes:
        self._pending.clear()
        return Changes(dict(self._policies), dict(self._slices), dict(self._pods))

    def verdict(self, uid: str, other: str, *, direction: str, traffic: Traffic) -> Verdict | None:
        """Whether policies allow traffic between a pod of this node and another address, and which. None: there is no such pod,
        or no policy can apply to it."""
        pod = self._pods.get(uid)
        if pod is None:
            return None
        peer = evaluator.peer_at(other, self._slices)
        left_out = self._blocks_left_out.get(pod.namespace, frozenset())
        return evaluator.evaluate(self._policies.values(), pod, peer, direction=direction, traffic=traffic, left_out=left_out)


def _read(item: NetworkPolicy) -> Policy:
    problems = list[str]()
    found = reader.policy(item, problems)
    for problem in problems:
        log.error("policy_too_large policy=%s/%s problem=%s", found.namespace, found.name, problem)
    return found


def _apply(ruleset: Ruleset, compiler: Compiler, changes: Changes, *, anew: bool) -> None:
    change = compiler.change(changes)
    if anew:
        ruleset.declare(CONCERN, compiler.elements())
    elif change.add or change.remove:
        ruleset.change(CONCERN, change.add, change.remove)
