"""Groups of pods that peers of NetworkPolicies select, as agents get them: in slices, so that one pod costs one small message.

A slice is PolicyGroup//ID.N on the wire; an agent's group is the union of its slices. A pod stays in its slice, an empty slice
is withdrawn and used again. Each slice is put into a message once for all sessions; a session remembers one version for each
group. Pure but for the versions, which `stamp` counts for all groups together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pinnace import podspec
from pinnace.api.v1 import nodes_pb2
from pinnace.policypeers import PeerSelector

GROUP = "PolicyGroup"
# Members of a slice: about 4 KB. And of a member: named ports that policies ask for, so that a slice has at most 300 KB.
MAX_MEMBERS, MAX_PORTS = 100, 100
_FINISHED = ("Succeeded", "Failed")


class NamedPort(NamedTuple):
    name: str
    protocol: str
    port: int


class Facts(NamedTuple):
    """A pod as policies see it."""

    labels: dict[str, str]
    ips: tuple[str, ...]
    ports: tuple[NamedPort, ...]


def facts_of(pod: Any) -> Facts | None:
    """None for a pod that is no member of any group: without an address, ended, or in the network of its node."""
    if pod.spec.hostNetwork or pod.status.phase in _FINISHED:
        return None
    ips = tuple(item.ip for item in pod.status.podIPs) or ((pod.status.podIP,) if pod.status.podIP else ())
    return Facts(dict(pod.metadata.labels), ips, tuple(_ports(pod))) if ips else None


def _ports(pod: Any) -> Iterator[NamedPort]:
    """Each named port once, of containers that run as long as the pod does."""
    sidecars = (container for container in pod.spec.initContainers if podspec.is_sidecar(container))
    seen = set()
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            found = NamedPort(port.name, port.protocol or "TCP", port.containerPort)
            if port.name and found not in seen:
                seen.add(found)
                yield found


def group_key(id: str) -> str:
    """The key under which sessions follow a group."""
    return f"{GROUP}//{id}"


def slice_key(id: str, number: int) -> str:
    """The agent's key of a slice."""
    return f"{GROUP}//{id}.{number}"


class Group:
    def __init__(self, id: str, selector: PeerSelector, stamp: Callable[[], int]) -> None:
        self.id = id
        self.selector = selector
        # Tells it from an earlier group of this ID, whose slices a session may have sent.
        self.born = stamp()
        # Whether every pod that there was when it began has been looked at.
        self.is_filled = False
        # Names of ports that a policy needs of the members, by the key of the policy.
        self._users: dict[str, frozenset[str]] = {}
        self._names: frozenset[str] = frozenset()
        self._stamp = stamp
        self._slice_of: dict[str, int] = {}
        self._slices: list[dict[str, Facts]] = []
        # Slices that have room, and the version of each slice in ascending order.
        self._room: dict[int, None] = {}
        self._versions: dict[int, int] = {}
        self._built: dict[int, nodes_pb2.Change] = {}

    def __contains__(self, pod: str) -> bool:
        return pod in self._slice_of

    def __len__(self) -> int:
        return len(self._slice_of)

    @property
    def slices(self) -> int:
        """Number of slices, with the empty ones."""
        return len(self._slices)

    def use(self, policy: str, names: frozenset[str] | None) -> bool:
        """A policy uses the group and needs ports of these names, or (None) does not use it any more. Returns whether agents
        have to learn of members again."""
        if names is None:
            self._users.pop(policy, None)
        else:
            self._users[policy] = names
        wanted = frozenset[str]().union(*self._users.values())
        changed = wanted != self._names and any(
            _shown(facts, wanted) != _shown(facts, self._names) for found in self._slices for facts in found.values()
        )
        self._names = wanted
        if changed:
            for number in range(len(self._slices)):
                self._touch(number)
        return changed

    @property
    def is_unused(self) -> bool:
        return not self._users

    def put(self, pod: str, facts: Facts) -> bool:
        """Add or change a member; returns whether agents have to learn of it."""
        number = self._slice_of.get(pod)
        if number is None:
            number = self._slice_of[pod] = next(iter(self._room), len(self._slices))
            if number == len(self._slices):
                self._slices.append({})
                self._room[number] = None
            before = None
        else:
            before = self._slices[number][pod]
        self._slices[number][pod] = facts
        if len(self._slices[number]) >= MAX_MEMBERS:
            self._room.pop(number, None)
        if before is not None and _shown(before, self._names) == _shown(facts, self._names):
            return False
        self._touch(number)
        return True

    def remove(self, pod: str) -> bool:
        """Returns whether the pod was a member."""
        number = self._slice_of.pop(pod, None)
        if number is None:
            return False
        del self._slices[number][pod]
        self._room[number] = None
        self._touch(number)
        return True

    def _touch(self, number: int) -> None:
        self._versions.pop(number, None)
        self._versions[number] = self._stamp()
        self._built.pop(number, None)

    def since(self, version: int) -> Iterator[tuple[int, int, nodes_pb2.Change]]:
        """Number, version and message of each slice that changed after `version`, in ascending order of versions."""
        newer = []
        for number, found in reversed(self._versions.items()):
            if found <= version:
                break
            newer.append((number, found))
        for number, found in reversed(newer):
            yield number, found, self._change(number)

    def occupied(self) -> list[int]:
        """Numbers of the slices that have members."""
        return [number for number, found in enumerate(self._slices) if found]

    def _change(self, number: int) -> nodes_pb2.Change:
        built = self._built.get(number)
        if built is None:
            built = self._built[number] = nodes_pb2.Change(key=slice_key(self.id, number))
            if self._slices[number]:
                members = (_member(facts, self._names) for facts in self._slices[number].values())
                built.policyGroup.members.extend(members)
        return built


def _shown(facts: Facts, names: frozenset[str]) -> tuple[tuple[str, ...], tuple[NamedPort, ...]]:
    """The part of a member that agents get: the ports that no policy names are none of their business."""
    return facts.ips, tuple(port for port in facts.ports if port.name in names)[:MAX_PORTS] if names else ()


def _member(facts: Facts, names: frozenset[str]) -> nodes_pb2.PolicyGroupMember:
    ips, ports = _shown(facts, names)
    return nodes_pb2.PolicyGroupMember(
        podIPs=ips, ports=[nodes_pb2.NamedPort(name=port.name, protocol=port.protocol, port=port.port) for port in ports]
    )
