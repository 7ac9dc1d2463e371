"""Discovery: which resources are served, and what clients may do with them.

Pure functions over the registry: first as values, which gRPC sends, then as the documents of Kubernetes' REST API.
Source: apidiscovery.k8s.io/v2 (aggregated), and APIGroupList and APIResourceList of meta/v1 (legacy).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from pinnace.kinds import Kind

_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?\Z", re.ASCII)
_STABILITY = {None: 0, "beta": 1, "alpha": 2}
_LATEST = 1 << 62


@dataclass(frozen=True, slots=True)
class ServedSubresource:
    """`kind` is that of the objects that it is read and written as; a stream's `options` is the kind that is listed instead."""

    name: str
    kind: Kind
    verbs: tuple[str, ...]
    streams: bool = False
    options: str = ""
    # Whether what is created is answered with a Status.
    answers_status: bool = False

    @property
    def listed_kind(self) -> str:
        return self.options or self.kind.kind


@dataclass(frozen=True, slots=True)
class ServedResource:
    """One resource in one version."""

    kind: Kind
    verbs: tuple[str, ...]
    categories: tuple[str, ...]
    subresources: tuple[ServedSubresource, ...]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of a group, its resources in order of their plural."""

    group: str
    version: str
    resources: tuple[ServedResource, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class ServedGroup:
    """The versions of a group, the preferred one first. The core group has no name."""

    name: str
    versions: tuple[ServedVersion, ...]


def groups(registry: Registry) -> list[ServedGroup]:
    """Everything that is served: the core group first, then the others by name."""
    every = (*registry.served(), *registry.virtual)
    found = sorted(map(_served, every), key=lambda item: (_order(item.kind), item.kind.plural))
    versions = [_version(resources) for _, resources in groupby(found, lambda item: _order(item.kind))]
    return [ServedGroup(name, tuple(items)) for name, items in groupby(versions, lambda version: version.group)]


def _order(kind: Kind) -> tuple[Any, ...]:
    return kind.group, version_order(kind.version)


def version_order(version: str) -> tuple[Any, ...]:
    """A key that sorts versions as Kubernetes prefers them: v2, v1, v2beta1, v1beta2, v1alpha1, then others by name.

    Source: apimachinery's pkg/version (CompareKubeAwareVersionStrings)."""
    parsed = _VERSION.match(version)
    if parsed is None:
        return len(_STABILITY), 0, 0, version
    major, stability, minor = parsed.groups()
    return _STABILITY[stability], -int(major), -int(minor or _LATEST), version


def _version(resources: Iterable[ServedResource]) -> ServedVersion:
    found = tuple(resources)
    return ServedVersion(found[0].kind.group, found[0].kind.version, found)


def _served(resource: Resource) -> ServedResource:
    names = {*resource.subresources, *(("status",) if resource.has_status else ())}
    found = [
        *(_part(resource, name) for name in names),
        *(ServedSubresource(name, resource.kind, item.verbs, True, item.options) for name, item in resource.streams.items()),
        *(ServedSubresource(name, item.form.kind, ("create",), answers_status=True) for name, item in resource.actions.items()),
        *(ServedSubresource(name, kind, ("create",)) for name, kind in resource.answered.items()),
    ]
    found.sort(key=lambda item: item.name)
    return ServedResource(resource.kind, resource.verbs, resource.categories, tuple(found))


def _part(resource: Resource, name: str) -> ServedSubresource:
    found = resource.subresource(name)
    assert found is not None, name
    return ServedSubresource(name, found.form.kind if found.form is not None else resource.kind, found.verbs)


def aggregated(found: Sequence[ServedGroup]) -> dict[str, Any]:
    """An APIGroupDiscoveryList: of the core group for /api, of the others for /apis."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {"metadata": {"name": group.name}, "versions": [_aggregated_version(version) for version in group.versions]}
            for group in found
        ],
    }


def _aggregated_version(version: ServedVersion) -> dict[str, Any]:
    resources = [_aggregated_resource(item) for item in version.resources]
    return {"version": version.version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(item: ServedResource) -> dict[str, Any]:
    kind = item.kind
    return {
        "resource": kind.plural,
        "responseKind": _gvk(kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(item.verbs),
        **_names(item),
        **({"subresources": [_aggregated_subresource(part) for part in item.subresources]} if item.subresources else {}),
    }


def _aggregated_subresource(part: ServedSubresource) -> dict[str, Any]:
    return {
        "subresource": part.name,
        "responseKind": {**_gvk(part.kind), "kind": part.listed_kind},
        "verbs": list(part.verbs),
    }


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _names(item: ServedResource) -> dict[str, list[str]]:
    """Absent where there are none."""
    found = {"shortNames": list(item.kind.short_names), "categories": list(item.categories)}
    return {key: names for key, names in found.items() if names}


def group_list(found: Sequence[ServedGroup]) -> dict[str, Any]:
    """The APIGroupList of /apis, of all groups but the core one."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in found if group.name]}


def group_document(group: ServedGroup) -> dict[str, Any]:
    """The APIGroup of /apis/GROUP."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}


def _group(group: ServedGroup) -> dict[str, Any]:
    versions = [{"groupVersion": version.api_version, "version": version.version} for version in group.versions]
    return {"name": group.name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(version: ServedVersion) -> dict[str, Any]:
    """The APIResourceList of /apis/GROUP/VERSION, or of /api/v1."""
    resources = [document for item in version.resources for document in _resource_documents(item)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.api_version, "resources": resources}


def _resource_documents(item: ServedResource) -> Iterable[dict[str, Any]]:
    kind = item.kind
    yield {
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": list(item.verbs), **_names(item),
    }  # fmt: skip
    for part in item.subresources:
        # The group and version of another kind than the resource's.
        other = {"group": part.kind.group, "version": part.kind.version} if part.kind is not kind else {}
        yield {
            "name": f"{kind.plural}/{part.name}", "singularName": "", "namespaced": kind.namespaced, "kind": part.listed_kind,
            "verbs": list(part.verbs), **other,
        }  # fmt: skip
