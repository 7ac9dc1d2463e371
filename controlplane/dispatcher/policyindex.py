"""Which groups may select a pod, by its labels: so a change of one pod does not cost a look at every group.

A group is found under one requirement that a label has to meet: under each value of an In, or under the key of an Exists.
Groups without such a requirement are candidates for every pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pinnace.policypeers import PeerSelector
from pinnace.selectors import Requirement

# A label, a key with None for any value, or None for every pod.
Place = tuple[str, str | None] | None


def places(selector: PeerSelector) -> list[Place]:
    """Where a group with this selector is found."""
    for requirement in selector.pods:
        if requirement.operator == "In":
            return [(requirement.key, value) for value in requirement.values]
    return next(([(item.key, None)] for item in selector.pods if item.operator == "Exists"), [None])


class GroupIndex:
    """Groups that select pods of the same namespaces."""

    def __init__(self) -> None:
        self._at: dict[Place, dict[str, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, id: str, selector: PeerSelector) -> None:
        self._count += 1
        for place in places(selector):
            self._at.setdefault(place, {})[id] = None

    def remove(self, id: str, selector: PeerSelector) -> None:
        self._count -= 1
        for place in places(selector):
            found = self._at[place]
            del found[id]
            if not found:
                del self._at[place]

    def candidates(self, labels: Mapping[str, str]) -> Iterator[str]:
        """IDs of the groups that may select a pod with these labels, each once."""
        for key, value in labels.items():
            yield from self._at.get((key, value), ())
            yield from self._at.get((key, None), ())
        yield from self._at.get(None, ())


class PodIndex:
    """Pods of one namespace by their labels."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, pod: str, labels: Mapping[str, str]) -> None:
        for label in labels.items():
            self._at.setdefault(label, {})[pod] = None

    def remove(self, pod: str, labels: Mapping[str, str]) -> None:
        for label in labels.items():
            found = self._at[label]
            del found[pod]
            if not found:
                del self._at[label]

    def candidates(self, selector: PeerSelector) -> list[str] | None:
        """Pods that the selector may select; None: any."""
        found = next((item for item in selector.pods if item.operator == "In"), None)
        return None if found is None else self._of(found)

    def _of(self, requirement: Requirement) -> list[str]:
        return [pod for value in requirement.values for pod in self._at.get((requirement.key, value), ())]
