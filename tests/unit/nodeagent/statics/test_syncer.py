"""The loop between static pods and their mirror pods: when the control plane is asked, and when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.pods.manager import PodManager
from nodeagent.statics.syncer import FIRST_RETRY, LOOK_EVERY, MAX_RETRY, MirrorPodSyncer
from pinnace.clock import VirtualClock
from pinnace.podresources import MIRROR
from tests.support.objects import pod

STATIC = pod("web-n1", meta={"uid": "u1"})
SHOWN = pod("web-n1", meta={"uid": "other", "annotations": {MIRROR: "u1"}}, nodeName="n1")


class Node:
    """An API that is down until `up`, and then refuses what `refused` says."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.pods = PodManager(Assignment(folder / "assignment", folder / "secrets"))
        self.asked: list[float] = []
        self.up = False
        self.refused: list[str] = []

    async def show(self, wanted: Iterable[Any]) -> list[str]:
        self.asked.append(self.clock.monotonic())
        if not self.up:
            raise ConnectionError("no control plane")
        return self.refused

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(MirrorPodSyncer(None, self.pods, self.show, self.clock).run())
        try:
            await self.clock.advance(0)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_mirrors_are_asked_for_until_they_are_shown(node: Node) -> None:
    """Ever less often while there is no control plane; not at all once pods and mirror pods agree."""
    node.pods.statics.want([STATIC])
    async with node.running():
        await node.clock.advance(600)
        gaps = [later - earlier for earlier, later in zip(node.asked, node.asked[1:], strict=False)]
        assert FIRST_RETRY <= gaps[0] <= FIRST_RETRY + LOOK_EVERY
        assert gaps == sorted(gaps)
        assert MAX_RETRY <= gaps[-1] <= MAX_RETRY + LOOK_EVERY
        node.pods.statics.mirror("Pod/default/web-n1", SHOWN)
        await node.clock.advance(0)
        count = len(node.asked)
        await node.clock.advance(600)
        assert len(node.asked) == count


async def test_a_mirror_that_is_deleted_is_made_again_at_once(node: Node) -> None:
    """The loop wakes with the change, not with its next poll."""
    node.up = True
    node.pods.statics.want([STATIC])
    node.pods.statics.mirror("Pod/default/web-n1", SHOWN)
    async with node.running():
        await node.clock.advance(60)
        assert node.asked == []
        node.pods.statics.mirror("Pod/default/web-n1", None)
        await node.clock.advance(0)
        assert len(node.asked) == 1


async def test_a_refusal_is_logged_once(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """The request is repeated, its message is not."""
    node.up, node.refused = True, ["pods web-n1 is forbidden"]
    node.pods.statics.want([STATIC])
    async with node.running():
        await node.clock.advance(120)
    assert len(node.asked) > 3
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "mirror_refused pods web-n1 is forbidden"
    ]
