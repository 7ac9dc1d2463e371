"""Which EndpointSlices of one Service and address family change, so that they hold the wanted endpoints. Pure.

Few slices change, at the price of some that are not full: endpoints stay in their slice while they are wanted; new ones fill a
slice that changes anyway, then one that has room for all of them, then new slices. Slices that are not wanted any more are used
for new ones. Source: reconcileByPortMapping and finalize of k8s.io/endpointslice/reconciler.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# Endpoints of one slice (kube-controller-manager's --max-endpoints-per-slice).
MOST = 100


class Endpoint(NamedTuple):
    """One endpoint, which is known by its `target`: the name of its pod. `zones` and `nodes`: hints."""

    target: str
    uid: str
    addresses: tuple[str, ...]
    ready: bool
    serving: bool
    terminating: bool
    node: str
    zone: str
    hostname: str
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class Port(NamedTuple):
    name: str
    protocol: str
    number: int
    # None differs from empty.
    app_protocol: str | None


Ports = tuple[Port, ...]


class Slice(NamedTuple):
    """A slice that exists. None stands for an endpoint that no controller of ours has written."""

    name: str
    ports: Ports
    endpoints: tuple[Endpoint | None, ...]
    # Whether its metadata are as they should be.
    current: bool = True


@dataclass(slots=True)
class Wanted:
    """Content of a slice; without a name it is new."""

    name: str
    ports: Ports
    endpoints: list[Endpoint]


@dataclass(slots=True)
class Plan:
    creates: list[Wanted] = field(default_factory=list)
    updates: list[Wanted] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> list[Wanted]:
        return [*self.creates, *self.updates]


def plan(existing: Sequence[Slice], wanted: Mapping[Ports, Iterable[Endpoint]]) -> Plan:
    """`existing`: slices of the Service and family that the controller owns. There is always at least one slice."""
    found = Plan()
    groups: dict[Ports, list[Slice]] = {}
    for item in existing:
        groups.setdefault(canonical(item.ports), []).append(item)
    for ports, endpoints in wanted.items():
        if targets := {endpoint.target: endpoint for endpoint in endpoints}:
            _plan_group(found, groups.pop(canonical(ports), ()), ports, targets)
    leftover = [item for items in groups.values() for item in items]
    if not found.changed and len(existing) == len(leftover) + len(found.deletes):
        kept = _placeholder(found, leftover)
        leftover = [item for item in leftover if item is not kept]
    found.deletes += [item.name for item in leftover]
    _reuse(found)
    return found


def canonical(ports: Ports) -> Ports:
    """The same for every order of ports."""
    return tuple(sorted(ports, key=lambda port: (*port[:3], port.app_protocol or "", port.app_protocol is None)))


def _placeholder(found: Plan, leftover: Sequence[Slice]) -> Slice | None:
    """Without endpoints there is one slice without ports; returns the one that exists."""
    if len(leftover) == 1 and not found.deletes and not leftover[0].ports and not leftover[0].endpoints:
        if not leftover[0].current:
            found.updates.append(Wanted(leftover[0].name, (), []))
        return leftover[0]
    found.creates.append(Wanted("", (), []))
    return None


def _plan_group(found: Plan, existing: Sequence[Slice], ports: Ports, targets: dict[str, Endpoint]) -> None:
    """Slices with the same ports. Consumes `targets`."""
    updates: list[Wanted] = []
    unchanged: list[Slice] = []
    for item in existing:
        kept = [targets.pop(one.target) for one in item.endpoints if one is not None and one.target in targets]
        if item.endpoints and not kept:
            found.deletes.append(item.name)
        elif tuple(kept) != item.endpoints or not item.current:
            updates.append(Wanted(item.name, ports, kept))
        else:
            unchanged.append(item)
    rest = [targets[name] for name in sorted(targets)]
    for change in sorted(updates, key=lambda change: (-len(change.endpoints), change.name)):
        _fill(change, rest)
    while rest:
        change = _with_room(unchanged, ports, len(rest)) or Wanted("", ports, [])
        unchanged = [item for item in unchanged if item.name != change.name]
        _fill(change, rest)
        (updates if change.name else found.creates).append(change)
    found.updates += updates


def _fill(change: Wanted, rest: list[Endpoint]) -> None:
    """Move endpoints into a slice until it is full."""
    room = max(MOST - len(change.endpoints), 0)
    change.endpoints += rest[:room]
    del rest[:room]


def _with_room(unchanged: Iterable[Slice], ports: Ports, count: int) -> Wanted | None:
    """The fullest slice that has room for `count` more."""
    fitting = [item for item in unchanged if len(item.endpoints) + count <= MOST]
    best = max(fitting, key=lambda item: (len(item.endpoints), item.name), default=None)
    return Wanted(best.name, ports, [one for one in best.endpoints if one is not None]) if best is not None else None


def _reuse(found: Plan) -> None:
    """Change slices that would be deleted instead of making new ones."""
    while found.creates and found.deletes:
        change = found.creates.pop()
        change.name = found.deletes.pop(0)
        found.updates.append(change)
