"""Properties of DaemonSets under random users, pods, node failures and restarts: one pod on a node, and few at a time replaced."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import daemonnodes
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from tests.support.safety import DISTURBANCES, PICK, Change, World, is_ready, run
from tests.support.workloads import daemon_set, template

CONTROLLER = "controller:daemonset"
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("taint"), PICK),
    st.tuples(st.just("label"), PICK),
)
# maxSurge and maxUnavailable; one of them is zero.
BOUNDS = st.sampled_from([(0, 1), (0, 2), (1, 0), (2, 0)])


def node_of(pod: Pod) -> str:
    """Where a pod of a DaemonSet is or will be."""
    return daemonnodes.assigned(pod)


class Daemons(World):
    nodes = ("n1", "n2", "n3")
    watched = (kinds.DAEMON_SET, kinds.NODE)

    async def create(self, surge: int, unavailable: int) -> None:
        self.surge, self.unavailable = surge, unavailable
        rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        spec = template(nodeSelector={"daemons": "yes"})
        for name in self.nodes:
            await self.api.patch(kinds.NODE, name, "MERGE", {"metadata": {"labels": {"daemons": "yes"}}})
        await self.api.create(kinds.DAEMON_SET, daemon_set(updateStrategy=rolling, template=spec))
        await self.settle()

    async def image(self, number: int) -> None:
        spec = template(f"web:{number}", nodeSelector={"daemons": "yes"})
        await self.api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": spec}})

    async def taint(self, number: int) -> None:
        """An administrator's taint comes or goes; every third time it evicts."""
        name = self.nodes[number % len(self.nodes)]
        effect = "NoExecute" if number % 3 == 0 else "NoSchedule"

        def change(node: Any) -> None:
            kept = [taint for taint in node.spec.taints if taint.key != "mine"]
            had = len(kept) < len(node.spec.taints)
            del node.spec.taints[:]
            node.spec.taints.extend(kept)
            if not had:
                node.spec.taints.add(key="mine", effect=effect)

        await self.cluster.change(kinds.NODE, name, change)

    async def label(self, number: int) -> None:
        """A node leaves those that the template selects, or comes back."""
        name = self.nodes[number % len(self.nodes)]

        def change(node: Any) -> None:
            node.metadata.labels["daemons"] = "no" if node.metadata.labels["daemons"] == "yes" else "yes"

        await self.cluster.change(kinds.NODE, name, change)

    # Checks

    def of(self, node: str) -> list[Pod]:
        return [
            pod for pod in self.every(kinds.POD) if node_of(pod) == node and pod.status.phase not in ("Failed", "Succeeded")
        ]

    def is_served(self, node: str) -> bool:
        return any(map(is_ready, self.of(node)))

    def is_wanted(self, node: str) -> bool:
        """Whether pods stay there."""
        found = self.find(kinds.NODE, node, "")
        if found is None or found.metadata.labels["daemons"] != "yes":
            return False
        return not any(taint.key == "mine" and taint.effect == "NoExecute" for taint in found.spec.taints)

    def is_tainted(self, node: str) -> bool:
        return any(taint.key == "mine" for taint in self.find(kinds.NODE, node, "").spec.taints)

    def changed(self, change: Change) -> None:
        if change.kind is not kinds.POD:
            return
        if change.old is None:
            self._created(change.new)
        if change.deletes and change.actor == CONTROLLER:
            self._deleted(change.old)

    def _created(self, pod: Pod) -> None:
        node = node_of(pod)
        others = [other for other in self.of(node) if other.metadata.uid != pod.metadata.uid]
        live = [other for other in others if not other.metadata.deletionTimestamp.seconds]
        assert len(live) <= bool(self.surge), f"{len(live) + 1} pods on {node}"
        if not self.surge:
            assert not others, f"the pod of {node} is still terminating"

    def _deleted(self, pod: Pod) -> None:
        node = node_of(pod)
        if not is_ready(pod) or not self.is_wanted(node):
            return
        if self.surge:
            assert self.is_served(node), f"{node} is without a pod"
            return
        # One that takes no new pods is none that the rollout is to serve.
        without = [
            name for name in self.nodes if self.is_wanted(name) and not self.is_tainted(name) and not self.is_served(name)
        ]
        assert len(without) <= self.unavailable, f"{without} are without a pod"

    def rested(self) -> None:
        surging = 0
        for node in self.nodes:
            live = [pod for pod in self.of(node) if not pod.metadata.deletionTimestamp.seconds]
            assert len(live) <= 1 + bool(self.surge), f"{len(live)} pods on {node}"
            served = [pod for pod in live if is_ready(pod)]
            surging += len(live) > 1 and bool(served)
        assert surging <= self.surge, f"{surging} nodes with a surge"

    async def end(self) -> None:
        """Left alone, every node that the template selects has one pod of it that is ready."""
        for number, name in enumerate(self.nodes):
            if self.is_tainted(name):
                await self.taint(number)
        await self.calm()
        item = self.find(kinds.DAEMON_SET, "web")
        wanted = [name for name in self.nodes if self.is_wanted(name)]
        pods = self.every(kinds.POD)
        assert sorted(map(node_of, pods)) == wanted
        assert all(map(is_ready, pods))
        images = {pod.spec.containers[0].image for pod in pods}
        assert images <= {item.spec.template.spec.containers[0].image}
        assert item.status.numberAvailable == item.status.updatedNumberScheduled == len(wanted)


@settings(max_examples=20)
@given(bounds=BOUNDS, actions=st.lists(ACTIONS, min_size=6, max_size=15))
def test_no_order_of_events_breaks_the_bounds(bounds: tuple[int, int], actions: list[tuple[str, Any]]) -> None:
    """Never two pods on a node but in a surge, of which there are at most maxSurge; a rollout leaves at most maxUnavailable nodes
    without a pod; and all end well."""
    world = Daemons()

    async def body() -> None:
        await world.create(*bounds)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)
