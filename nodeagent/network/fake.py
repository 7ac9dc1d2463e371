"""A network in memory, for tests of everything above it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nodeagent.network.seam import Node, Peer


class FakeNetwork:
    def __init__(self) -> None:
        self.node: Node | None = None
        self.pods: dict[str, str] = {}
        self.peers: tuple[Peer, ...] = ()

    async def setup(self, node: Node) -> None:
        self.node = node

    async def attach(self, pod: str, netns: Path, address: str) -> None:
        self.pods[pod] = address

    async def detach(self, pod: str) -> None:
        self.pods.pop(pod, None)

    async def sync(self, peers: Sequence[Peer]) -> int:
        changed = len(set(self.peers) ^ set(peers))
        self.peers = tuple(peers)
        return changed
