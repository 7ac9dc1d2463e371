"""Pruning by labels: objects of some kinds, in the namespaces that are applied to, that an apply has made.

Source: kubectl's pkg/cmd/apply/prune.go and pkg/util/prune. kubectl knows the objects of its client-side apply by an
annotation; here those count too that this field manager has applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli import discovery
from cli.complaints import report
from cli.files import Item
from cli.pruning import removal
from cli.pruning.removal import Applied
from pinnace.errors import ApiError, BadRequest
from pinnace.kinds import Kind

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT = (
    "core/v1/ConfigMap", "core/v1/Endpoints", "core/v1/PersistentVolumeClaim", "core/v1/Pod", "core/v1/ReplicationController",
    "core/v1/Secret", "core/v1/Service", "batch/v1/Job", "batch/v1/CronJob", "networking.k8s.io/v1/Ingress",
    "apps/v1/DaemonSet", "apps/v1/Deployment", "apps/v1/ReplicaSet", "apps/v1/StatefulSet", "core/v1/Namespace",
    "core/v1/PersistentVolume",
)  # fmt: skip
CLUSTER_KINDS = (
    "Deprecated: kctl apply will no longer prune non-namespaced resources by default when used with the --namespace flag in a "
    "future release. To preserve the current behaviour, list the resources you want to target explicitly in the "
    "--prune-allowlist flag."
)


class Allowlist:
    """Prunes objects of `kinds` with the labels of --selector."""

    def __init__(self, client: Any, args: Any) -> None:
        """Raises BadRequest, and ApiError of discovery."""
        self._client = client
        self._args = args
        given = args.prune_allowlist
        found = [_kind(word) for word in given or DEFAULT]
        # Kinds of the default list need not be served.
        self._kinds = [kind for kind in found if kind is not None]
        if given and None in found:
            _, version, name = given[found.index(None)].split("/")
            raise BadRequest(f'no matches for kind "{name}" in version "{_api_version(given[found.index(None)], version)}"')
        if not given and args.namespace:
            report(f"Warning: {CLUSTER_KINDS}")

    def prepare(self, items: list[Item]) -> list[Item]:
        return items

    def prune(self, applied: Sequence[Applied]) -> None:
        """Raises ApiError."""
        visited = {item.namespace for item in applied if item.kind.namespaced}
        if self._args.namespace:
            visited.add(self._args.namespace)
        for namespace in sorted(visited):
            for kind in self._kinds:
                if kind.namespaced:
                    self._prune(kind, namespace, applied)
        for kind in self._kinds:
            if not kind.namespaced:
                self._prune(kind, "", applied)

    def _prune(self, kind: Kind, namespace: str, applied: Sequence[Applied]) -> None:
        try:
            for item in removal.members(self._client, kind, namespace, self._args.selector, applied):
                if self._was_applied(item.metadata):
                    removal.remove(self._client, kind, item, self._args)
        except ApiError as error:
            scope = "namespaced" if kind.namespaced else "nonNamespaced"
            name = f"{kind.group}/{kind.version}, Kind={kind.kind}"
            raise type(error)(f"error pruning {scope} object {name}: {error.message}") from None

    def _was_applied(self, meta: Any) -> bool:
        manager = self._args.field_manager
        return LAST_APPLIED in meta.annotations or any(
            entry.operation == "Apply" and entry.manager == manager for entry in meta.managedFields
        )


def _kind(word: str) -> Kind | None:
    """None for a kind that is not served. Raises BadRequest."""
    parts = word.split("/")
    if len(parts) != 3:
        raise BadRequest(f"invalid GroupVersionKind format: {word[:200]}, please follow <group/version/kind>")
    api_version = _api_version(word, parts[1])
    return next(
        (
            item.kind
            for item in discovery.served()
            if (item.kind.api_version, item.kind.kind) == (api_version, parts[2]) and {"list", "delete"} <= set(item.verbs)
        ),
        None,
    )


def _api_version(word: str, version: str) -> str:
    group = word.split("/")[0]
    return version if group in ("", "core") else f"{group}/{version}"
