"""The node's nftables table in the kernel: kept as it is wanted, by changes of elements.

Usage, on the thread that owns netlink:

    ruleset.ensure(fragments)            # the skeleton; what is there already stays, with its elements
    ruleset.declare("peers", elements)   # exactly these elements in the concern's sets and maps
    ruleset.change("peers", add, remove) # some more, some fewer; costs O(change)
    ruleset.repair()                     # read the kernel, and apply the difference

Until a concern has declared its elements after a start of the agent, those in the kernel stay: traffic continues. A new
skeleton (another release, another configuration) replaces the table in one transaction and carries the elements over. After a
transaction that failed, the next one begins with a comparison with the kernel.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from nodeagent.network import elements, legacy, nftread, trial
from nodeagent.network.elements import FAMILY, TABLE, Difference, Element, Fragment, Key, Listing, Part, concern_of
from nodeagent.network.interface import Errors, NetworkError
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftread import Container
from nodeagent.network.trial import Found

log = logging.getLogger("pinnace.network")
# Transactions that the kernel may reject while elements that it rejects are looked for.
_REJECTIONS = 64
# Of elements that are rejected together.
_MAX_LOGGED = 5
# Ranges that are removed one by one: for each of them libnftables reads the whole set or map.
_FEW = 16
_NAMED = re.compile(r"\b(?:chain|set|map) (\w+) \{")
_RANGED = re.compile(r"\b(set|map) (\w+) \{[^}]*\bflags interval\b")
# Characters of parts' text beyond which those that nothing needs any more are looked for.
_MAX_PARTS = 4 << 20
# Elements that packets have added, deleted in one transaction.
_EXPIRED = 4000
Table = dict[tuple[str, Key], Element]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The table as it should be. `elements` has the concerns that have declared theirs; `pieces` are texts of the
    parts that were added later, by the name of their chain."""

    fragments: tuple[Fragment, ...]
    pieces: dict[str, str]
    elements: dict[str, frozenset[Element]]


@dataclass(slots=True)
class _State:
    fragments: tuple[Fragment, ...] = ()
    # Parts that the kernel has, by the name of their chain.
    pieces: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    # The kernel may have something else than `tables`.
    stale: bool = False
    # Characters that `pieces` may have until it is asked which of them are needed.
    room: int = 0


