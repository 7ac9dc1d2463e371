"""CustomResourceDefinitions, and the kinds that they add to the registry.

Source: apiextensions-apiserver's pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

import logging
from typing import Any

from controlplane.customresources import definition
from controlplane.resources import custom
from controlplane.resources.columns import NAME_AND_CREATION
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition

log = logging.getLogger("pinnace.controlplane")


class _Strategy(Strategy[CustomResourceDefinition]):
    unconditional_update = False

    def prepare_for_create(self, new: CustomResourceDefinition) -> None:
        """Objects of the storage version may exist from now on; they go before the definition does."""
        new.status.storedVersions[:] = [version.name for version in new.spec.versions if version.storage]
        if definition.FINALIZER not in new.metadata.finalizers:
            new.metadata.finalizers.append(definition.FINALIZER)

    def prepare_for_update(self, new: CustomResourceDefinition, old: CustomResourceDefinition) -> None:
        for version in new.spec.versions:
            if version.storage and version.name not in new.status.storedVersions:
                new.status.storedVersions.append(version.name)


def observe(registry: Any, key: str, value: bytes | None) -> None:
    """Serve the kinds of an established definition, and no longer those of one that is deleted."""
    name = key.rpartition("/")[2]
    wanted: list[Resource] = []
    try:
        item = CustomResourceDefinition.FromString(value) if value is not None else None
        if item is not None and custom.is_established(item):
            wanted = list(custom.resources_of(item))
    except Exception:
        # One unreadable definition must not end the process; its kinds stay as they were.
        log.exception("unreadable_definition name=%s", name)
        return
    registry.serve_custom(name, wanted)


CUSTOM_RESOURCE_DEFINITION = Resource(
    kinds.CUSTOM_RESOURCE_DEFINITION,
    rules=definition.RULES,
    strategy=_Strategy(),
    columns=NAME_AND_CREATION,
    observe=observe,
)
