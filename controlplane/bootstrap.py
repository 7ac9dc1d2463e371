"""What every cluster has from its first moment: the namespaces and the priority classes that Kubernetes users expect."""

from __future__ import annotations

from typing import Any

from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission.priorityclasses import SYSTEM
from pinnace.wellknown import SYSTEM_NAMESPACES


def objects(tx: Tx, call: verbs.Call) -> None:
    """Create those that do not exist."""
    for name in SYSTEM_NAMESPACES:
        if tx.get(kinds.NAMESPACE, "", name) is None:
            message: Any = kinds.NAMESPACE.cls()
            message.metadata.name = name
            verbs.create(tx, kinds.NAMESPACE, message, call)
    for name, system in SYSTEM.items():
        if tx.get(kinds.PRIORITY_CLASS, "", name) is None:
            made = kinds.PRIORITY_CLASS.cls(value=system.value, description=system.description)
            made.metadata.name = name
            verbs.create(tx, kinds.PRIORITY_CLASS, made, call)
