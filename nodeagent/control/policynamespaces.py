"""The namespaces of static pods whose NetworkPolicies the assignment has, on the disk too.

The assignment has the policies of a pod's namespace before the pod. A static pod may be in no assignment, so the control plane
says when it has sent all policies of a namespace that the agent has named.
"""

from __future__ import annotations

from pathlib import Path

from nodeagent.control.changes import Change
from nodeagent.control.disk import Disk, stored
from pinnace import formats
from pinnace.api.v1 import nodes_pb2

NAMESPACE = "PolicyNamespace"


class PolicyNamespaces:
    def __init__(self, directory: Path, disk: Disk) -> None:
        """Raises OSError."""
        self._directory = directory
        self._disk = disk
        self._names: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._names

    def keys(self) -> list[str]:
        return [f"{NAMESPACE}//{name}" for name in self._names]

    def restore(self) -> None:
        """Read what an earlier agent stored."""
        self._names = {path.name for path in stored(self._directory)}

    def take(self, change: nodes_pb2.Change) -> Change | None:
        """Store or remove a namespace. Raises ValueError for a key that is none."""
        name = change.key.removeprefix(f"{NAMESPACE}//")
        # It is a part of a path.
        if formats.dns_label(name):
            raise ValueError("no namespace")
        old, new = name in self._names, change.HasField("policyNamespace")
        if old == new:
            return None
        if new:
            self._names.add(name)
            self._disk.write(self._directory / name, b"")
        else:
            self._names.discard(name)
            self._disk.remove(self._directory / name)
        return Change(change.key, old or None, new or None)
