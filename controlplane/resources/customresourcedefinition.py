"""CustomResourceDefinitions, and the kinds that they add to the registry.

The rules of definitions and custom kinds, with CEL and JSONPath, take 0.05 s to import. A cluster without custom kinds does not
need them, so this module imports them with the first definition.

Source: apiextensions-apiserver's pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

import logging
from typing import Any

from controlplane.resources.columns import NAME_AND_CREATION
from controlplane.resources.plugin import CREATE, Attributes, BasePlugin
from controlplane.resources.resource import Encoding, Resource, Strategy
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission.kindrules import KindRules
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition
from pinnace.errors import Cause, Forbidden
from pinnace.wellknown import FINALIZER_CUSTOM_RESOURCES

log = logging.getLogger("pinnace.controlplane")


class _Strategy(Strategy[CustomResourceDefinition]):
    unconditional_update = False

    def prepare_for_create(self, new: CustomResourceDefinition) -> None:
        """Objects of the storage version may exist from now on; they go before the definition does."""
        new.status.storedVersions[:] = [version.name for version in new.spec.versions if version.storage]
        if FINALIZER_CUSTOM_RESOURCES not in new.metadata.finalizers:
            new.metadata.finalizers.append(FINALIZER_CUSTOM_RESOURCES)

    def prepare_for_update(self, new: CustomResourceDefinition, old: CustomResourceDefinition) -> None:
        for version in new.spec.versions:
            if version.storage and version.name not in new.status.storedVersions:
                new.status.storedVersions.append(version.name)


class Terminating(BasePlugin):
    """No object of a custom kind is created while its definition is being deleted."""

    name = "CustomResourceDefinitionTerminating"

    def admit(self, tx: Tx, request: Attributes) -> None:
        kind = request.resource.kind
        if request.operation != CREATE or kind.cls is not CustomResource:
            return
        item = tx.require(kinds.CUSTOM_RESOURCE_DEFINITION, "", kind.resource)
        if item.metadata.deletionTimestamp.seconds:
            raise Forbidden(f"create not allowed while custom resource definition {kind.resource} is terminating")


def is_established(item: CustomResourceDefinition) -> bool:
    return any(found.type == "Established" and found.status == "True" for found in item.status.conditions)


def observe(registry: Any, key: str, value: bytes | None) -> None:
    """Serve the kinds of an established definition, and no longer those of one that is deleted."""
    name = key.rpartition("/")[2]
    wanted: list[Resource] = []
    try:
        item = CustomResourceDefinition.FromString(value) if value is not None else None
        if item is not None and is_established(item):
            from controlplane.resources import custom

            wanted = list(custom.resources_of(item))
    except Exception:
        # One unreadable definition must not end the process; its kinds stay as they were.
        log.exception("unreadable_definition name=%s", name)
        return
    registry.serve_custom(name, wanted)


def _default(item: CustomResourceDefinition) -> None:
    from controlplane.customresources import definition

    definition.default(item)


def _validate(item: CustomResourceDefinition) -> list[Cause]:
    from controlplane.customresources import definition

    return definition.validate(item)


def _validate_update(old: CustomResourceDefinition, new: CustomResourceDefinition) -> list[Cause]:
    from controlplane.customresources import definition

    return definition.validate_update(old, new)


def _validate_status(new: CustomResourceDefinition, old: CustomResourceDefinition) -> list[Cause]:
    from controlplane.customresources import definition

    return definition.validate_status(new, old)


def _from_kubernetes(data: bytes) -> bytes:
    from controlplane.customresources import schemaprotobuf

    return schemaprotobuf.from_kubernetes(data)


def _to_kubernetes(data: bytes) -> bytes:
    from controlplane.customresources import schemaprotobuf

    return schemaprotobuf.to_kubernetes(data)


CUSTOM_RESOURCE_DEFINITION = Resource(
    kinds.CUSTOM_RESOURCE_DEFINITION,
    rules=KindRules(default=_default, validate=_validate, validate_update=_validate_update, validate_status=_validate_status),
    strategy=_Strategy(),
    encoding=Encoding(_from_kubernetes, _to_kubernetes),
    status_meta=(),
    columns=NAME_AND_CREATION,
    observe=observe,
)
