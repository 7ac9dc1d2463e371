"""Pods for which others were preempted, each with the node that is to have room for it.

It counts there for pods that are not more important, until it is bound or gone. Each placement counts all of them, so there is
a limit: beyond it nothing is preempted until some of these pods are bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable

MAX_PODS = 200


class Nominations:
    def __init__(self) -> None:
        # By key; each pod as it would be on its node.
        self._pods: dict[str, PodInfo] = {}

    def __bool__(self) -> bool:
        return bool(self._pods)

    @property
    def is_full(self) -> bool:
        return len(self._pods) >= MAX_PODS

    def node(self, key: str) -> str:
        """Empty for a pod without a nomination."""
        found = self._pods.get(key)
        return found.node if found else ""

    def set(self, pod: PodInfo, node: str) -> None:
        """Without effect for a new one beyond the limit."""
        if pod.key in self._pods or not self.is_full:
            self._pods[pod.key] = pod.on(node)

    def remove(self, key: str) -> PodInfo | None:
        return self._pods.pop(key, None)

    def less_important(self, pod: PodInfo, node: str) -> list[PodInfo]:
        """Nominations for a node that give way to a pod which is nominated there now."""
        return [item for item in self._pods.values() if item.node == node and item.priority < pod.priority]

    @contextmanager
    def counted(self, pod: PodInfo, table: NodeTable) -> Iterator[None]:
        """The table with the nominated pods that a pod has to leave room for."""
        added: list[str] = []
        try:
            for item in self._pods.values():
                if item.key != pod.key and item.priority >= pod.priority and table.pod(item.key) is None:
                    table.add_pod(item)
                    added.append(item.key)
            yield
        finally:
            for key in added:
                table.remove_pod(key)
