"""Mirrors: pods of the API that show a node's static pods. The node runs them by itself; here they are only seen.

An agent may make and delete mirrors of its own node and nothing else, and a mirror may name no other object: or an agent
could have any Secret sent to itself. Source: Kubernetes' NodeRestriction admission.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.requests import verbs
from controlplane.resources.indexes import NODE
from controlplane.store import Tx
from pinnace import kinds, podreferences
from pinnace.errors import ApiError, Forbidden
from pinnace.podresources import HASH, MIRROR, SOURCE

MAX_MIRRORS = 100


def stale(tx: Tx, node: str, wanted: Sequence[Any]) -> list[Any]:
    """Mirrors of the node that show no pod of `wanted`."""
    names = {(pod.metadata.namespace, pod.metadata.name) for pod in wanted}
    pods = (row.message for row in tx.by_index(kinds.POD, NODE, node))
    return [pod for pod in pods if _own(pod, node) and (pod.metadata.namespace, pod.metadata.name) not in names]


def drop(tx: Tx, node: str, mirror: Any, call: verbs.Call) -> None:
    found = tx.get(kinds.POD, mirror.metadata.namespace, mirror.metadata.name)
    if found is not None and _own(found, node):
        _delete(tx, found, call)


def show(tx: Tx, node: str, pod: Any, call: verbs.Call) -> str:
    """Have a mirror of `pod`; returns why there cannot be one, or nothing."""
    name, namespace = pod.metadata.name, pod.metadata.namespace
    try:
        found = tx.get(kinds.POD, namespace, name)
        if found is not None and not _own(found, node):
            return f"{namespace}/{name}: another pod has this name"
        if found is not None and found.metadata.annotations.get(MIRROR) == pod.metadata.uid and not _leaving(found):
            return ""
        mirror = _mirror(node, pod)
        if found is not None:
            _delete(tx, found, call)
            if tx.get(kinds.POD, namespace, name) is not None:
                return f"{namespace}/{name}: a finalizer holds its mirror"
        verbs.create(tx, kinds.POD, mirror, call)
    except ApiError as error:
        return f"{namespace}/{name}: {error.message}"
    return ""


def _own(pod: Any, node: str) -> bool:
    return pod.spec.nodeName == node and MIRROR in pod.metadata.annotations


def _leaving(pod: Any) -> bool:
    return bool(pod.metadata.deletionTimestamp.seconds)


def _delete(tx: Tx, mirror: Any, call: verbs.Call) -> None:
    """At once: nothing stops with a mirror. A finalizer holds it all the same."""
    verbs.delete(tx, kinds.POD, mirror.metadata.namespace, mirror.metadata.name, call, grace=0)


def _mirror(node: str, pod: Any) -> Any:
    """Raises Forbidden."""
    named = next(podreferences.fields(pod.spec), "")
    if named:
        raise Forbidden(f"{named}: a mirror may not name other objects")
    mirror = kinds.POD.cls()
    mirror.spec.CopyFrom(pod.spec)
    mirror.spec.nodeName = node
    meta: Any = mirror.metadata
    meta.name, meta.namespace = pod.metadata.name, pod.metadata.namespace
    meta.labels.update(pod.metadata.labels)
    meta.annotations.update(pod.metadata.annotations)
    meta.annotations[SOURCE], meta.annotations[HASH] = "file", pod.metadata.uid
    meta.annotations[MIRROR] = pod.metadata.uid
    return mirror
