"""StorageClasses, and the class of claims that name none.

Source: registry/storage/storageclass, and the admission plugin DefaultStorageClass.
"""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds, persistentvolumes
from pinnace.admission import storageclasses
from pinnace.storage.v1.storageclass_pb2 import StorageClass
from pinnace.wellknown import BETA_DEFAULT_CLASS, DEFAULT_CLASS


def is_default(item: StorageClass) -> bool:
    return any(item.metadata.annotations.get(name) == "true" for name in (DEFAULT_CLASS, BETA_DEFAULT_CLASS))


def default_class(tx: Tx) -> str:
    """The newest of the default classes, the first by name of equally old ones; empty without one.

    Untracked: a default is about claims that are created after it."""
    found = [row.message for row in tx.list_untracked(kinds.STORAGE_CLASS)]
    defaults = [(-item.metadata.creationTimestamp.seconds, item.metadata.name) for item in found if is_default(item)]
    return min(defaults)[1] if defaults else ""


def _cells(item: StorageClass, now: float) -> tuple[Cell, ...]:
    name = f"{item.metadata.name} (default)" if is_default(item) else item.metadata.name
    return name, item.provisioner, item.reclaimPolicy, item.volumeBindingMode, item.allowVolumeExpansion, age(item, now)


_COLUMNS = (
    NAME,
    Column("Provisioner", description="The component that makes the volumes of the class."),
    Column("ReclaimPolicy", description="What happens to a volume once its claim is deleted."),
    Column("VolumeBindingMode", description="When claims are bound."),
    Column("AllowVolumeExpansion", "boolean", description="Whether the size of claims may grow."),
    AGE,
)
STORAGE_CLASS = Resource(
    kinds.STORAGE_CLASS, rules=storageclasses.RULES, returns_deleted=True, columns=Columns(_COLUMNS, _cells)
)


class DefaultStorageClass(BasePlugin):
    """A claim that names no class gets the default one."""

    name = "DefaultStorageClass"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.PERSISTENT_VOLUME_CLAIM or request.operation != CREATE:
            return
        claim = request.message
        if not persistentvolumes.names_class(claim) and (name := default_class(tx)):
            claim.spec.storageClassName = name
