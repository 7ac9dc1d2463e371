"""What does not fit of a cluster's ranges: those of pods, of Services, and of load balancers. Pure.

The command line checks what the flags have; the server checks it again with the ranges of pods that the cluster has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from controlplane.serviceranges import overlap
from pinnace.ipfamilies import NAMES, Address, family_of

Pool = Sequence[tuple[Address, Address]]
# Of which no host of a network has an address: this host, loopback, link-local, multicast and reserved (RFC 6890, RFC 4291).
_NO_HOSTS = "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"
# UDP ports that a node uses: of its DNS resolver, and of WireGuard, with `--encrypt`.
_DNS_PORT, _WIREGUARD_PORT = 53, 51820


def wrong_ranges(*, pods: Sequence[str], services: Sequence[str], pool: Pool, pods_are: str = "--cluster-cidr") -> str:
    """The first error, naming the flag; empty: none. `pods` empty: they are not known yet. `pods_are`: what has them."""
    if (clash := overlap(services, pods)) is not None:
        return f"--service-cluster-ip-range {clash[0]} overlaps with {pods_are} {clash[1]}"
    # DNS and the Service `kubernetes` are of the first range; no Service needs to be of the second.
    if pods and family_of(services[0]) not in map(family_of, pods):
        family = NAMES[family_of(services[0])]
        return (
            f"--service-cluster-ip-range {services[0]} is {family}, and {pods_are} {','.join(pods)} is not: pods without "
            f"an {family} address reach neither DNS nor the API; set ranges of the same IP families"
        )
    return _wrong_pool(pool, [("--service-cluster-ip-range", services), (pods_are, pods)])


def _wrong_pool(pool: Pool, used: Sequence[tuple[str, Sequence[str]]]) -> str:
    for first, last in pool:
        text = f"--load-balancer-pool {first}-{last}" if first != last else f"--load-balancer-pool {first}"
        for flag, cidrs in used:
            if found := _shared(first, last, cidrs):
                return f"{text} overlaps with {flag} {found}"
        if found := _shared(first, last, _NO_HOSTS):
            return f"{text} has addresses of {found}, which no host of the nodes' network can have"
    return ""


def _shared(first: Address, last: Address, cidrs: Sequence[str]) -> str:
    """The first network that has an address from `first` to `last`; empty: none."""
    networks = (ipaddress.ip_network(cidr) for cidr in cidrs)
    same = (network for network in networks if network.version == first.version)
    return next((str(item) for item in same if int(item[0]) <= int(last) and int(first) <= int(item[-1])), "")


def wrong_port(vxlan: int, *, encrypt: bool) -> str:
    """The error of a VXLAN port that a node uses for something else; empty: none."""
    if vxlan == _DNS_PORT:
        return f"--vxlan-port {vxlan} is the port of the nodes' DNS resolvers"
    if encrypt and vxlan == _WIREGUARD_PORT:
        return f"--vxlan-port {vxlan} is the port of WireGuard, which --encrypt needs"
    return ""
