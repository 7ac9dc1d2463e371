"""Namespaces: phase, and the finalizer that holds one until its content is gone."""

from __future__ import annotations

from typing import Any

FINALIZER = "kubernetes"


def prepare(message: Any) -> None:
    if not message.metadata.deletionTimestamp.seconds:
        if FINALIZER not in message.spec.finalizers:
            message.spec.finalizers.append(FINALIZER)
        message.status.phase = "Active"
    message.metadata.labels["kubernetes.io/metadata.name"] = message.metadata.name
