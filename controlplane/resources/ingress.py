"""Ingresses.

Source: registry/networking/ingress.
"""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds
from pinnace.admission import ingresses
from pinnace.networking.v1.ingress_pb2 import Ingress
from pinnace.wellknown import INGRESS_CLASS

# Hosts that a table shows.
_SHOWN_HOSTS = 3


def _hosts(item: Ingress) -> str:
    """Of the rules before the one after the third host, as kubectl has it."""
    hosts = [rule.host for rule in item.spec.rules if rule.host]
    text = ",".join(hosts[:_SHOWN_HOSTS]) or "*"
    left = len(item.spec.rules) - _SHOWN_HOSTS
    after_full = _after_full(item)
    return f"{text} + {left} more..." if after_full else text


def _after_full(item: Ingress) -> bool:
    """Whether a rule follows the last host that is shown."""
    shown = 0
    for rule in item.spec.rules:
        if shown == _SHOWN_HOSTS:
            return True
        shown += bool(rule.host)
    return False


def _cells(item: Ingress, now: float) -> tuple[Cell, ...]:
    addresses = ",".join(sorted({entry.ip or entry.hostname for entry in item.status.loadBalancer.ingress} - {""}))
    ports = "80, 443" if item.spec.tls else "80"
    name = item.spec.ingressClassName if item.spec.HasField("ingressClassName") else NONE
    return item.metadata.name, name, _hosts(item), addresses, ports, age(item, now)


_COLUMNS = (
    NAME,
    Column("Class", description="The class, which names the controller."),
    Column("Hosts", description="Hosts of the rules."),
    Column("Address", description="Where the controller receives requests."),
    Column("Ports", description="Ports of the addresses."),
    AGE,
)


class _Strategy(Strategy[Ingress]):
    def prepare_for_create(self, new: Ingress) -> None:
        new.status.loadBalancer.SetInParent()

    def warnings(self, new: Ingress, old: Ingress | None) -> list[str]:
        if old is not None or INGRESS_CLASS not in new.metadata.annotations or new.spec.HasField("ingressClassName"):
            return []
        return [f"annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]


INGRESS: Resource[Ingress] = Resource(
    kinds.INGRESS, rules=ingresses.RULES, strategy=_Strategy(), columns=Columns(_COLUMNS, _cells)
)
