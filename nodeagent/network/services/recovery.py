"""The slots that endpoints have in the kernel, read after a start of the agent: so endpoints and clients keep theirs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nodeagent.network.elements import Element
from nodeagent.network.services.model import ServiceInfo, Target
from nodeagent.network.services.slots import Slots
from nodeagent.network.services.wanted import SCOPES, Assigned, Frontend, frontends, port_key

_SLOT = re.compile(r"services_(cluster|local)(_nodeport)?_slot(\d+)_([46])\Z")
# By traffic policy and frontend, the target of each slot.
Found = dict[tuple[str, Frontend], dict[int, Target]]


def read(elements: Mapping[str, Iterable[Element]]) -> Found:
    """From the elements of each container."""
    found = Found()
    for container, items in elements.items():
        if (parts := _SLOT.match(container)) is None:
            continue
        scope, nodeport, number, family = parts.groups()
        for item in items:
            *address, protocol, port = item.key
            frontend = Frontend(int(family), "" if nodeport else address[0], protocol, int(port))
            found.setdefault((scope, frontend), {})[int(number)] = Target(item.value[0], int(item.value[1]))
    return found


def assigned(service: ServiceInfo, found: Found) -> Assigned:
    """Those of a Service's frontends."""
    result = Assigned()
    for port in service.ports:
        own = list(frontends(ServiceInfo("", ports=(port,))))
        for scope in SCOPES:
            present = next((slots for item in own if (slots := found.get((scope, item)))), {})
            result[port_key(port, scope)] = _slots(present)
    return result


def _slots(present: dict[int, Target]) -> Slots:
    return tuple(present.get(number) for number in range(max(present, default=-1) + 1))
