"""What the cluster knows of a question, as values. Pure; names are tuples of labels in lower case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nodeagent.dns.index import Use

Labels = tuple[str, ...]
# Types and response codes (RFC 1035, 3.2.2 and 4.1.1; RFC 2782; RFC 3596).
A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV = 1, 2, 5, 6, 12, 16, 28, 33
NOERROR, NXDOMAIN = 0, 3
# Seconds, of every record and of negative answers: CoreDNS' default.
TTL = 5
# In one section of an answer, which is made while other clients wait: as many as nodes use of the endpoints of a port.
MAX_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """`data` is text: an address, a name, or the fields of SRV with spaces."""

    name: Labels
    type: int
    data: str
    ttl: int = TTL


@dataclass(slots=True)
class Found:
    """`zone` is the apex whose SOA a negative answer has. `chase` is the name that the last CNAME leads to, while it has not
    been followed. `uses` is what the answer was made from."""

    zone: Labels
    rcode: int = NOERROR
    answers: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    chase: Labels = ()
    uses: list[Use] = field(default_factory=list)


def addresses_of(name: Labels, type_: int, addresses: Iterable[str]) -> list[Record]:
    """A or AAAA records for the addresses of that family; none for other types."""
    if type_ not in (A, AAAA):
        return []
    return [Record(name, type_, address) for address in addresses if (":" in address) == (type_ == AAAA)]
