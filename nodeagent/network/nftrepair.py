"""The node's nftables tables compared with the programmed ones, and repaired. On the thread that owns netlink."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nodeagent.network import elements, guard, nftcheck, nftread
from nodeagent.network.elements import FAMILY, TABLE, Element
from nodeagent.network.guard import Binding
from nodeagent.network.interface import Deviation, Errors, NetworkError
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftcheck import Generation
from nodeagent.network.nftread import Shape
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.ruleset import Ruleset, Wanted
from pinnace.ipfamilies import family_of

INET, ON_BRIDGE, ARP = f"{FAMILY} {TABLE}", f"bridge {TABLE}", f"arp {TABLE}"


class NftRepair:
    def __init__(
        self, nft: Nftables, ruleset: Ruleset, bindings: Callable[[], Iterable[Binding]], mac: Callable[[], str]
    ) -> None:  # fmt: skip
        """In the network namespace of the calling thread. `mac`: of the bridge, as it should be. Raises NetworkError."""
        self._nft, self._ruleset, self._bindings, self._mac = nft, ruleset, bindings, mac
        try:
            self._kernel = NetlinkSocket(nftread.NETFILTER)
        except OSError as error:
            raise NetworkError(f"nftables: {error.strerror or error}") from error
        self._generation = Generation(nft, self._kernel)
        # The shapes wanted last, and what they were made of.
        self._shapes: dict[str, Shape] = {}
        self._made_of: tuple[str, frozenset[str], str] = "", frozenset(), ""
        # Elements of sets with a timeout that are none of ours, as of the last comparison.
        self._foreign: tuple[Element, ...] = ()

    def close(self) -> None:
        self._kernel.close()

    def verify(self, *, thorough: bool = False) -> list[Deviation]:
        """`thorough`: also when no one else has changed anything since the last time. Raises NetworkError."""
        try:
            if self._generation.undisturbed() and not thorough:
                return []
            mark = self._generation.mark()
        except OSError as error:
            raise NetworkError(f"nftables: {error.strerror or error}") from error
        found = self._compare(self._ruleset.wanted())
        if not found:
            self._generation.settle(mark)
        return found

    def _compare(self, want: Wanted) -> list[Deviation]:
        shapes = self._wanted_shapes(want)
        found = []
        for table in (INET, ON_BRIDGE, ARP):
            have = nftread.shape(table)
            wrong = nftcheck.differences(table, shapes[table], have)
            # A chain, set or map that no rule leads to is harmless: one of an earlier release, say.
            found += [item for item in wrong if item.wanted or _is_hooked(have, item)]
            if have and table != ARP:
                found += self._elements(table, want)
        return found

    def _elements(self, table: str, want: Wanted) -> list[Deviation]:
        listed = nftread.filled(self._nft, table, nftread.containers(table))
        if table == ON_BRIDGE:
            wanted = {Element(guard.BINDINGS[family_of(i.address)], (i.device, i.mac, i.address)) for i in self._bindings()}
            names = guard.BINDINGS.values()
            return _differing(table, frozenset(wanted), frozenset[Element]().union(*(listed.get(name, ()) for name in names)))
        found = []
        for concern, items in want.elements.items():
            have = frozenset[Element]().union(*(v for name, v in listed.items() if elements.concern_of(name) == concern))
            found += _differing(table, items, have)
        return found + self._timed(want)

    def _timed(self, want: Wanted) -> list[Deviation]:
        found = nftcheck.foreign(INET, (*(item.text for item in want.fragments), *want.pieces.values()))
        self._foreign = tuple(item for item, _ in found)
        return [
            Deviation("nft", f"{INET} element {item.container} {' . '.join(item.key)}", "", f"timeout {timeout} s")
            for item, timeout in found
        ]

    def _wanted_shapes(self, want: Wanted) -> dict[str, Shape]:
        made_of = elements.skeleton_id(want.fragments), frozenset(want.pieces), self._mac()
        if made_of != self._made_of:
            text = elements.create(want.fragments, want.pieces.values())
            self._shapes = nftcheck.elsewhere(lambda nft: _program(nft, text, made_of[2]), (INET, ON_BRIDGE, ARP))
            self._made_of = made_of
        return self._shapes

    def repair(self, found: Iterable[Deviation]) -> None:
        """A table that cannot be repaired does not hold back the others; raises the first NetworkError."""
        items = [item.item.removeprefix("table ") for item in found]
        elements_only = all(item.startswith(f"{INET} element ") for item in items if item.startswith(INET))
        errors = Errors()
        for table, work in (
            (INET, self._repair_elements if elements_only else self._ruleset.recreate), (ON_BRIDGE, self._repair_bridge),
            (ARP, lambda: self._nft.run(guard.port_rules(TABLE))),
        ):  # fmt: skip
            if any(item.startswith(table) for item in items):
                errors.attempt(work)
        errors.check()

    def _repair_bridge(self) -> None:
        self._nft.run(guard.bridge_rules(TABLE, guard.PORTS, self._bindings(), mac=self._mac()))

    def _repair_elements(self) -> None:
        errors = Errors()
        errors.attempt(self._ruleset.repair)
        errors.attempt(lambda: self._ruleset.expire(self._foreign))
        errors.check()


def _program(nft: Nftables, text: str, mac: str) -> None:
    nft.run_text(text)
    nft.run(guard.bridge_rules(TABLE, guard.PORTS, (), mac=mac))
    nft.run(guard.port_rules(TABLE))


def _is_hooked(have: Shape, item: Deviation) -> bool:
    """Whether it is a chain that packets pass."""
    return have.get(item.item.split(" ", 2)[2], "").startswith(nftread.HOOK)


def _differing(table: str, want: frozenset[Element], have: frozenset[Element]) -> list[Deviation]:
    before, after = ({(i.container, i.key): " . ".join(i.value) or "present" for i in items} for items in (have, want))
    changed = sorted({(i.container, i.key) for i in want ^ have})
    return [
        Deviation(
            "nft",
            f"{table} element {container} {' . '.join(key)}",
            after.get((container, key), ""),
            before.get((container, key), ""),
        )
        for container, key in changed
    ]
