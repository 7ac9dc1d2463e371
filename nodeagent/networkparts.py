"""The parts of a node's network put together: the overlay, Services, names, load balancers and policies.

Each is fed by the assignment. They share the overlay's thread, which owns netlink and nftables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from nodeagent.control.assignment import PEER, Assignment
from nodeagent.control.changes import Change
from nodeagent.control.policygroups import GROUP
from nodeagent.control.policynamespaces import NAMESPACE
from nodeagent.network import dnsrecords, tunnelkey
from nodeagent.network.fastpath.fastpath import FastPath
from nodeagent.network.interface import Node
from nodeagent.network.loadbalancer.announcer import KINDS as ANNOUNCED
from nodeagent.network.loadbalancer.announcer import Announcer
from nodeagent.network.nodeaddress import NodeAddresses, SourceAddress
from nodeagent.network.overlay import OverlayNetwork
from nodeagent.network.policies.enforcer import Enforcer
from nodeagent.network.reconciler import NetworkReconciler
from nodeagent.network.resolver import ResolverManager
from nodeagent.network.resolverprocess import ResolverProcess
from nodeagent.network.services.health import HealthServer
from nodeagent.network.services.model import facts_of
from nodeagent.network.services.proxy import KINDS as SERVICE_KINDS
from nodeagent.network.services.proxy import ServiceProxy
from nodeagent.network.serving import Serving
from nodeagent.node.config import Config
from nodeagent.runtime import seccomp
from nodeagent.runtime.seccomp import SeccompUnavailable
from pinnace import kinds
from pinnace.clock import Clock

log = logging.getLogger("pinnace.agent")


class NetworkParts:
    def __init__(
        self, config: Config, clock: Clock, memory: Path, assignment: Assignment, *,
        addresses: Callable[[], Iterable[tuple[str, Sequence[str]]]], ranged: Callable[[], None],
    ) -> None:  # fmt: skip
        """`memory` is a directory on a tmpfs; `addresses` and `ranged` are NetworkReconciler's."""
        self._config = config
        self._assignment = assignment
        self.overlay = OverlayNetwork(
            memory / "forwarding", config.state_dir, config.reachable_from,
            node_ports=config.nodeport_addresses, fast_path=FastPath(clock) if config.fast_path else None,
        )  # fmt: skip
        self.node_addresses = NodeAddresses(config.addresses, SourceAddress(config.server), self.overlay.host_addresses)
        self.reconciler = NetworkReconciler(
            self.overlay, config.state_dir / "welcome.pb", clock, node=config.node, peers=assignment.peers,
            addresses=addresses, ranged=ranged, told=lambda welcome: self.names.told(welcome),
            find=self.node_addresses.find,
        )  # fmt: skip
        self.names = ResolverManager(
            ResolverProcess(config.state_dir / "dns", clock, seccomp=self._seccomp), self.overlay, clock, flags=config.dns,
            lookup=assignment.lookup, keys=assignment.keys,
        )  # fmt: skip
        self.announcer = Announcer(self.overlay, clock, config.node)
        self._health = HealthServer()
        self._services = ServiceProxy(self.overlay, clock, self._health.set)
        self.serving = Serving((self._services.serving, self.names.serving), clock)
        self.policies = Enforcer(self.overlay, clock, assignment.policed)
        self.overlay.configured = self._configured
        assignment.all_known = self._all_known
        assignment.subscribe(dnsrecords.KINDS, self.names.changed)
        assignment.subscribe(ANNOUNCED, self.announcer.changed)
        assignment.subscribe(SERVICE_KINDS, self._services.changed)
        assignment.subscribe((PEER,), lambda changes: self.reconciler.peers_changed())
        assignment.subscribe((kinds.NETWORK_POLICY.kind, GROUP), self.policies.assigned)
        assignment.subscribe((NAMESPACE, kinds.POD.kind), lambda changes: self.policies.settle())

    async def restore(self) -> None:
        """From what is on disk, before there is a control plane."""
        self.announcer.restore(self._assignment.items(kinds.SERVICE.kind))
        self._services.restore(self._assignment.items)
        # There is one Service at least in every cluster.
        if self._assignment.items(kinds.SERVICE.kind):
            self._all_known()
        await self.reconciler.restore()

    def _configured(self, node: Node) -> None:
        self.serving.network_is_up()
        self._services.configure(facts_of(node))

    def _all_known(self) -> None:
        """All Services and slices are there: what is not among them does not exist."""
        self._services.all_known()
        self.names.all_known()

    def restore_policies(self) -> None:
        """Policies and slices of their groups that are on disk, as if they were new: before pods start."""
        self.policies.assigned(self._policies())

    def _policies(self) -> Iterable[Change]:
        for name, found in self._assignment.groups.all().items():
            yield Change(f"{GROUP}//{name}", None, found)
        for item in self._assignment.items(kinds.NETWORK_POLICY.kind):
            yield Change(f"{kinds.NETWORK_POLICY.kind}/{item.metadata.namespace}/{item.metadata.name}", None, item)

    def running(self) -> list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """What is to run until the agent ends, by name."""
        return [
            ("network", self.reconciler.run), ("policies", self.policies.run), ("services", self._services.run),
            ("load balancers", self.announcer.run), ("names", self.names.run),
        ]  # fmt: skip

    async def close(self) -> None:
        await self._health.close()
        await self.overlay.close()

    def public_key(self) -> str:
        """Of WireGuard; empty where there is none and its file cannot be written."""
        try:
            return tunnelkey.load(self._config.state_dir).public
        except OSError as error:
            log.error("no_wireguard_key error=%s", error)
            return ""

    def _seccomp(self) -> str:
        """The file of the filter of containers without capabilities; empty without libseccomp, which `kctl doctor` reports."""
        try:
            return str(seccomp.compiled(self._config.state_dir / "seccomp", ()))
        except (SeccompUnavailable, OSError) as error:
            log.warning("resolver_without_seccomp error=%s", error)
            return ""
