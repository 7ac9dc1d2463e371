"""What every cluster has from its first moment: namespaces, priority classes and a default storage class."""

from __future__ import annotations

from typing import Any

from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission.priorityclasses import SYSTEM
from pinnace.persistentvolumes import DELETE, WAIT_FOR_FIRST_CONSUMER
from pinnace.storage.v1.storageclass_pb2 import StorageClass
from pinnace.wellknown import DEFAULT_CLASS, LOCAL_PATH_PROVISIONER, SYSTEM_NAMESPACES

LOCAL_PATH = "local-path"


def objects(tx: Tx, call: verbs.Call, *, local_path: bool = True) -> None:
    """Create those that do not exist; `local_path`: with the storage class."""
    for name in SYSTEM_NAMESPACES:
        if tx.get(kinds.NAMESPACE, "", name) is None:
            message: Any = kinds.NAMESPACE.cls()
            message.metadata.name = name
            verbs.create(tx, kinds.NAMESPACE, message, call)
    if local_path and tx.get(kinds.STORAGE_CLASS, "", LOCAL_PATH) is None:
        verbs.create(tx, kinds.STORAGE_CLASS, _local_path(), call)
    for name, system in SYSTEM.items():
        if tx.get(kinds.PRIORITY_CLASS, "", name) is None:
            made = kinds.PRIORITY_CLASS.cls(value=system.value, description=system.description)
            made.metadata.name = name
            verbs.create(tx, kinds.PRIORITY_CLASS, made, call)


def _local_path() -> StorageClass:
    """Directories of nodes, as in k3s and kind; their size is not enforced, so that it may grow."""
    made = StorageClass(
        provisioner=LOCAL_PATH_PROVISIONER,
        reclaimPolicy=DELETE,
        volumeBindingMode=WAIT_FOR_FIRST_CONSUMER,
        allowVolumeExpansion=True,
    )
    made.metadata.name = LOCAL_PATH
    made.metadata.annotations[DEFAULT_CLASS] = "true"
    return made
