"""A pod's /etc/resolv.conf, from its policy, its own settings, the cluster's DNS and the node's file. Pure.

Source: the behaviour of kubelet's network/dns package, also in the words of its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_DOMAIN = "cluster.local"
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
# Characters of all search domains with the spaces between them, and of one.
MAX_SEARCH_LINE = 2048
MAX_SEARCH = 253


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """DNS settings of pods. Without `servers` the cluster has no DNS, and pods use the node's resolvers."""

    servers: tuple[str, ...] = ()
    domain: str = DEFAULT_DOMAIN
    resolv_conf: Path = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class DnsFlags:
    """What the agent's flags say; no `servers` and no `domain` (None): as the control plane says. `stubs` are domains with name
    servers of their own."""

    servers: tuple[str, ...] = ()
    domain: str | None = None
    resolv_conf: Path = Path("/etc/resolv.conf")
    stubs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def with_cluster(self, servers: tuple[str, ...], domain: str) -> ClusterDns:
        """`servers` and `domain` are the control plane's."""
        found = self.domain if self.domain is not None else domain or DEFAULT_DOMAIN
        return ClusterDns(self.servers or servers, found, self.resolv_conf)


@dataclass(frozen=True, slots=True)
class Resolver:
    """`warnings` say what did not fit."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Resolver:
    """A resolv.conf. Name servers add up; of search and options lines the last one counts."""
    servers: list[str] = []
    searches: Sequence[str] = ()
    options: Sequence[str] = ()
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word == "search":
            searches = [name.removesuffix(".") or name for name in rest]
        elif word == "options":
            options = rest
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def resolver_of(pod: Any, dns: ClusterDns, node: str) -> Resolver:
    """`node` is the text of the node's resolv.conf."""
    base = _base(pod, dns, parse(node))
    config = pod.spec.dnsConfig
    servers, searches = _unique(base.servers, config.nameservers), _unique(base.searches, config.searches)
    own = {item.name: item.value for item in config.options}
    options = dict(item.partition(":")[::2] for item in base.options) | own
    written = tuple(f"{name}:{value}" if value else name for name, value in options.items())
    return _fitting(Resolver(servers, searches, written))


def _base(pod: Any, dns: ClusterDns, host: Resolver) -> Resolver:
    policy = pod.spec.dnsPolicy
    if policy == "None":
        return Resolver()
    asks_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.hostNetwork)
    if not asks_cluster or not dns.servers:
        return host
    domain = dns.domain
    searches = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain) if domain else ()
    return Resolver(dns.servers, _unique(searches, host.searches), ("ndots:5",))


def _unique(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))


def _fitting(wanted: Resolver) -> Resolver:
    warnings = []
    servers = wanted.servers[:MAX_NAMESERVERS]
    if servers != wanted.servers:
        warnings.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
            + " ".join(servers)
        )
    searches = tuple(name for name in wanted.searches[:MAX_SEARCHES] if len(name) <= MAX_SEARCH)
    while len(" ".join(searches)) > MAX_SEARCH_LINE:
        searches = searches[:-1]
    if searches != wanted.searches:
        warnings.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
            + " ".join(searches)
        )
    return Resolver(servers, searches, wanted.options, tuple(warnings))
