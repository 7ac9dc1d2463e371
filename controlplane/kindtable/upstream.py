"""The kinds, types and fields that Kubernetes has: names alone, from upstream.json.

tests/clients/python/model_names.py prints that file, from the Python client, which is generated from Kubernetes' OpenAPI
document; a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pinnace.kinds import Kind

FILE = Path(__file__).parent / "upstream.json"
# Field names of a type, each with the type that it holds, or an empty text.
Fields = Mapping[str, str]
# `V1Pod` and `CoreV1Event` are the client's names of Pod and Event.
_PREFIX = re.compile(r"\A[A-Z][a-z.]*?V\d+(?=[A-Z])|\AV\d+(?=[A-Z])")
# Fields of every object, in addition to those of its message.
_TYPE_META = frozenset(("apiVersion", "kind"))


@dataclass(frozen=True)
class Upstream:
    """`kinds`: of each apiVersion, the plural and (of v1 and later) the type of each kind."""

    release: str
    kinds: Mapping[str, Mapping[str, str]]
    types: Mapping[str, str]

    def type_of(self, kind: Kind) -> str:
        """The type of a kind's objects, also of one that is only created below other objects; empty for a kind that Kubernetes
        does not have in this version."""
        found = self.kinds.get(kind.api_version, {}).get(kind.kind, "").partition(" ")[2]
        return found or next((name for name in self._below if short(name) == kind.kind and kind.kind not in self._listed), "")

    def like(self, name: str) -> str:
        """The type of v1 with a message's name, for a message whose place Kubernetes does not have; empty without one."""
        return f"V1{name}" if f"V1{name}" in self.types else ""

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(kind for found in self.kinds.values() for kind, words in found.items() if " " in words)

    @cached_property
    def _below(self) -> list[str]:
        """Types that are whole objects."""
        return [name for name, found in self.fields.items() if set(found) >= _TYPE_META]

    @cached_property
    def fields(self) -> Mapping[str, Fields]:
        """By type."""
        return {name: dict(_pairs(words)) for name, words in self.types.items()}

    def own_fields(self, name: str) -> Fields:
        """The fields of the type of a kind."""
        return {field: inner for field, inner in self.fields[name].items() if field not in _TYPE_META}


def _pairs(words: str) -> Iterator[tuple[str, str]]:
    for word in words.split():
        name, _, inner = word.partition(":")
        yield name, inner


def short(name: str) -> str:
    """A type's name without group and version."""
    return _PREFIX.sub("", name)


def load(path: Path = FILE) -> Upstream:
    return Upstream(**json.loads(path.read_text()))
