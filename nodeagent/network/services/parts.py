"""The chains, maps and sets of Services that are added when the first element needs them, from their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from nodeagent.network.elements import Part, number
from nodeagent.network.services.model import Facts
from nodeagent.network.services.names import CONCERN, Draw, Family, Names

# Clients of a namespace's Services that a slot remembers; more are led at random.
_CLIENTS = 65536
_GROUP = r"g([0-9a-f]{16})"
_DRAW = rf"(\d+)(?:of(\d+)t(\d+){_GROUP})?"
_BASE = re.compile(CONCERN + r"_(?P<scope>cluster|local)(?P<nodeport>_nodeport)?_(?P<rest>[a-z0-9]+)_(?P<family>[46])\Z")
_OUTSIDE = re.compile(CONCERN + rf"(?P<nodeport>_nodeport)?_outside{_DRAW}l{_DRAW}_(?P<family>[46])\Z")


def part(facts: Facts, name: str) -> Part | None:
    """The part with this name, or None if there is none."""
    if (found := _OUTSIDE.match(name)) is not None:
        draws = _draw(*found.group(2, 3, 4, 5)), _draw(*found.group(6, 7, 8, 9))
        return _outside(name, Family(int(found["family"])), facts, draws, nodeport=bool(found["nodeport"]))
    if (found := _BASE.match(name)) is None:
        return None
    own = Names(Family(int(found["family"])), found["scope"], bool(found["nodeport"]))
    for pattern, make in _MAKERS:
        if (numbers := pattern.match(found["rest"])) is not None:
            return make(name, own, _draw(*numbers.groups()))
    return None


def _draw(count: str, slots: str | None = None, timeout: str | None = None, group: str | None = None) -> Draw:
    return Draw(int(count), int(slots or 0), int(timeout or 0), group or "")


def _chain(name: str, *rules: str) -> str:
    return f"chain {name} {{\n" + "".join(f"    {rule}\n" for rule in rules) + "}\n"


def _slot(name: str, own: Names, draw: Draw) -> Part:
    family = own.family
    value = f"{family.address} . inet_service"
    return Part(
        f"map {name} {{ type {own.type} : {value}; }}\n" + _chain(name, f"dnat {family.header} to {own.key} map @{name}")
    )


def _choice(name: str, own: Names, draw: Draw) -> Part:
    return Part(f"map {name} {{ type {own.type} : verdict; }}\n" + _chain(name, f"{own.key} vmap @{name}"))


def _seen(name: str, own: Names, draw: Draw) -> Part:
    return Part(
        f"set {name} {{ type {own.family.address} . {own.type}; size {_CLIENTS}; flags dynamic,timeout; timeout 1d; }}\n"
    )


def _stick(name: str, own: Names, draw: Draw) -> Part:
    """Rules apart: a set that is full ends its rule only. A free slot has no element in the map, so the chain returns."""
    slot, seen, timeout = draw.count, own.seen(draw.count, draw.group), draw.timeout
    return Part(
        _chain(
            name,
            f"update @{seen} {{ {own.family.header} saddr . {own.key} timeout {timeout}s }}",
            f"dnat {own.family.header} to {own.key} map @{own.slot(slot)}",
        ),
        (seen, own.slot(slot)),
    )


def _pick(name: str, own: Names, draw: Draw) -> Part:
    if not draw.timeout:
        targets = [own.slot(n) for n in range(draw.count)]
        return Part(_chain(name, _spread(targets)), tuple(targets))
    sticks = [own.stick(n, draw.timeout, draw.group) for n in range(draw.slots)]
    known = [f"{own.family.header} saddr . {own.key} @{own.seen(n, draw.group)} jump {stick}" for n, stick in enumerate(sticks)]
    targets = [own.choice(n) for n in range(draw.count)]
    return Part(_chain(name, *known, _spread(targets)), (*targets, *sticks))


def _spread(targets: list[str]) -> str:
    if len(targets) == 1:
        return f"goto {targets[0]}"
    verdicts = ", ".join(f"{n} : goto {target}" for n, target in enumerate(targets))
    return f"numgen random mod {len(targets)} vmap {{ {verdicts} }}"


def _enter(name: str, own: Names, draw: Draw) -> Part:
    return Part(_chain(name, f"jump {own.family.name('mark')}", f"goto {own.pick(draw)}"), (own.pick(draw),))


def _outside(name: str, family: Family, facts: Facts, draws: tuple[Draw, Draw], *, nodeport: bool) -> Part:
    """Pods and processes of this node may use the endpoints of every node, where there are any. With local endpoints alone, a
    process' address is that of a node all the same."""
    cluster, local = Names(family, "cluster", nodeport), Names(family, "local", nodeport)
    every = cluster.pick(draws[0]) if draws[0].count else local.pick(draws[1])
    pods = [cidr for cidr in facts.pod_cidrs if number(cidr) == family.number]
    rules = [f"{family.header} saddr {cidr} goto {every}" for cidr in pods]
    rules += [f"fib saddr type local jump {family.name('mark')}", f"fib saddr type local goto {every}"]
    if draws[1].count:
        rules.append(f"goto {local.pick(draws[1])}")
    needs = (every, local.pick(draws[1])) if draws[1].count else (every,)
    return Part(_chain(name, *rules), needs)


_Maker = Callable[[str, Names, Draw], Part]
_MAKERS: tuple[tuple[re.Pattern[str], _Maker], ...] = (
    (re.compile(r"slot(\d+)\Z"), _slot),
    (re.compile(r"choice(\d+)\Z"), _choice),
    (re.compile(rf"seen(\d+)()(){_GROUP}\Z"), _seen),
    (re.compile(rf"stick(\d+)()t(\d+){_GROUP}\Z"), _stick),
    (re.compile(rf"pick{_DRAW}\Z"), _pick),
    (re.compile(rf"enter{_DRAW}\Z"), _enter),
)
