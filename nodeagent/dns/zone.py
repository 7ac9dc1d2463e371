"""A question about the cluster's names, to the records that answer it. Pure; names are tuples of labels in lower case.

    DOMAIN                                   SOA, NS
    dns-version.DOMAIN                       TXT
    SERVICE.NAMESPACE.svc.DOMAIN             see `services`
    1-2-3-4.NAMESPACE.pod.DOMAIN             A, AAAA: the address in the name, whether or not a pod has it
    4.3.2.1.in-addr.arpa, ...ip6.arpa        see `reverse`

Source: docs/specification.md of kubernetes/dns, and CoreDNS' kubernetes plugin as kubeadm configures it (`pods insecure`).
"""

from __future__ import annotations

from collections.abc import Sequence

from nodeagent.dns import reverse, services
from nodeagent.dns.found import AAAA, NS, NXDOMAIN, TXT, A, Found, Labels, Record, addresses_of
from nodeagent.dns.index import Index, Use, address_in
from nodeagent.dns.reverse import Networks

VERSION, VERSION_TTL = "1.1.0", 28800
_SERVICES, _PODS, _SERVER, _VERSION = "svc", "pod", "dns", "dns-version"
# CNAMEs in one answer that lead from one name of the cluster to another.
MAX_CHAIN = 8


class Zone:
    """`domain` is the cluster's, `networks` those whose reverse names are the cluster's own, `servers` its DNS addresses."""

    def __init__(self, index: Index, *, domain: str, networks: Sequence[str], servers: Sequence[str]) -> None:
        self._index = index
        self.domain: Labels = tuple(domain.strip(".").lower().split("."))
        self._networks = Networks(networks)
        self._servers = tuple(servers)

    def lookup(self, name: Labels, type_: int) -> Found | None:
        """None for a name that is not the cluster's."""
        found, passed = self._lookup(name, type_), {name}
        while found is not None and found.chase:
            further = self._lookup(found.chase, type_)
            if further is None:
                return found
            if found.chase in passed or len(passed) > MAX_CHAIN:
                # A circle, or too long a chain, leads nowhere.
                found.chase = ()
                return found
            passed.add(found.chase)
            found = _joined(found, further)
        return found

    def _lookup(self, name: Labels, type_: int) -> Found | None:
        if name[-len(self.domain) :] == self.domain:
            return self._inside(name, type_)
        return reverse.lookup(self._index, self._networks, self.domain, name, type_) if name[-1:] == ("arpa",) else None

    def _inside(self, name: Labels, type_: int) -> Found:
        found = Found(self.domain)
        labels = name[: -len(self.domain)]
        *rest, last = labels or ("",)
        if last == _SERVICES and rest:
            self._service(found, name, rest, type_)
        elif last == _PODS and rest:
            self._pod(found, name, rest, type_)
        elif labels == ("ns", _SERVER):
            found.answers = addresses_of(name, type_, self._servers)
        elif not labels:
            self._apex(found, name, type_)
        elif labels == (_VERSION,):
            found.answers = [Record(name, TXT, VERSION, VERSION_TTL)] if type_ == TXT else []
        elif labels not in ((_SERVICES,), (_PODS,), (_SERVER,)):
            found.rcode = NXDOMAIN
        return found

    def _apex(self, found: Found, name: Labels, type_: int) -> None:
        if type_ == NS:
            server = ("ns", _SERVER, *self.domain)
            found.answers = [Record(name, NS, ".".join(server))]
            found.additional = [record for kind in (A, AAAA) for record in addresses_of(server, kind, self._servers)]

    def _exists(self, found: Found, namespace: str) -> bool:
        here = self._index.namespaces.get(namespace)
        found.uses.append(Use(self._index.namespaces, namespace, here))
        return here is not None

    def _pod(self, found: Found, name: Labels, rest: Sequence[str], type_: int) -> None:
        *host, namespace = rest
        if len(host) > 1 or not self._exists(found, namespace):
            found.rcode = NXDOMAIN
        elif host:
            address = address_in(host[0])
            if address:
                found.answers = addresses_of(name, type_, [address])
            else:
                found.rcode = NXDOMAIN

    def _service(self, found: Found, name: Labels, rest: Sequence[str], type_: int) -> None:
        if len(rest) == 1:
            found.rcode = 0 if self._exists(found, rest[0]) else NXDOMAIN
            return
        key = rest[-1], rest[-2]
        entry = self._index.entries.get(key)
        found.uses.append(Use(self._index.entries, key, entry))
        if entry is None or entry.service is None or not services.fill(found, entry, name, rest[:-2], type_):
            found.rcode = NXDOMAIN


def _joined(first: Found, further: Found) -> Found:
    """The chain so far, and where it leads."""
    return Found(
        further.zone, further.rcode, [*first.answers, *further.answers], further.additional, further.chase,
        [*first.uses, *further.uses],
    )  # fmt: skip
