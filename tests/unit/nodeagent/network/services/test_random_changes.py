"""Changes of Services one by one, in portions, against a table that is computed at once."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from nodeagent.network.elements import Element, Key
from nodeagent.network.services.model import Facts
from nodeagent.network.services.table import ServiceTable
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import LABEL_HEADLESS
from tests.support.services import HERE, THERE, endpoint, service, slice_

FACTS = Facts(HERE, "z1", ("10.244.1.0/24",), ("10.96.0.0/12",), ("10.96.0.10",), ("198.51.100.11",))
SERVICES, STEPS = 4, 30
_SLOT = re.compile(r"(services_.*_slot)\d+(_[46])\Z")
_NUMBERS = re.compile(r"\d+(of\d+t|_[46]\Z)")


def some_service(chance: random.Random, number: int) -> Service:
    """Which claims addresses and ports of nodes that others may claim too."""
    kind = chance.choice(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Headless"])
    reachable = kind in ("NodePort", "LoadBalancer")
    first: dict[str, Any] = {"name": "a", "port": 80, "protocol": "TCP"}
    second: dict[str, Any] = {"name": "b", "port": chance.choice([81, 82]), "protocol": chance.choice(["TCP", "UDP"])}
    if reachable:
        first["nodePort"], second["nodePort"] = 30000 + chance.randint(0, 3), 30010 + chance.randint(0, 3)
    spec: dict[str, Any] = {"ports": [first, second], "type": "ClusterIP" if kind == "Headless" else kind}
    if chance.random() < 0.3:
        spec["externalIPs"] = [f"203.0.113.{chance.randint(1, 3)}"]
    if kind == "LoadBalancer":
        spec["ingress"] = [f"198.51.100.{chance.randint(200, 202)}"]
        spec["loadBalancerSourceRanges"] = chance.choice([[], ["198.51.100.0/25"]])
    if reachable:
        spec["externalTrafficPolicy"] = chance.choice(["Local", "Cluster"])
    spec["internalTrafficPolicy"] = chance.choice(["Local", "Cluster", "Cluster"])
    spec["sessionAffinity"] = chance.choice(["ClientIP", "None", "None"])
    made = service(f"s{number}", ip="None" if kind == "Headless" else f"10.96.0.{20 + number}", **spec)
    made.metadata.creationTimestamp.seconds = chance.randint(1, 5)
    if chance.random() < 0.1:
        made.metadata.labels[LABEL_HEADLESS] = ""
    return made


def some_slice(chance: random.Random, name: str) -> EndpointSlice:
    def one() -> dict[str, Any]:
        state = {"ready": chance.random() < 0.7, "serving": chance.random() < 0.8, "terminating": chance.random() < 0.3}
        return endpoint(f"10.244.{chance.randint(1, 2)}.{chance.randint(2, 6)}", chance.choice([HERE, THERE]), **state)

    ports = [
        {"name": "a", "port": chance.choice([8080, 8081]), "protocol": "TCP"},
        {"name": "b", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 54, "protocol": "TCP"},
    ]  # fmt: skip
    ends = [one() for _ in range(chance.randint(0, 5))]
    return slice_(*ends, of=f"s{chance.randrange(SERVICES)}", name=name, ports=ports)


def without_slots(items: list[Element]) -> set[tuple[str, Key, Key]]:
    """Which slot an endpoint has depends on those before it; with affinity the number of slots does, too."""
    found = set()
    for item in items:
        slot = _SLOT.match(item.container)
        name = "".join(slot.groups()) if slot else _NUMBERS.sub(r"N\1", item.container) if "_choice" in item.container else ""
        value = () if "_choice" in item.container else tuple(re.sub(r"of\d+t", "ofNt", part) for part in item.value)
        found.add((name or item.container, item.key, value))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_lead_to_the_same_elements(seed: int) -> None:
    """In the kernel, too: nothing is added to a key that has another element, and nothing is removed that is not there."""
    chance = random.Random(seed)
    table, kernel = ServiceTable(FACTS), dict[tuple[str, Key], Element]()
    services, slices = dict[str, Service](), dict[str, EndpointSlice]()
    for _ in range(STEPS):
        for _ in range(chance.randint(1, 3)):
            change(chance, table, services, slices)
        while table.pending:
            apply(table, chance.randint(1, 3), kernel)
        fresh = ServiceTable(FACTS)
        for key, item in services.items():
            fresh.set_service(key, item)
        for key, one in slices.items():
            fresh.set_slice(key, one)
        fresh.compute(100)
        assert set(kernel.values()) == set(table.elements())
        assert without_slots(table.elements()) == without_slots(fresh.elements())
        assert (table.live(), {*table.health()}) == (fresh.live(), {*fresh.health()})


def change(
    chance: random.Random, table: ServiceTable, services: dict[str, Service], slices: dict[str, EndpointSlice]
) -> None:  # fmt: skip
    number = chance.randrange(SERVICES)
    name = f"default/s{number}"
    part = f"x{number}-{chance.randint(0, 1)}"
    if chance.random() < 0.5:
        services.pop(name, None)
        if chance.random() < 0.8:
            services[name] = some_service(chance, number)
        table.set_service(name, services.get(name))
    else:
        slices.pop(f"default/{part}", None)
        if chance.random() < 0.8:
            slices[f"default/{part}"] = some_slice(chance, part)
        table.set_slice(f"default/{part}", slices.get(f"default/{part}"))


def apply(table: ServiceTable, limit: int, kernel: dict[tuple[str, Key], Element]) -> None:
    changes = table.compute(limit)
    for item in changes.remove:
        assert kernel.pop((item.container, item.key)) == item
    for item in changes.add:
        assert (item.container, item.key) not in kernel
        kernel[item.container, item.key] = item
