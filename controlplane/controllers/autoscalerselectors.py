"""The selectors of all autoscalers, each as of its last reconciliation, so that two that share pods are found without a scan.

Kept in memory: after a restart an autoscaler counts from its first reconciliation on.
Source: kube-controller-manager's horizontal.go (hpaSelectors).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pinnace.selectors import Requirement

# The key of the index; None for a selector that requires no value.
_Pair = tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    requirements: tuple[Requirement, ...]
    pairs: tuple[_Pair, ...]


class AutoscalerSelectors:
    def __init__(self) -> None:
        # By namespace, then by an autoscaler's UID.
        self._entries: dict[str, dict[str, _Entry]] = {}
        # By namespace and pair, UIDs in the order in which they came.
        self._index: dict[tuple[str, _Pair], dict[str, None]] = {}

    def set(self, namespace: str, uid: str, name: str, requirements: Sequence[Requirement]) -> None:
        """The autoscaler selects the pods that meet all of these."""
        known = self._entries.get(namespace, {}).get(uid)
        entry = _Entry(name, tuple(requirements), _pairs(requirements))
        if known == entry:
            return
        self.remove(namespace, uid)
        self._entries.setdefault(namespace, {})[uid] = entry
        for pair in entry.pairs:
            self._index.setdefault((namespace, pair), {})[uid] = None

    def remove(self, namespace: str, uid: str) -> None:
        entries = self._entries.get(namespace, {})
        entry = entries.pop(uid, None)
        if not entries:
            self._entries.pop(namespace, None)
        for pair in entry.pairs if entry is not None else ():
            found = self._index[namespace, pair]
            del found[uid]
            if not found:
                del self._index[namespace, pair]

    def others(self, namespace: str, uid: str, labels: Iterable[Mapping[str, str]]) -> list[str]:
        """Names of other autoscalers that select a pod with one of these sets of labels."""
        entries, found = self._entries.get(namespace, {}), dict[str, None]()
        for one in labels:
            for candidate in self._candidates(namespace, one):
                entry = entries[candidate]
                if candidate != uid and entry.name not in found and all(item.matches(one) for item in entry.requirements):
                    found[entry.name] = None
        return list(found)

    def _candidates(self, namespace: str, labels: Mapping[str, str]) -> Iterator[str]:
        yield from self._index.get((namespace, None), ())
        for pair in labels.items():
            yield from self._index.get((namespace, pair), ())


def _pairs(requirements: Sequence[Requirement]) -> tuple[_Pair, ...]:
    """The labels of which a pod that is selected has one, by the requirement with the fewest values."""
    valued = [item for item in requirements if item.operator == "In"]
    if not valued:
        return (None,)
    narrowest = min(valued, key=lambda item: len(item.values))
    return tuple((narrowest.key, value) for value in dict.fromkeys(narrowest.values))
