"""The pods that peers of NetworkPolicies select, as the control plane has resolved them: in slices, on the disk too.

A group is the union of its slices, `PolicyGroup//ID.N`. Subscribers get slices: a pod that enters or leaves a group costs the
same, however many members the group has.
"""

from __future__ import annotations

from pathlib import Path

from nodeagent.control.changes import Change
from nodeagent.control.disk import Disk, read, stored
from pinnace.api.v1 import nodes_pb2

GROUP = "PolicyGroup"


class PolicyGroups:
    def __init__(self, directory: Path, disk: Disk) -> None:
        """Raises OSError."""
        self._directory = directory
        self._disk = disk
        # By ID.N.
        self._slices: dict[str, nodes_pb2.PolicyGroup] = {}
        # As they were when changes were last collected; None: not there.
        self._before: dict[str, nodes_pb2.PolicyGroup | None] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def all(self) -> dict[str, nodes_pb2.PolicyGroup]:
        """Every slice by its name, ID.N. Not to be changed."""
        return dict(self._slices)

    def keys(self) -> list[str]:
        """Of all slices."""
        return [f"{GROUP}//{name}" for name in self._slices]

    def restore(self) -> None:
        """Read what an earlier agent stored."""
        for path in stored(self._directory):
            found = read(path, nodes_pb2.PolicyGroup) if path.name.rpartition(".")[2].isdecimal() else None
            if found is not None:
                self._slices[path.name] = found

    def take(self, change: nodes_pb2.Change) -> None:
        """Store or remove a slice. Raises ValueError for a key that is none."""
        id, _, number = change.key.removeprefix(f"{GROUP}//").rpartition(".")
        # Both are parts of a path.
        if not (id.isalnum() and number.isdecimal()):
            raise ValueError("no key of a slice")
        name = f"{id}.{int(number)}"
        self._before.setdefault(name, self._slices.get(name))
        if change.HasField("policyGroup"):
            self._slices[name] = change.policyGroup
            self._disk.write(self._directory / name, change.policyGroup.SerializeToString(), later=True)
        else:
            self._slices.pop(name, None)
            self._disk.remove(self._directory / name, later=True)

    def changed(self) -> list[Change]:
        """Changes of slices since the last call."""
        before, self._before = self._before, {}
        found = ((name, old, self._slices.get(name)) for name, old in before.items())
        return [Change(f"{GROUP}//{name}", old, new) for name, old, new in found if new != old]
