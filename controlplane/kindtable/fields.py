"""The state of each field of each kind: the messages of the API next to the types of Kubernetes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.kindtable.upstream import Fields, Upstream, short
from pinnace import schema
from pinnace.kinds import Kind
from pinnace.schema import Field, Schema


@dataclass(slots=True)
class Type:
    """Fields of one type, in order of name. A field that is not supported stands for all that it holds."""

    name: str
    supported: list[str] = field(default_factory=list)
    # With an error that names the field.
    rejected: list[str] = field(default_factory=list)
    # Kubernetes rejects them too.
    forbidden: list[str] = field(default_factory=list)
    # Only Kubernetes has them.
    unknown: list[str] = field(default_factory=list)
    # Kubernetes does not have them in this release.
    beyond: list[str] = field(default_factory=list)
    # Supported fields whose value is JSON here and has a type in Kubernetes.
    as_json: list[str] = field(default_factory=list)
    # Names of the types of its fields.
    uses: list[str] = field(default_factory=list)
    # Kinds by which it is reached.
    kinds: list[Kind] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return len(self.rejected) + len(self.unknown)

    @property
    def present(self) -> int:
        return len(self.supported) + len(self.forbidden)


class Types:
    """The types of all kinds, each once."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        # By message and Kubernetes' name of the type; an empty one: Kubernetes is not known to have it.
        self._types: dict[tuple[str, str], Type] = {}
        self._roots: dict[Kind, list[Type]] = {}

    def add(self, kind: Kind) -> None:
        """All types that an object of the kind can have without an error."""
        root = self._upstream.type_of(kind)
        waiting, found = [(schema.of(kind.cls), root)], dict[tuple[str, str], Type]()
        while waiting:
            spec, name = waiting.pop(0)
            name = name or self._upstream.like(spec.name)
            key = spec.full_name, name
            if key in found:
                continue
            theirs = self._theirs(name, is_root=name == root)
            ours = {item: known for item, known, _ in schema.flatten(spec)}
            made = found[key] = self._types.get(key) or _compared(short(name) or spec.name, ours, theirs)
            made.kinds.append(kind)
            self._types[key] = made
            waiting += _inner(ours, theirs)
            made.uses = [short(inner) or message.name for message, inner in _inner(ours, theirs)]
        self._roots[kind] = list(found.values())

    def _theirs(self, name: str, *, is_root: bool) -> Fields | None:
        if not name:
            return None
        return self._upstream.own_fields(name) if is_root else self._upstream.fields[name]

    def of(self, kind: Kind) -> list[Type]:
        """The types of a kind, its own first."""
        return self._roots[kind]

    def own(self, kind: Kind) -> list[Type]:
        """Those that no other kind has."""
        return [item for item in self._roots[kind] if item.kinds == [kind]]

    def shared(self) -> list[Type]:
        """Those of several kinds, by name."""
        return sorted((item for item in self._types.values() if len(item.kinds) > 1), key=lambda item: item.name)


def _inner(ours: dict[str, Field], theirs: Fields | None) -> Iterable[tuple[Schema, str]]:
    for name, item in ours.items():
        if item.message is not None and not item.unsupported:
            yield item.message, (theirs or {}).get(name, "")


def _compared(name: str, ours: dict[str, Field], theirs: Fields | None) -> Type:
    made = Type(name)
    for field_name, item in ours.items():
        _state(made, item).append(field_name)
        if theirs is not None and field_name not in theirs:
            made.beyond.append(field_name)
        if item.type == "json" and not item.unsupported and (theirs or {}).get(field_name):
            made.as_json.append(field_name)
    made.unknown += sorted(set(theirs or ()) - set(ours))
    return made


def _state(made: Type, item: Field) -> list[str]:
    if not item.unsupported:
        return made.supported
    return made.forbidden if item.rules.forbidden else made.rejected
