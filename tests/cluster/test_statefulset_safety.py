"""Properties of StatefulSets under random users, pods, node failures and restarts: one pod of an identity, in order, as partitioned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import history
from controlplane.controllers.statefulset import ordinal
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from tests.support.safety import DISTURBANCES, Change, World, is_ready, run
from tests.support.workloads import stateful_set, template

SIZES = st.integers(0, 4)
BOUNDS = st.fixed_dictionaries(
    {"maxUnavailable": st.integers(1, 2), "partition": st.sampled_from([0, 0, 1, 2]), "seconds": st.sampled_from([0, 0, 10])}
)
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("scale"), SIZES),
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("partition"), st.integers(0, 3)),
)
CONTROLLER = "controller:statefulset"


def image_of(item: Any) -> str:
    return str(item.spec.containers[0].image)


class Sets(World):
    watched = (kinds.STATEFUL_SET,)

    async def create(self, replicas: int, *, first: int = 0, ordered: bool = True, **bounds: int) -> None:
        made = stateful_set(
            replicas=replicas, ordinals={"start": first}, podManagementPolicy="OrderedReady" if ordered else "Parallel",
            minReadySeconds=bounds.pop("seconds", 0), updateStrategy={"rollingUpdate": bounds},
        )  # fmt: skip
        await self.api.create(kinds.STATEFUL_SET, made)
        await self.settle()

    async def patch(self, **spec: Any) -> None:
        await self.api.patch(kinds.STATEFUL_SET, "web", "MERGE", {"spec": spec})

    async def scale(self, replicas: int) -> None:
        await self.patch(replicas=replicas)

    async def image(self, number: int) -> None:
        await self.patch(template=template(f"web:{number}"))

    async def partition(self, number: int) -> None:
        await self.patch(updateStrategy={"rollingUpdate": {"partition": number}})

    # The state at a change

    @property
    def item(self) -> Any:
        return self.find(kinds.STATEFUL_SET, "web")

    @property
    def wanted(self) -> range:
        first = self.item.spec.ordinals.start
        return range(first, first + self.item.spec.replicas)

    @property
    def ordered(self) -> bool:
        return bool(self.item.spec.podManagementPolicy == "OrderedReady")

    def pod(self, number: int) -> Pod | None:
        return self.find(kinds.POD, f"web-{number}")

    def is_available(self, number: int) -> bool:
        pod = self.pod(number)
        return pod is not None and is_ready(pod)

    def changed(self, change: Change) -> None:
        if change.kind is not kinds.POD:
            return
        if change.old is None:
            self._created(change.new)
        if change.new is None:
            running = self.fleet.containers.get(change.old.metadata.uid)
            assert running is None, f"{running} is gone from the API and runs on its node"
        if change.deletes and change.actor == CONTROLLER:
            self._deleted(change.old)

    def _created(self, pod: Pod) -> None:
        number = ordinal(self.item, pod)
        assert number in self.wanted
        assert pod.metadata.name not in self.fleet.containers.values(), f"two {pod.metadata.name} run"
        if self.ordered:
            for lower in range(self.wanted.start, number):
                assert self.is_available(lower), f"{pod.metadata.name} before web-{lower} is ready"
        if (
            number < self.wanted.start + self.item.spec.updateStrategy.rollingUpdate.partition
            and self.item.status.currentRevision
        ):
            assert pod.metadata.labels[history.HASH] == self.item.status.currentRevision

    def _deleted(self, pod: Pod) -> None:
        number = ordinal(self.item, pod)
        assert number is not None
        if number not in self.wanted:
            if self.ordered:
                higher = [other.metadata.name for other in self.every(kinds.POD) if (ordinal(self.item, other) or 0) > number]
                assert not higher, f"{pod.metadata.name} goes before {higher}"
            return
        if pod.status.phase in ("Failed", "Succeeded"):
            return
        bounds = self.item.spec.updateStrategy.rollingUpdate
        assert number >= self.wanted.start + bounds.partition, f"{pod.metadata.name} is below the partition"
        assert image_of(pod) != image_of(self.item.spec.template), f"{pod.metadata.name} is of the present template"
        if is_ready(pod):
            unavailable = [other for other in self.wanted if not self.is_available(other)]
            assert len(unavailable) <= max(bounds.maxUnavailable.intVal, 1), f"{unavailable} are unavailable"

    async def end(self) -> None:
        """Left alone, everything becomes as it is wanted."""
        await self.calm()
        first, partition = self.wanted.start, self.item.spec.updateStrategy.rollingUpdate.partition
        pods = self.every(kinds.POD)
        assert sorted(pod.metadata.name for pod in pods) == sorted(f"web-{number}" for number in self.wanted)
        assert all(map(is_ready, pods))
        for number in self.wanted[partition:]:
            pod = self.pod(number)
            assert pod is not None
            assert image_of(pod) == image_of(self.item.spec.template), f"web-{number} from {first}, partition {partition}"
        assert self.item.status.availableReplicas == self.item.spec.replicas


@settings(max_examples=20)
@given(
    replicas=SIZES, first=st.sampled_from([0, 2]), ordered=st.booleans(), bounds=BOUNDS, actions=st.lists(ACTIONS, min_size=6, max_size=15),
)  # fmt: skip
def test_no_order_of_events_breaks_identity_order_or_partition(
    replicas: int, first: int, ordered: bool, bounds: dict[str, int], actions: list[tuple[str, Any]]
) -> None:
    """Never two pods of one identity; pods are made upwards and taken downwards; a rollout stops at the partition, and takes no
    more pods than may be unavailable; and all end well."""
    world = Sets()

    async def body() -> None:
        await world.create(replicas, first=first, ordered=ordered, **bounds)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)


def test_the_property_sees_a_pod_that_is_forced_away() -> None:
    """While its node is away, its container runs on: an administrator who deletes it nevertheless breaks the property."""
    world = Sets()

    async def body() -> None:
        await world.create(1)
        [pod] = world.fleet.pods()
        number = world.nodes.index(pod.spec.nodeName)
        await world.act(("node", number))
        await world.cluster.delete(kinds.POD, "web-0", grace=0)
        with pytest.raises(AssertionError, match="web-0 is gone from the API and runs on its node"):
            world.check()

    run(world, body)
