"""Resources of custom kinds, made from an established CustomResourceDefinition, one for each served version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.customresources import trees
from controlplane.customresources.objects import Rules, selectable_text
from controlplane.customresources.scale import ScalePaths
from controlplane.customresources.stored import reader_of
from controlplane.resources import customcolumns
from controlplane.resources.resource import VERBS, Resource, Strategy
from controlplane.resources.scale import ScaleSubresource
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition
from pinnace.kinds import MAX_CUSTOM_VALUES, Kind, KindSchema, Reader

# While the definition is being deleted.
_TERMINATING_VERBS = ("delete", "deletecollection", "get", "list", "watch")


class _Strategy(Strategy[CustomResource]):
    unconditional_update = False

    def wants_more(self, new: CustomResource, old: CustomResource) -> bool:
        """With a status subresource every field but metadata is desired state."""
        return new.spec != old.spec or new.rest != old.rest


class _WholeStrategy(_Strategy):
    def wants_more(self, new: CustomResource, old: CustomResource) -> bool:
        """Without one, the status is desired state too."""
        return super().wants_more(new, old) or new.status != old.status


def resources_of(item: CustomResourceDefinition) -> Iterator[Resource[CustomResource]]:
    """The stored version first, served or not, then the others that are served."""
    every = sorted(item.spec.versions, key=lambda version: not version.storage)
    stored = _rules(item, every[0])
    upgrade = reader_of(stored, stored)
    for version in every:
        if not (version.served or version.storage):
            continue
        if version.schema == every[0].schema:
            yield _resource(item, version, _rules(item, version), upgrade, upgrade)
        else:
            rules = _rules(item, version, stored=stored)
            yield _resource(item, version, rules, reader_of(stored, rules), upgrade)


def _rules(item: CustomResourceDefinition, version: Any, *, stored: Rules | None = None) -> Rules:
    api_version, scale = f"{item.spec.group}/{version.name}", _scale(version)
    return Rules(api_version, item.status.acceptedNames.kind, version.schema.openAPIV3Schema.raw, scale=scale, stored=stored)


def _scale(version: Any) -> ScalePaths | None:
    """The paths of the scale subresource, for a version that has it."""
    if not version.subresources.HasField("scale"):
        return None
    found = version.subresources.scale
    return ScalePaths(found.specReplicasPath, found.statusReplicasPath, found.labelSelectorPath)


def _resource(
    item: CustomResourceDefinition, version: Any, rules: Rules, reader: Reader, upgrade: Reader
) -> Resource[CustomResource]:
    names, scale = item.status.acceptedNames, _scale(version)
    has_status = version.subresources.HasField("status")
    api_version = f"{item.spec.group}/{version.name}"
    schema = KindSchema(trees.tree(lambda: rules.schema), has_status=has_status, reader=reader, upgrade=upgrade)
    kind = Kind(
        api_version, names.kind, names.plural, CustomResource, tuple(names.shortNames),
        item.spec.scope == "Namespaced", names.singular, schema, MAX_CUSTOM_VALUES,
    )  # fmt: skip
    return Resource(
        kind,
        rules=rules.kind_rules(),
        strategy=_Strategy() if has_status else _WholeStrategy(),
        categories=tuple(names.categories),
        subresources={"scale": ScaleSubresource(scale)} if scale is not None else {},
        selectable={field.jsonPath[1:]: selectable_text(field.jsonPath) for field in version.selectableFields},
        status=has_status,
        served=version.served,
        status_meta=(),
        columns=customcolumns.of_version(api_version, names.kind, list(version.additionalPrinterColumns)),
        verbs=_TERMINATING_VERBS if item.metadata.deletionTimestamp.seconds else VERBS,
    )
