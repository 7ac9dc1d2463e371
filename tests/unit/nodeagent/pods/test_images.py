"""The images of a pod's containers: what is shown while one is pulled, how failures back off, and what ends it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.images.puller import Puller
from nodeagent.images.registry.config import Registries
from nodeagent.images.store import Image, ImageStore
from nodeagent.pods.images import PodImages
from nodeagent.pods.model import Policy, StepFailure
from pinnace.clock import VirtualClock
from pinnace.core.v1 import config_pb2, pod_pb2
from tests.support import archives
from tests.support.archives import layer
from tests.support.registry import Packed, Rogue, packed, rogue, serving

pytestmark = pytest.mark.root
PRIVATE: Packed = packed(layer(("a", "b")))


class Pod:
    """A pod's images over a store of its own, events and wake-ups in lists."""

    def __init__(self, folder: Path, *secrets: str) -> None:
        self.clock = VirtualClock()
        self.store = ImageStore(folder / "images", self.clock)
        self.events: list[tuple[str, str]] = []
        self.woken: list[str] = []
        self.secrets: dict[str, Any] = {}
        self.pod = pod_pb2.Pod()
        for name in secrets:
            self.pod.spec.imagePullSecrets.add(name=name)
        self.puller = Puller(self.store, Registries(), self.clock)
        self.images = PodImages(
            self.puller, self.clock, policy=Policy(), wake=self.woken.append,
            event=lambda reason, message, warning: self.events.append((reason, message)),
        )  # fmt: skip

    def get(self, reference: str, *, policy: str = "IfNotPresent", name: str = "main") -> Image | StepFailure:
        return self.images.get(name, reference, policy=policy, pod=self.pod, lookup=lambda kind, name: self.secrets.get(name))

    async def settled(self, reference: str, **more: str) -> Image | StepFailure:
        """What `get` answers once the pull that it began has ended."""
        first = self.get(reference, **more)
        for pull in list(self.images._pulls.values()):
            await asyncio.wait([pull.task])
        return self.get(reference, **more) if isinstance(first, StepFailure) else first


def failure(found: Image | StepFailure) -> StepFailure:
    assert isinstance(found, StepFailure), found
    return found


async def test_an_image_that_is_here_is_there_at_once(tmp_path: Path) -> None:
    """No task, no registry."""
    pod = Pod(tmp_path)
    [image] = await pod.store.load(archives.docker(tmp_path / "a.tar", layer(("a", "b"))), "")
    assert pod.get("demo:1") == image
    assert pod.events == [("Pulled", 'Container image "demo:1" already present on machine')]


async def test_a_failing_pull_backs_off_as_kubelet_does(tmp_path: Path) -> None:
    """ErrImagePull, then ImagePullBackOff for 10 s, 20 s ..., and ErrImagePull again while the next try runs."""
    pod = Pod(tmp_path)
    with rogue(lambda request: (404, {}, b"")) as server:
        name = f"{server.address}/app:1"
        assert failure(pod.get(name)).reason == "ContainerCreating"
        first = failure(await pod.settled(name))
        assert first.reason == "ErrImagePull"
        assert pod.woken == ["main"]
        start = pod.clock.now()
        waiting = failure(pod.get(name))
        assert (waiting.reason, waiting.retry_at) == ("ImagePullBackOff", start + 10.0)
        assert waiting.message.startswith(f'Back-off pulling image "{name}": ErrImagePull: ')
        await pod.clock.advance(10.0)
        asked = len(server.requests)
        assert failure(pod.get(name)).reason == "ErrImagePull"
        await pod.settled(name)
        assert len(server.requests) > asked
        assert failure(pod.get(name)).retry_at == pod.clock.now() + 20.0
    reasons = [reason for reason, _ in pod.events]
    assert reasons[:4] == ["Pulling", "Failed", "Failed", "BackOff"]
    assert pod.events[1][1].startswith(f'Failed to pull image "{name}": ')
    assert pod.events[2][1] == "Error: ErrImagePull"


async def test_a_mended_secret_is_tried_at_once(tmp_path: Path) -> None:
    """The back-off is that of the wrong one."""
    pod = Pod(tmp_path, "pull")

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        # "user:right"
        if request.headers.get("Authorization") != "Basic dXNlcjpyaWdodA==":
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return serving(PRIVATE)(request)

    with rogue(answer) as server:
        name = f"{server.address}/app:1"
        assert failure(await pod.settled(name)).reason == "ErrImagePull"
        assert any(reason == "FailedToRetrieveImagePullSecret" and '"pull" not found' in text for reason, text in pod.events)
        for password in ("wrong", "right"):
            auths = {"auths": {server.address: {"username": "user", "password": password}}}
            pod.secrets["pull"] = config_pb2.Secret(
                type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": json.dumps(auths).encode()}
            )
            found = await pod.settled(name)
            assert isinstance(found, Image) is (password == "right")
    assert not any("wrong" in text.replace("missing or wrong", "") for _, text in pod.events)


@pytest.fixture
def stuck() -> Iterator[Rogue]:
    """A registry that does not answer before the test is over."""
    over = threading.Event()

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        over.wait(20)
        return 404, {}, b""

    with rogue(answer) as server:
        yield server
        over.set()


async def test_an_image_that_is_loaded_meanwhile_ends_the_pull(tmp_path: Path, stuck: Rogue) -> None:
    """Whoever loads it need not wait for a registry that does not answer."""
    pod, name = Pod(tmp_path), f"{stuck.address}/app:1"
    assert failure(pod.get(name)).reason == "ContainerCreating"
    [pull] = pod.images._pulls.values()
    [image] = await pod.store.load(archives.docker(tmp_path / "a.tar", layer(("a", "b"))), name)
    assert pod.get(name) == image
    assert pod.images._pulls == {}
    assert pull.task.cancelling()


async def test_another_image_for_a_container_ends_the_pull_of_the_first(tmp_path: Path, stuck: Rogue) -> None:
    """As when the pod's image is changed while it is pulled."""
    pod = Pod(tmp_path)
    failure(pod.get(f"{stuck.address}/first:1"))
    [first] = pod.images._pulls.values()
    failure(pod.get(f"{stuck.address}/second:1"))
    assert first.task.cancelling()
    pod.images.close()


@pytest.mark.parametrize(
    ("name", "policy", "reason"), [("nowhere:1", "Never", "ErrImageNeverPull"), ("Bad Name", "Always", "InvalidImageName")]
)
async def test_what_no_pull_can_help_keeps_its_reason(tmp_path: Path, name: str, policy: str, reason: str) -> None:
    """It is not called a back-off."""
    pod = Pod(tmp_path)
    assert failure(await pod.settled(name, policy=policy)).reason == reason
    assert failure(pod.get(name, policy=policy)).reason == reason
