"""Feeds the table of policies with events, a bounded piece of work at a time, and marks the sessions that follow a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator

from controlplane import metrics
from controlplane.dispatcher.nodepolicies import namespace_key
from controlplane.dispatcher.policies import PolicyTable
from controlplane.dispatcher.policygroups import group_key
from controlplane.dispatcher.policymembers import PolicyRows
from pinnace import kinds
from pinnace.kinds import Kind

log = logging.getLogger("pinnace.dispatcher")
# Pieces of a policy's activation that do not wait for a turn: most policies need no more.
AT_ONCE = 5
# Kinds that policies depend on, besides pods.
POLICING: tuple[Kind, ...] = (kinds.NETWORK_POLICY, kinds.NAMESPACE)


class PolicyFeed:
    def __init__(self, rows: PolicyRows, mark: Callable[[str, str], None]) -> None:
        """`mark` is called with a key that sessions follow, and the key of what they have to look at."""
        self.table = PolicyTable(rows)
        self._mark = mark
        # Policies that become active, each a piece at a time.
        self._activations: dict[str, Generator[set[str]]] = {}
        self._begun = asyncio.Event()

    def take(self, kind: Kind, key: str) -> None:
        """An object may have changed: a pod, a namespace or a policy."""
        if kind is kinds.POD:
            self._publish(self.table.take_pod(key))
        elif kind is kinds.NAMESPACE:
            self._publish(self.table.take_namespace(key.removeprefix(kinds.NAMESPACE.prefix)))
        else:
            self._close(key)
            self._activations[key] = self.table.activate(key)
            for _ in range(AT_ONCE):
                self._advance(key)
            if key in self._activations:
                self._begun.set()

    async def run(self) -> None:
        """Make policies active, all of them in turn, until cancelled."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            while self._activations:
                for key in list(self._activations):
                    self._advance(key)
                    await asyncio.sleep(0)

    def catch_up(self) -> Iterator[None]:
        """After a time without events; sessions are not marked. Pauses after each piece of work."""
        for key in list(self._activations):
            self._close(key)
        for work in self.table.catch_up():
            yield
            try:
                for _ in work:
                    yield
            except Exception:
                metrics.dispatch_failures.inc()
                log.exception("policy_catch_up_failed")

    def _close(self, key: str) -> None:
        activation = self._activations.pop(key, None)
        if activation is not None:
            activation.close()

    def _advance(self, key: str) -> None:
        """The next piece of an activation. One that fails costs the others nothing."""
        activation = self._activations.get(key)
        if activation is None:
            return
        try:
            self._publish(next(activation))
        except StopIteration:
            del self._activations[key]
            namespace = key.removeprefix(kinds.NETWORK_POLICY.prefix).partition("/")[0]
            self._mark(namespace_key(namespace), key)
        except Exception:
            del self._activations[key]
            metrics.dispatch_failures.inc()
            log.exception("policy_failed key=%s", key)

    def _publish(self, groups: set[str]) -> None:
        for id in groups:
            self._mark(group_key(id), group_key(id))
