"""Names of the chains, maps and sets of Services in nftables. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

CONCERN = "services"
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_HEADER = {4: "ip", 6: "ip6"}
_PORT = "meta l4proto . th dport"


@dataclass(frozen=True, slots=True)
class Family:
    """Names and words of one address family."""

    number: int

    @property
    def key(self) -> str:
        return f"{_HEADER[self.number]} daddr . {_PORT}"

    @property
    def header(self) -> str:
        return _HEADER[self.number]

    @property
    def address(self) -> str:
        return _ADDRESS[self.number]

    def name(self, word: str) -> str:
        return f"{CONCERN}_{word}_{self.number}" if word else f"{CONCERN}_{self.number}"


@dataclass(frozen=True, slots=True)
class Draw:
    """How a slot is chosen: among `count` endpoints; with affinity also `slots`, the number of slots, `timeout`, in
    seconds, and `group`, of Services that share the sets of remembered clients."""

    count: int
    slots: int = 0
    timeout: int = 0
    group: str = ""

    def __str__(self) -> str:
        return f"{self.count}of{self.slots}t{self.timeout}g{self.group}" if self.timeout else str(self.count)


def group_of(service: str) -> str:
    """That of a Service's namespace, whose clients fill no sets of others. `service` is NAMESPACE/NAME."""
    return hashlib.sha256(service.partition("/")[0].encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Names:
    """Those for one kind of frontend and one traffic policy (`cluster` or `local`)."""

    family: Family
    scope: str
    nodeport: bool = False

    def _name(self, verb: str) -> str:
        return self.family.name(f"{self.scope}{'_nodeport' if self.nodeport else ''}_{verb}")

    @property
    def key(self) -> str:
        """The frontend, of a packet."""
        return _PORT if self.nodeport else self.family.key

    @property
    def type(self) -> str:
        return ("" if self.nodeport else f"{self.family.address} . ") + "inet_proto . inet_service"

    def slot(self, number: int) -> str:
        return self._name(f"slot{number}")

    def choice(self, number: int) -> str:
        return self._name(f"choice{number}")

    def seen(self, number: int, group: str) -> str:
        return self._name(f"seen{number}g{group}")

    def stick(self, number: int, timeout: int, group: str) -> str:
        return self._name(f"stick{number}t{timeout}g{group}")

    def pick(self, draw: Draw) -> str:
        return self._name(f"pick{draw}")

    def enter(self, draw: Draw) -> str:
        return self._name(f"enter{draw}")


def outside(family: Family, cluster: Draw, local: Draw, *, nodeport: bool) -> str:
    """The chain for packets from outside with externalTrafficPolicy Local."""
    return family.name(f"{'nodeport_' if nodeport else ''}outside{cluster}l{local}")