class Ruleset:
    """One thread at a time. All methods raise NetworkError, after which the wanted state is the new one."""

    def __init__(self, nft: Nftables, max_parts: int = _MAX_PARTS) -> None:
        self._nft, self._max_parts = nft, max_parts
        self._state = _State(room=max_parts)

    @property
    def stale(self) -> bool:
        """A transaction has failed: `repair` is due."""
        return self._state.stale

    def ensure(self, fragments: Sequence[Fragment]) -> None:
        """Have the table with this skeleton."""
        self._state.fragments = tuple(fragments)
        self.repair()

    def declare(self, concern: str, wanted: Iterable[Element]) -> Difference:
        """Exactly these elements in the concern's sets and maps; returns what was changed."""
        state = self._state
        table = _indexed(concern, wanted)
        before = state.tables.get(concern)
        state.tables[concern] = table
        if before is None or state.stale:
            return self.repair(() if state.stale else [concern])
        change = elements.difference(table.values(), before.values())
        self._apply([change])
        return change

    def change(self, concern: str, add: Iterable[Element], remove: Iterable[Element]) -> None:
        """Add and remove elements of a concern that has declared its own. An element to add replaces that with its key, one
        to remove is compared by its key alone; both may name the same key."""
        state = self._state
        table = state.tables[concern]
        gone = [found for item in remove if (found := table.pop((item.container, item.key), None)) is not None]
        new = []
        for place, item in _indexed(concern, add).items():
            if (found := table.get(place)) == item:
                continue
            if found is not None:
                gone.append(found)
            table[place] = item
            new.append(item)
        if state.stale:
            self.repair()
            return
        both, count = set(gone) & set(new), len(state.pieces)
        self._apply([Difference(tuple(i for i in new if i not in both), tuple(i for i in gone if i not in both))])
        if len(state.pieces) > count:
            self._tidy()

    def _tidy(self) -> None:
        """Parts stay when their last element goes: the next one may need them. Once most are of the past, the table is made
        anew without them, as they cost the kernel memory and each comparison time."""
        state = self._state
        size = sum(map(len, state.pieces.values()))
        if size <= state.room:
            return
        needed = self._parts([item for table in state.tables.values() for item in table.values()], ())
        state.room = max(self._max_parts, 2 * sum(map(len, needed.values())))
        if size > state.room:
            log.info("table_made_anew parts=%d needed=%d", len(state.pieces), len(needed))
            self.recreate()

    def repair(self, concerns: Iterable[str] = ()) -> Difference:
        """Compare with the kernel, apply the difference and return it; of some concerns only, or of all that have declared
        their elements. Each concern is a transaction: one that fails does not hold back the others."""
        state, some = self._state, tuple(concerns or self._state.tables)
        tables = nftread.tables()
        listing = self.listing(some) if (FAMILY, TABLE) in tables else Listing()
        if listing.skeleton != elements.skeleton_id(state.fragments):
            return self.recreate()
        state.pieces = {name: part.text for name in sorted(listing.names) if (part := self._part(name)) is not None}
        if old := legacy.remove(tables):
            self._nft.run_text(old)
        changes = {concern: elements.difference(state.tables[concern].values(), _owned(listing, concern)) for concern in some}
        state.stale = state.stale and bool(concerns)
        self._contain(changes.values())
        return _sum(changes.values())

    def recreate(self) -> Difference:
        """Replace the table by one with the skeleton and the elements, whatever the kernel has of it."""
        tables = nftread.tables()
        return self._create(self.listing() if (FAMILY, TABLE) in tables else Listing(), tables)

    def _contain(self, changes: Iterable[Difference]) -> None:
        """Apply each; of one that the kernel rejects all but the elements that it rejects, so that a single one does not hold
        back the others for ever."""
        budget = _REJECTIONS
        waiting = [(change, True) for change in changes if change.size]
        while waiting:
            change, refill = waiting.pop()
            try:
                self._apply([change], refill=refill)
            except NetworkError as error:
                budget -= 1
                if budget < 0 or concern_of((change.add or change.remove)[0].container) not in self._state.tables:
                    raise
                if len(change.add) + len(change.remove) > 1:
                    waiting += [(half, False) for half in _halves(change)]
                    continue
                self._reject(change, error)
        self._state.stale = False

    def _reject(self, change: Difference, error: NetworkError) -> None:
        for item in change.add[:_MAX_LOGGED]:
            log.error("element_rejected container=%s key=%s error=%s", item.container, " . ".join(item.key), error)
        for item in change.add:
            self._state.tables.get(concern_of(item.container), {}).pop((item.container, item.key), None)

    def delete_clients(self, keys: Mapping[str, Collection[Key]]) -> None:
        """Delete the elements that packets have added to sets and that end in one of these, such as frontends', by set. Each
        set is read once: it may have many, and an error with one does not keep those of others. No error if there is no such
        set."""
        wanted = {name: set(own) for name, own in keys.items() if own and name in self._state.pieces}
        errors = Errors()
        for item in nftread.containers(f"{FAMILY} {TABLE}") if wanted else ():
            if ends := wanted.get(item.name):
                errors.attempt(partial(self._delete_clients_of, item, ends))
        errors.check()

    def _delete_clients_of(self, container: Container, ends: Collection[Key]) -> None:
        lengths = {len(key) for key in ends}
        clients = nftread.clients(f"{FAMILY} {TABLE}", container)
        self.expire(
            Element(container.name, client.key) for client in clients if any(client.key[-length:] in ends for length in lengths)
        )

    def expire(self, items: Iterable[Element]) -> None:
        """Delete elements of sets with a timeout, some thousand in a transaction: one that the kernel rejects does not keep the
        others. No concern owns them, so `stale` stays."""
        errors = Errors()
        for batch in elements.batches(items, _EXPIRED):
            # Added first: one that expires meanwhile would fail the deletion.
            text = elements.commands(Difference(add=batch)) + elements.commands(Difference(remove=batch))
            errors.attempt(partial(self._nft.run_text, text))
        errors.check()

    def _apply(self, changes: Iterable[Difference], *, refill: bool = True) -> None:
        """Each in a transaction, together with the parts that it needs. `refill`: sets and maps that lose many ranges are
        emptied and filled again."""
        errors = []
        for change in changes:
            parts = self._parts(change.add, self._state.pieces)
            try:
                self._commit(
                    elements.extend(parts.values()) + (self._refilled(change) if refill else elements.commands(change))
                )
                self._state.pieces |= parts
            except NetworkError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _refilled(self, change: Difference) -> str:
        """The commands of a change."""
        many = {name for name, count in Counter(item.container for item in change.remove).items() if count > _FEW}
        kinds = {name: kind for item in self._state.fragments if many for kind, name in _RANGED.findall(item.text)}
        names = many.intersection(kinds)
        if not names:
            return elements.commands(change)
        tables = [self._state.tables.get(concern, {}) for concern in {concern_of(name) for name in names}]
        filled = tuple(item for table in tables for item in table.values() if item.container in names)
        rest = Difference(
            tuple(item for item in change.add if item.container not in names),
            tuple(item for item in change.remove if item.container not in names),
        )
        emptied = "".join(f"flush {kinds[name]} {FAMILY} {TABLE} {name}\n" for name in sorted(names))
        return emptied + elements.commands(rest) + elements.commands(Difference(filled))

    def _parts(self, items: Iterable[Element], present: Collection[str]) -> dict[str, str]:
        """Those that elements need and that are not present, by name, with those that they need themselves."""
        found, waiting = dict[str, str](), [name for name in elements.needed(items) if name not in present]
        while waiting:
            name = waiting.pop()
            if name in found or name in present or (part := self._part(name)) is None:
                continue
            found[name] = part.text
            waiting += part.needs
        return found

    def _part(self, name: str) -> Part | None:
        concern = concern_of(name)
        return next((part for item in self._state.fragments if item.concern == concern and (part := item.part(name))), None)

    def wanted(self) -> Wanted:
        """A copy, for comparison with `listing`."""
        tables = {concern: frozenset(table.values()) for concern, table in self._state.tables.items()}
        return Wanted(self._state.fragments, dict(self._state.pieces), tables)

    def listing(self, concerns: Collection[str] | None = None) -> Listing:
        """The table as the kernel has it, which must be there, with the elements of these concerns, or of all. Those of sets
        that packets fill are not read: there may be hundreds of thousands."""
        table = f"{FAMILY} {TABLE}"
        chains, containers = nftread.chains(table), nftread.containers(table)
        found = [item for item in containers if concerns is None or concern_of(item.name) in concerns]
        names = frozenset((*chains, *(item.name for item in containers)))
        return Listing(elements.skeleton_of(chains), names, nftread.filled(self._nft, table, found))

    def _create(self, listing: Listing, tables: frozenset[tuple[str, str]]) -> Difference:
        """Replace the table, in one transaction: packets never meet a part of it. Elements of concerns that have not declared
        theirs are carried over, but for those that the new skeleton has no place for."""
        state = self._state
        present = {item for found in listing.elements.values() for item in found}
        keys = {(item.container, item.key) for item in present}
        present |= {item for item in legacy.carried(tables, self._nft) if (item.container, item.key) not in keys}
        kept = [item for item in present if concern_of(item.container) not in state.tables]
        wanted = [item for table in state.tables.values() for item in table.values()]
        parts = self._parts([*wanted, *kept], ())
        text = elements.create(state.fragments, parts.values())
        names = frozenset(_NAMED.findall(text))
        everything = sorted({*wanted, *(item for item in kept if elements.needed([item]) <= names)})
        begin = text + legacy.remove(tables)
        state.pieces = {}
        try:
            self._commit(begin + elements.commands(Difference(tuple(everything))))
        except NetworkError:
            everything = self._commit_accepted(begin, everything)
        accepted = frozenset(everything)
        # Those that the kernel has not rejected by themselves stay wanted.
        left_out = any(item not in accepted for table in state.tables.values() for item in table.values())
        state.pieces, state.stale = parts, left_out
        dropped = set(kept).difference(accepted)
        if dropped:
            log.warning(
                "elements_dropped count=%d containers=%s", len(dropped), ",".join(sorted({i.container for i in dropped}))
            )
        return elements.difference(accepted.intersection(wanted), present.difference(kept))

    def _commit_accepted(self, begin: str, items: Sequence[Element]) -> list[Element]:
        """Commit the commands `begin` and those of the elements that the kernel accepts after them, which are returned."""

        def check(some: Sequence[Element]) -> None:
            text = elements.create(self._state.fragments, self._parts(some, ()).values())
            self._nft.check(text + elements.commands(Difference(tuple(some))))

        found = trial.find(items, check)
        self._leave_out(found)
        try:
            self._commit(begin + elements.commands(Difference(tuple(found.accepted))))
        except NetworkError:
            found = trial.together(found.accepted, check)
            self._leave_out(found)
            self._commit(begin + elements.commands(Difference(tuple(found.accepted))))
        return found.accepted

    def _leave_out(self, found: Found) -> None:
        for item, error in found.rejected:
            self._reject(Difference((item,)), error)
        for some, error in found.left_out:
            log.error("elements_left_out container=%s count=%d error=%s", some[0].container, len(some), error)

    def _commit(self, text: str) -> None:
        if not text:
            return
        try:
            self._nft.run_text(text)
        except NetworkError:
            self._state.stale = True
            raise


