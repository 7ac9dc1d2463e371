"""The tables of releases before 0.3, `ip pinnace` and `ip6 pinnace`: their host ports and peers move to the new table."""

from __future__ import annotations

from nodeagent.network import elements
from nodeagent.network.elements import TABLE, Element, Key
from nodeagent.network.nftables import Nftables

_FAMILIES = ("ip", "ip6")


def remove(tables: frozenset[tuple[str, str]]) -> str:
    """Commands that delete those of these tables which are of an earlier release."""
    return "".join(f"delete table {family} {TABLE}\n" for family in _FAMILIES if (family, TABLE) in tables)


def carried(tables: frozenset[tuple[str, str]], nft: Nftables) -> set[Element]:
    """Their elements in the form of today. Raises NetworkError."""
    if ("ip", TABLE) not in tables:
        return set()
    found = elements.read(nft.read(f"table ip {TABLE}"))
    carried = {Element("peers_4", item.key) for item in found.get("peers", ())}
    for before, now in (("", "hostports_4"), ("_at", "hostports_at_4")):
        ports: dict[Key, Key] = {item.key: item.value for item in found.get(f"port{before}", ())}
        addresses = found.get(f"address{before}", ())
        carried |= {Element(now, item.key, item.value + ports[item.key]) for item in addresses if item.key in ports}
        targets = {item.value for item in addresses}
        carried |= {Element("hostports_hairpin_4", target * 2) for target in targets}
    return carried
