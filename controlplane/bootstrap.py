"""What every cluster has from its first moment: the namespaces that Kubernetes users expect."""

from __future__ import annotations

from typing import Any

from controlplane.api import verbs
from controlplane.store import Tx
from pinnace import kinds

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def namespaces(tx: Tx, call: verbs.Call) -> None:
    for name in NAMESPACES:
        if tx.get(kinds.NAMESPACE, "", name) is None:
            message: Any = kinds.NAMESPACE.cls()
            message.metadata.name = name
            verbs.create(tx, kinds.NAMESPACE, message, call)
