"""All Services of a node: objects come in, changes of elements come out. A change costs as much as the Services that it is of.

Pure but for its own state. Two Services may claim the same address and port, or port of the node: the one whose cluster IP it
is has it, else the older one, until it is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from nodeagent.network.elements import Element, Key
from nodeagent.network.services import reader, recovery, slots
from nodeagent.network.services.model import MAX_TIMEOUTS, Facts, ServiceInfo, Target
from nodeagent.network.services.names import Family, Names, group_of
from nodeagent.network.services.selection import ready_here
from nodeagent.network.services.wanted import SCOPES, Assigned, Frontend, Wanted, frontends, most_endpoints, port_key, wanted
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import LABEL_SERVICE_NAME

_NOTHING = Wanted(frozenset(), frozenset(), {}, {})


@dataclass(slots=True)
class Changes:
    """To apply in one transaction. `clients`: those remembered of slots that have another endpoint, by set and frontend, to
    be deleted before. `flows`: by frontend, the endpoints that tracked connections may still have; after. `problems`: by
    Service."""

    add: set[Element] = field(default_factory=set)
    remove: set[Element] = field(default_factory=set)
    clients: set[tuple[str, Key]] = field(default_factory=set)
    flows: dict[Frontend, frozenset[Target]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """What a load balancer learns of a Service at `port`: how many endpoints are on this node."""

    port: int
    namespace: str
    name: str
    endpoints: int


class ServiceTable:
    def __init__(self, facts: Facts, found: recovery.Found | None = None) -> None:
        """`found`: the slots that the kernel has."""
        self.facts = facts
        self._found = found or {}
        self._services: dict[str, ServiceInfo] = {}
        self._problems: dict[str, list[str]] = {}
        self._slices: dict[str, dict[str, EndpointSlice]] = {}
        # The Service that a slice is of, by the slice's key.
        self._of: dict[str, str] = {}
        self._claims: dict[Frontend, set[str]] = {}
        # Cluster IPs of each Service.
        self._internal: dict[str, frozenset[str]] = {}
        self._wanted: dict[str, Wanted] = {}
        # The Service that has the elements of a frontend.
        self._held: dict[Frontend, str] = {}
        self._shared: Counter[Element] = Counter()
        self._health: dict[str, Health] = {}
        self._dirty: dict[str, None] = {}
        # Of affinity, in seconds, by Service; and Services that have another one than they name.
        self._timeouts: dict[str, int] = {}
        self._uses = Counter[int]()
        self._approximate: dict[str, None] = {}

    def set_service(self, key: str, item: Service | None) -> None:
        """`key` is NAMESPACE/NAME; None: it is deleted."""
        before = self._services.pop(key, None)
        problems = list[str]()
        ours = item is not None and reader.is_ours(item.metadata.labels)
        after = reader.service(key, item, problems) if item is not None and ours else None
        self._problems[key] = problems
        if after is not None:
            self._services[key] = after
        old, new = (frozenset(frontends(found) if found is not None else ()) for found in (before, after))
        self._internal.pop(key, None)
        if after is not None:
            self._internal[key] = frozenset(address for port in after.ports for address in port.internal)
        for frontend in old | new:
            self._claim(frontend, key, claimed=frontend in new)
        self._dirty[key] = None

    def _claim(self, frontend: Frontend, key: str, *, claimed: bool) -> None:
        """Other Services that get or lose the frontend by it are to be computed again."""
        claims = self._claims.setdefault(frontend, set())
        if claimed:
            claims.add(key)
        else:
            claims.discard(key)
        self._dirty.update(dict.fromkeys(claims))
        if not claims:
            del self._claims[frontend]

    def set_slice(self, key: str, item: EndpointSlice | None) -> None:
        """`key` is NAMESPACE/NAME of the slice; its label names the Service."""
        labels = item.metadata.labels if item is not None else {}
        name = labels.get(LABEL_SERVICE_NAME, "") if reader.is_ours(labels) else ""
        service = f"{key.partition('/')[0]}/{name}" if name else ""
        if (before := self._of.pop(key, "")) and before != service:
            self._slices[before].pop(key, None)
            if not self._slices[before]:
                del self._slices[before]
            self._dirty[before] = None
        if item is not None and service:
            self._of[key] = service
            self._slices.setdefault(service, {})[key] = item
            self._dirty[service] = None

    def set_facts(self, facts: Facts) -> None:
        if facts != self.facts:
            self.facts = facts
            self._dirty.update(dict.fromkeys(self._services))

    @property
    def pending(self) -> int:
        """Services that `compute` has to look at."""
        return len(self._dirty)

    def compute(self, limit: int) -> Changes:
        """What has changed, of about so many Services: a frontend that goes from one to another is of one change, or the later
        removal would be that of the new elements."""
        found = Changes()
        waiting = [*self._dirty][:limit]
        for key in waiting:
            if key in self._dirty:
                del self._dirty[key]
                # Those that it returns are next.
                waiting += self._compute(key, found)
        both = found.add & found.remove
        found.add -= both
        found.remove -= both
        return found

    def elements(self) -> list[Element]:
        """All that are wanted now."""
        return [*(item for wanted in self._wanted.values() for item in wanted.elements), *self._shared]

    def live(self) -> dict[Frontend, frozenset[Target]]:
        return {frontend: targets for wanted in self._wanted.values() for frontend, targets in wanted.live.items()}

    def health(self) -> list[Health]:
        return list(self._health.values())

    def _compute(self, key: str, found: Changes) -> list[str]:
        """Returns the Services that lose frontends to this one."""
        before, service = self._wanted.pop(key, _NOTHING), self._services.get(key)
        after = _NOTHING
        self._health.pop(key, None)
        if service is not None:
            after = self._wanted_of(service, before.assigned, found)
            self._wanted[key] = after
        else:
            self._problems.pop(key, None)
            self._release_timeout(key)
        found.add |= after.elements - before.elements
        found.remove |= before.elements - after.elements
        self._share(after.shared - before.shared, before.shared - after.shared, found)
        for frontend in {*before.live, *after.live}:
            allowed = after.live.get(frontend, frozenset())
            if before.live.get(frontend) != allowed:
                found.flows[frontend] = found.flows.get(frontend, frozenset()) | allowed
        return self._hold(key, before.owned, after.owned)

    def _hold(self, key: str, before: frozenset[Frontend], after: frozenset[Frontend]) -> list[str]:
        others = [other for frontend in after if (other := self._held.get(frontend, key)) != key]
        for frontend in before - after:
            if self._held.get(frontend) == key:
                del self._held[frontend]
        self._held |= dict.fromkeys(after, key)
        return others

    def _wanted_of(self, service: ServiceInfo, before: Assigned, found: Changes) -> Wanted:
        problems = list(self._problems.get(service.key, ()))
        service = self._bounded(service, problems)
        backends = reader.backends(self._slices.get(service.key, {}).values(), problems)
        owned, lost = list[Frontend](), list[Frontend]()
        for item in frontends(service):
            (owned if self._owner(item) == service.key else lost).append(item)
        if lost:
            problems.append(f"{len(lost)} addresses and ports are of another Service, as {lost[0].key}")
        before = before or recovery.assigned(service, self._found)
        after = wanted(service, backends, self.facts, before=before, owned=owned)
        if after.endpoints > (most := most_endpoints(service)):
            problems.append(f"{after.endpoints} endpoints of a port, of which {most} are used")
        if problems:
            found.problems[service.key] = problems
        if service.timeout:
            found.clients |= _reused(service, before, after.assigned)
        if service.health_port:
            namespace, _, name = service.key.partition("/")
            here = {address for port in service.ports for address in ready_here(backends.of(port), self.facts)}
            self._health[service.key] = Health(service.health_port, namespace, name, len(here))
        return after

    def _bounded(self, service: ServiceInfo, problems: list[str]) -> ServiceInfo:
        """Each timeout of affinity has chains of its own: of many, later ones are replaced by the nearest of those that there
        are."""
        if self._timeouts.get(service.key) != service.timeout:
            self._release_timeout(service.key)
        if not service.timeout or service.key in self._timeouts:
            return service
        if service.timeout in self._uses or len(self._uses) < MAX_TIMEOUTS:
            self._timeouts[service.key] = service.timeout
            self._uses[service.timeout] += 1
            self._approximate.pop(service.key, None)
            return service
        self._approximate[service.key] = None
        nearest = min(self._uses, key=lambda timeout: (abs(timeout - service.timeout), timeout))
        problems.append(
            f"sessionAffinity timeout set to {nearest} s (is {service.timeout} s): Services have {MAX_TIMEOUTS} other timeouts"
        )
        return replace(service, timeout=nearest)

    def _release_timeout(self, key: str) -> None:
        """Services that are without their own get it, once none has it any more."""
        self._approximate.pop(key, None)
        timeout = self._timeouts.pop(key, 0)
        if timeout:
            self._uses[timeout] -= 1
            if not self._uses[timeout]:
                del self._uses[timeout]
                self._dirty.update(self._approximate)

    def _owner(self, frontend: Frontend) -> str:
        """A cluster IP is its Service's alone; users may name any other address."""

        def place(key: str) -> tuple[bool, tuple[int, str], str]:
            return frontend.address not in self._internal[key], self._services[key].created, key

        return min(self._claims[frontend], key=place)

    def _share(self, more: Iterable[Element], fewer: Iterable[Element], found: Changes) -> None:
        for item in more:
            self._shared[item] += 1
            if self._shared[item] == 1:
                found.add.add(item)
        for item in fewer:
            self._shared[item] -= 1
            if not self._shared[item]:
                del self._shared[item]
                found.remove.add(item)


def _reused(service: ServiceInfo, before: Assigned, after: Assigned) -> set[tuple[str, Key]]:
    """The sets of clients of slots that have another endpoint now."""
    found = set()
    for port in service.ports:
        for scope in SCOPES:
            key = port_key(port, scope)
            for number in slots.reused(before.get(key, ()), after[key]):
                for item in frontends(ServiceInfo("", ports=(port,))):
                    own = Names(Family(port.family), scope, not item.address)
                    found.add((own.seen(number, group_of(service.key)), item.key))
    return found
