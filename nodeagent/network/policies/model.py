"""NetworkPolicies as a node enforces them: policies, groups of peers, and the node's own pods, as plain values.

Protocols are those of nftables: tcp, udp, sctp. Addresses are text in the form of `ipaddress`; those of both families mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pinnace.selectors import Requirement

# Directions, from the pod's point of view: ingress and egress.
IN, OUT = "in", "out"
DIRECTIONS = IN, OUT
LAST_PORT = 65535


class Ports(NamedTuple):
    """The ports `first` to `last` of a protocol."""

    protocol: str
    first: int
    last: int


class NamedPort(NamedTuple):
    """A port by its name in the pod that receives the traffic."""

    protocol: str
    name: str


class Block(NamedTuple):
    """A range of addresses without some of its parts."""

    cidr: str
    excepts: tuple[str, ...] = ()


class Selection(NamedTuple):
    """The pods of a group, by its ID. `wide`: all pods of the namespaces that are selected, whatever their labels."""

    group: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows traffic of one direction. `peers` None: every peer. `ports` None: all traffic, also of protocols without ports."""

    direction: str
    peers: tuple[Selection | Block, ...] | None = None
    ports: tuple[Ports | NamedPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Restricts the `directions` of the pods of its namespace that `selector` selects to what `rules` allow. `created` is in
    seconds since the epoch."""

    namespace: str
    name: str
    selector: tuple[Requirement, ...]
    directions: frozenset[str]
    rules: tuple[Rule, ...]
    created: float = 0.0

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return namespace == self.namespace and all(requirement.matches(labels) for requirement in self.selector)


class PodPort(NamedTuple):
    """A port of a pod's container that has a name."""

    protocol: str
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node that is not in the host's network."""

    namespace: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ports: tuple[PodPort, ...] = ()


# The members of a group, or of a slice of it: named ports by address.
Group = Mapping[str, tuple[PodPort, ...]]


def family_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def group_of(name: str) -> str:
    """The ID of a slice's group."""
    return name.partition(".")[0]
