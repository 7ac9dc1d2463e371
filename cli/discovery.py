"""The kinds that kctl knows: the built-in ones, and those that the control plane serves, which it asks for.

It asks with the first word that names no built-in kind, once for each process, so that a command about pods costs no call.
Files may hold a definition and its objects: `learn` takes the kinds of a definition that was read.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinnace import codec, kinds
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.errors import NotFound, Timeout
from pinnace.kinds import Kind, Kinds

if TYPE_CHECKING:
    from cli.client import Client

# Seconds until a definition that was applied must be established.
ESTABLISHED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """A kind that the control plane serves, and what may be done with it."""

    kind: Kind
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[str, ...]


class _Known:
    """`definitions` holds the versions of definitions that were read from files, as JSON, by the kinds that they make."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.kinds = Kinds((*kinds.ALL, *kinds.FORMS))
        self.served: list[Served] | None = None
        self.definitions: dict[Kind, dict[str, Any]] = {}


_known = _Known()


def connect(client: Client) -> None:
    """Ask this control plane from now on."""
    _known.client, _known.served = client, None


def served() -> list[Served]:
    """All that the control plane serves, of each kind its preferred version."""
    if _known.served is None:
        _known.served = []
        found: dict[str, Served] = {}
        for item in _known.client.discover() if _known.client is not None else ():
            kind = _kind_of(item)
            if kind is not None:
                parts = tuple(part.name for part in item.subresources)
                found.setdefault(kind.resource, Served(kind, tuple(item.categories), tuple(item.verbs), parts))
        _known.served = list(found.values())
    return _known.served


def _kind_of(item: Any) -> Kind | None:
    """None for a built-in kind that only a newer control plane has: its messages could not be read."""
    if not item.custom:
        try:
            return kinds.find(item.apiVersion, item.kind)
        except NotFound:
            return None
    names = (item.plural, item.singular, tuple(item.shortNames))
    return _add(item.apiVersion, item.kind, names, namespaced=item.namespaced)


def by_word(word: str) -> Kind:
    """The kind that a user means by a word. Raises NotFound."""
    try:
        return kinds.by_word(word)
    except NotFound:
        served()
        return _known.kinds.by_word(word)


def meant(word: str) -> list[Kind]:
    """The kinds that a user means by a word: one, or those of a category such as `all`. Raises NotFound."""
    try:
        return [kinds.by_word(word)]
    except NotFound:
        category = [item.kind for item in served() if word in item.categories and "list" in item.verbs]
        return category or [_known.kinds.by_word(word)]


def every() -> Kinds:
    """All kinds in all versions."""
    served()
    return _known.kinds


def find(api_version: str, kind: str) -> Kind:
    """Raises NotFound."""
    try:
        return _known.kinds.find(api_version, kind)
    except NotFound:
        served()
        return _known.kinds.find(api_version, kind)


def is_custom(kind: Kind) -> bool:
    return kind.cls is CustomResource


def learn(definition: dict[str, Any]) -> None:
    """Know the kinds of a definition. What is no valid one is left to the control plane to refuse."""
    try:
        spec, names = definition["spec"], definition["spec"]["names"]
        called = (names["plural"], names.get("singular") or "", tuple(names.get("shortNames") or ()))
        for version in sorted(spec["versions"], key=lambda item: not item.get("storage")):
            if version.get("served"):
                api_version = f"{spec['group']}/{version['name']}"
                kind = _add(api_version, names["kind"], called, namespaced=spec["scope"] == "Namespaced")
                _known.definitions[kind] = version
    except (KeyError, TypeError, AttributeError):
        return


def _add(api_version: str, name: str, names: tuple[str, str, tuple[str, ...]], *, namespaced: bool) -> Kind:
    """A custom kind, one for each version that is known. `names` are the plural, the singular and the short ones."""
    try:
        return _known.kinds.find(api_version, name)
    except NotFound:
        pass
    plural, singular, short_names = names
    kind = Kind(api_version, name, plural, CustomResource, short_names, namespaced, singular)
    try:
        _known.kinds.add_kind(kind)
    except ValueError:
        _known.kinds.add_version(kind)
    return kind


def schema_of(kind: Kind) -> dict[str, Any]:
    """The openAPIV3Schema of a custom kind, from a file that was read or from the control plane. Raises NotFound."""
    if kind not in _known.definitions and _known.client is not None:
        learn(codec.encode(_known.client.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", kind.resource)))
    found = _known.definitions.get(kind, {}).get("schema", {}).get("openAPIV3Schema", {})
    return json.loads(found) if isinstance(found, str) else found if isinstance(found, dict) else {}


def wait_established(client: Client, name: str) -> None:
    """Until objects of a definition's kind can be created. Raises Timeout with the reason, NotFound."""
    deadline, reason = time.monotonic() + ESTABLISHED_WITHIN, ""
    while time.monotonic() < deadline:
        item = client.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", name)
        found = {condition.type: condition for condition in item.status.conditions}
        if "Established" in found and found["Established"].status == "True":
            return
        if "NamesAccepted" in found and found["NamesAccepted"].status == "False":
            reason = f": {found['NamesAccepted'].message}"
            break
        time.sleep(0.02)
    raise Timeout(f'customresourcedefinition "{name}" is not established{reason}')
