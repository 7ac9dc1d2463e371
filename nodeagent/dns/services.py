"""The names of one Service. Pure.

    SERVICE                       A, AAAA: its cluster IPs, or the ready endpoints of a headless one; SRV; CNAME of an
    ExternalName
    _PORT._PROTOCOL.SERVICE       the same, of that port
    HOST.SERVICE                  A, AAAA, SRV of the ready endpoints with that host name, or the address with dashes

A headless Service without ready endpoints has no name (specification, 2.4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from nodeagent.dns.found import AAAA, CNAME, MAX_RECORDS, SRV, A, Found, Labels, Record, addresses_of
from nodeagent.dns.index import Entry, hostname_of, packed
from nodeagent.dns.records import Port

# What SRV records of one answer share (RFC 2782).
_WEIGHT = 100
_MAX_LABEL = 63


def fill(found: Found, entry: Entry, name: Labels, before: Sequence[str], type_: int) -> bool:
    """Fill in what the Service of `entry` has at `name`, whose labels left of the Service's are `before`; False when it has no
    such name."""
    service = entry.service
    if service is None or len(before) > 2:
        return False
    if service.external:
        return not before and _alias(found, service.external, name, type_)
    if len(before) == 1 and not before[0].startswith("_"):
        return _host(found, entry, name, type_)
    if not all(label.startswith("_") for label in before):
        return False
    wanted = _Wanted(*(label[1:] for label in before)) if len(before) == 2 else _Wanted("", *(label[1:] for label in before))
    matching = _headless if service.headless else _cluster_ip
    answers, additional = matching(entry, wanted, name, type_)
    if answers is None:
        return False
    if len(before) != 1:
        # _PROTOCOL.SERVICE is there because of the names below it.
        found.answers, found.additional = answers, additional
    return True


class _Wanted:
    """Which ports a name is about; empty texts: any."""

    def __init__(self, port: str = "", protocol: str = "") -> None:
        self._port, self._protocol = port, protocol

    @property
    def any(self) -> bool:
        return not self._port and not self._protocol

    def __call__(self, port: Port) -> bool:
        return self._port in ("", port.name.lower()) and self._protocol in ("", port.protocol)


_Answers = tuple[list[Record] | None, list[Record]]


def _cluster_ip(entry: Entry, wanted: _Wanted, name: Labels, type_: int) -> _Answers:
    service = entry.service
    assert service is not None
    ports = [port for port in service.ports if wanted(port)]
    if not ports:
        return None, []
    if type_ != SRV:
        return addresses_of(name, type_, service.addresses), []
    base = _service_name(name)
    additional = [one for kind in (A, AAAA) for one in addresses_of(base, kind, service.addresses)]
    return _srv(name, list(dict.fromkeys((port.number, base) for port in ports))), additional


def _headless(entry: Entry, wanted: _Wanted, name: Labels, type_: int) -> _Answers:
    # Endpoints of a slice share their ports.
    shared = {id(ports): ports for _, ports in entry.endpoints}
    matching = {key: [port for port in ports if wanted(port)] for key, ports in shared.items()}
    ends = ((end, matching[id(ports)]) for end, ports in entry.endpoints if wanted.any or matching[id(ports)])
    if type_ != SRV:
        addresses = dict.fromkeys(end.address for end, _ in ends)
        own = (address for address in addresses if (":" in address) == (type_ == AAAA))
        return (addresses_of(name, type_, islice(own, MAX_RECORDS)), []) if addresses else (None, [])
    base, found = _service_name(name), list(islice(ends, MAX_RECORDS))
    every = ((port.number, (hostname_of(end), *base)) for end, ports in found for port in ports)
    targets = dict.fromkeys(islice(every, MAX_RECORDS))
    hosts = dict.fromkeys((hostname_of(end), *base) for end, _ in found)
    additional = [one for host in hosts for kind in (A, AAAA) for one in addresses_of(host, kind, entry.hosts[host[0]])]
    return (_srv(name, list(targets)), additional[:MAX_RECORDS]) if found else (None, [])


def _service_name(name: Labels) -> Labels:
    """Without _PORT._PROTOCOL."""
    return name[2:] if name[0].startswith("_") else name


def _host(found: Found, entry: Entry, name: Labels, type_: int) -> bool:
    addresses = entry.hosts.get(name[0])
    if addresses is None:
        return False
    found.answers = addresses_of(name, type_, addresses)[:MAX_RECORDS]
    if type_ == SRV:
        every = {id(ports): ports for end, ports in entry.endpoints if hostname_of(end) == name[0]}
        numbers = dict.fromkeys(port.number for ports in every.values() for port in ports)
        found.answers = _srv(name, [(number, name) for number in islice(numbers, MAX_RECORDS)])
        found.additional = [one for kind in (A, AAAA) for one in addresses_of(name, kind, addresses)][:MAX_RECORDS]
    return True


def _srv(name: Labels, targets: Sequence[tuple[int, Labels]]) -> list[Record]:
    weight = max(1, _WEIGHT // max(1, len(targets)))
    return [Record(name, SRV, f"0 {weight} {port} {'.'.join(target)}.") for port, target in sorted(targets)]


def _alias(found: Found, target: str, name: Labels, type_: int) -> bool:
    """A CNAME to `target`; an address is no name, so that there is nothing to answer (as in CoreDNS), nor is what no message
    can have."""
    leads_to = tuple(target.strip(".").lower().split("."))
    if packed(target) is not None or not all(0 < len(label) <= _MAX_LABEL and label.isascii() for label in leads_to):
        return False
    found.answers = [Record(name, CNAME, ".".join(leads_to))]
    found.chase = leads_to if type_ != CNAME else ()
    return True
