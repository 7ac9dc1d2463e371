"""The schema of a custom resource as a tree, which `schemaparser` makes of `openAPIV3Schema`.

`structuralcheck` refuses what is not structural; pruning, defaulting and validation walk the tree.
Source: apiextensions-apiserver's pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Errors that one schema or object is answered with.
MAX_ERRORS = 100
UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule of `x-kubernetes-validations`."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old_self: bool = False


@dataclass(slots=True, eq=False)
class Structural:
    """One schema. `keywords` holds the keywords of scalars as they are written: `maximum`, `pattern`, `nullable`..."""

    keywords: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Structural] = field(default_factory=dict)
    items: Structural | None = None
    # A schema, or True: any value.
    additional: Structural | bool = False
    required: tuple[str, ...] = ()
    enum: list[Any] | None = None
    default: Any = UNSET
    map_keys: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    all_of: tuple[Structural, ...] = ()
    any_of: tuple[Structural, ...] = ()
    one_of: tuple[Structural, ...] = ()
    negated: Structural | None = None
    # Whether a default is in this schema or below.
    defaulted: bool = False
    # Whether a rule is.
    ruled: bool = False
    # The rules of this schema, compiled by `celrules`.
    programs: tuple[Any, ...] | None = None

    @property
    def type(self) -> str:
        return str(self.keywords.get("type", ""))

    @property
    def nullable(self) -> bool:
        return self.keywords.get("nullable") is True

    @property
    def preserve(self) -> bool:
        return self.keywords.get("x-kubernetes-preserve-unknown-fields") is True

    @property
    def embedded(self) -> bool:
        return self.keywords.get("x-kubernetes-embedded-resource") is True

    @property
    def int_or_string(self) -> bool:
        return self.keywords.get("x-kubernetes-int-or-string") is True

    @property
    def list_type(self) -> str:
        return str(self.keywords.get("x-kubernetes-list-type", ""))

    @property
    def map_type(self) -> str:
        return str(self.keywords.get("x-kubernetes-map-type", ""))

    def child(self, key: str) -> Structural | None:
        """The schema of the value at a key of an object. None: there is none of its own."""
        found = self.properties.get(key)
        return found if found is not None else self.additional if isinstance(self.additional, Structural) else None

    def nested(self) -> Iterator[tuple[str, Structural]]:
        """The schemas of the values below, each with its path from here."""
        for name, schema in self.properties.items():
            yield f"properties[{name}]", schema
        if isinstance(self.additional, Structural):
            yield "additionalProperties", self.additional
        if self.items is not None:
            yield "items", self.items

    def junctors(self) -> Iterator[tuple[str, Structural]]:
        """The schemas that constrain this same value, each with its path from here."""
        for name, schemas in (("allOf", self.all_of), ("anyOf", self.any_of), ("oneOf", self.one_of)):
            for at, schema in enumerate(schemas):
                yield f"{name}[{at}]", schema
        if self.negated is not None:
            yield "not", self.negated
