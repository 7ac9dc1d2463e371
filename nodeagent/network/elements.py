"""The data of the node's nftables table: what goes into it, as text of nft(8), and what the kernel returns of it. Pure.

The table `inet pinnace` has two parts. The SKELETON is its chains, sets and maps; it depends on the node's configuration
only. The ELEMENTS of the sets and maps change with pods, peers and Services, each by itself, so that a change costs the same
however many there are. Each concern (host ports, peers, Services, policies) adds a `Fragment` of the skeleton and owns the
sets and maps whose names begin with its name and an underscore. A set with a timeout is filled by packets; no concern owns
its elements.

The names of containers end in the number of their address family, 4 or 6.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pinnace.ipfamilies import canonical

FAMILY, TABLE = "inet", "pinnace"
# A chain without rules whose name tells which skeleton the table has: libnftables 1.0 omits a table's comment in JSON.
_MARK = "skeleton-"
# Elements in one command: libnftables' parser needs memory for each.
_BATCH = 1000
# By number in commands and in listings: /etc/protocols may be missing.
_NUMBERS = {"tcp": "6", "udp": "17", "sctp": "132"}
# All that a key or value is made of. An element is a part of a command, so nothing else may get into it.
_SAFE = re.compile(r"[0-9A-Za-z_.:/ -]+\Z")
_NAMES = {number: name for name, number in _NUMBERS.items()}

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Element:
    """One element of the set or map `container`. `key` has its parts as nft writes them, protocols by name (tcp, udp, sctp);
    `value` is empty in a set, else the parts of an address and port, or one verdict such as ("goto n2",)."""

    container: str
    key: Key
    value: Key = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Chains, sets and maps that are added when the first element needs them. `needs`: names of the parts that it refers to."""

    text: str
    needs: tuple[str, ...] = ()


def _no_part(name: str) -> Part | None:
    return None


@dataclass(frozen=True, slots=True)
class Fragment:
    """A concern's part of the skeleton: chains, sets and maps in nft(8)'s syntax, as they stand inside the table's braces.
    `part` returns a further one by the name of its chain, which its map has as well, if any; its text follows from the name and
    `text` alone."""

    concern: str
    text: str
    part: Callable[[str], Part | None] = field(default=_no_part, compare=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """`remove` is applied first: an element with another value is removed and added in one transaction."""

    add: tuple[Element, ...] = ()
    remove: tuple[Element, ...] = ()

    @property
    def size(self) -> int:
        return len({(item.container, item.key) for item in (*self.add, *self.remove)})


@dataclass(frozen=True, slots=True)
class Listing:
    """The table in the kernel. `names` are those of chains, sets and maps; of elements it may have those of some concerns."""

    skeleton: str = ""
    names: frozenset[str] = frozenset()
    elements: Mapping[str, frozenset[Element]] = field(default_factory=dict)


def number(address: str) -> int:
    """The family of an address or CIDR: 4 or 6."""
    return 6 if ":" in address else 4


def ip(address: str) -> str:
    """nft's name of the header that has such an address."""
    return "ip6" if ":" in address else "ip"


def protocol_of(number: int) -> str:
    """The name of a protocol as a part of a key."""
    return _NAMES.get(str(number), str(number))


def concern_of(container: str) -> str:
    return container.partition("_")[0]


def difference(want: Iterable[Element], have: Iterable[Element]) -> Difference:
    """From `have` to `want`. Elements of a key twice: the caller's error, rejected by the kernel."""
    wanted, present = frozenset(want), frozenset(have)
    return Difference(tuple(sorted(wanted - present)), tuple(sorted(present - wanted)))


def needed(items: Iterable[Element]) -> set[str]:
    """Names of the containers and chains that elements need."""
    found = set[str]()
    for item in items:
        found.add(item.container)
        if item.value and item.value[0].startswith(("goto ", "jump ")):
            found.add(item.value[0][5:])
    return found


def skeleton_id(fragments: Iterable[Fragment]) -> str:
    return hashlib.sha256("\n".join(item.text for item in fragments).encode()).hexdigest()[:16]


def create(fragments: Iterable[Fragment], pieces: Iterable[str] = ()) -> str:
    """The table anew, in place of one that is there: `add` first, so that `delete` cannot fail."""
    parts = list(fragments)
    mark = f"chain {_MARK}{skeleton_id(parts)} {{\n}}"
    return f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n" + extend([mark, *(i.text for i in parts), *pieces])


def extend(pieces: Iterable[str]) -> str:
    """More chains, sets and maps of the table."""
    body = "\n".join(piece.strip("\n") for piece in pieces)
    return f"table {FAMILY} {TABLE} {{\n{body}\n}}\n" if body else ""


def commands(change: Difference) -> str:
    """Removals before additions: see `Difference`."""
    return _elements("delete", change.remove) + _elements("add", change.add)


def _elements(verb: str, items: Iterable[Element]) -> str:
    by_container: dict[str, list[Element]] = {}
    for item in items:
        by_container.setdefault(item.container, []).append(item)
    found = []
    for container, members in by_container.items():
        for start in range(0, len(members), _BATCH):
            texts = ", ".join(_text(item, verb) for item in members[start : start + _BATCH])
            found.append(f"{verb} element {FAMILY} {TABLE} {container} {{ {texts} }}\n")
    return "".join(found)


def _text(item: Element, verb: str) -> str:
    key = _joined(item.key)
    return f"{key} : {_joined(item.value)}" if item.value and verb == "add" else key


def _joined(parts: Key) -> str:
    """Raises ValueError."""
    text = " . ".join(_NUMBERS.get(part, part) for part in parts)
    if _SAFE.match(text) is None:
        raise ValueError(f"no part of an element: {text[:100]!r}")
    return text


def batches(items: Iterable[Element], size: int) -> Iterator[tuple[Element, ...]]:
    """At most `size` of one container each."""
    for _, members in itertools.groupby(items, lambda item: item.container):
        while batch := tuple(itertools.islice(members, size)):
            yield batch


def skeleton_of(chains: Iterable[str]) -> str:
    """Which skeleton the table with these chains has."""
    return next((name.removeprefix(_MARK) for name in chains if name.startswith(_MARK)), "")


def read(objects: Iterable[dict[str, Any]]) -> dict[str, frozenset[Element]]:
    """From what libnftables lists of sets and maps in JSON, protocols by number: their elements. Addresses are as `ipaddress`
    writes them."""
    found = dict[str, frozenset[Element]]()
    for item in objects:
        [(kind, body)] = item.items()
        if kind in ("set", "map") and "timeout" not in body.get("flags", ()):
            found[body["name"]] = frozenset(_element(body, elem) for elem in body.get("elem", ()))
    return found


def _element(container: dict[str, Any], found: Any) -> Element:
    types = container["type"] if isinstance(container["type"], list) else [container["type"]]
    key, value = found if container.get("map") else (found, None)
    if isinstance(key, dict) and "elem" in key:
        key = key["elem"]["val"]
    named = [_NAMES.get(text, text) if kind == "inet_proto" else text for kind, text in zip(types, _parts(key), strict=True)]
    return Element(container["name"], tuple(named), _parts(value) if value is not None else ())


def _parts(value: Any) -> Key:
    return tuple(map(_part, value["concat"])) if isinstance(value, dict) and "concat" in value else (_part(value),)


def _part(value: Any) -> str:
    match value:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{canonical(address)}/{length}"
        case {"range": [low, high]}:
            return f"{canonical(low)}-{canonical(high)}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case dict():
            return str(next(iter(value)))
    return canonical(str(value))