def _indexed(concern: str, items: Iterable[Element]) -> Table:
    """Of several elements with a key the first; raises ValueError for a container of another concern."""
    found = Table()
    for item in items:
        if concern_of(item.container) != concern:
            raise ValueError(f"{item.container} does not belong to {concern}")
        found.setdefault((item.container, item.key), item)
    return found


def _owned(listing: Listing, concern: str) -> frozenset[Element]:
    return frozenset[Element]().union(*(v for name, v in listing.elements.items() if concern_of(name) == concern))


def _sum(changes: Iterable[Difference]) -> Difference:
    found = Difference()
    for change in changes:
        found = Difference(found.add + change.add, found.remove + change.remove)
    return found


def _halves(change: Difference) -> list[Difference]:
    """Additions and removals of the same key stay together."""
    keys = sorted({(item.container, item.key) for item in (*change.add, *change.remove)})
    first = set(keys[: len(keys) // 2]) if len(keys) > 1 else set[tuple[str, Key]]()
    if not first:
        return [Difference(remove=change.remove), Difference(add=change.add)]
    parts = []
    for inside in (True, False):
        add = tuple(item for item in change.add if ((item.container, item.key) in first) is inside)
        remove = tuple(item for item in change.remove if ((item.container, item.key) in first) is inside)
        parts.append(Difference(add, remove))
    return parts
