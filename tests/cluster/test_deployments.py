"""Deployments roll out, scale, pause, fail and go back as kube-controller-manager's do, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.controllers import revisions
from pinnace import kinds
from pinnace.errors import Invalid
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.workloads import Agents, SettledApi, deployment, template


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, "n1", "n2")
    await made.join()
    return made


def rolling(surge: Any, unavailable: Any) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def sets(cluster: Cluster) -> dict[str, Any]:
    """ReplicaSets by the image of their template."""
    every = [row.parse() for row in cluster.store.rows(kinds.REPLICA_SET, "default")]
    return {item.spec.template.spec.containers[0].image: item for item in every}


def sizes(cluster: Cluster) -> dict[str, int]:
    return {image: item.spec.replicas for image, item in sets(cluster).items()}


def condition(cluster: Cluster, type_: str) -> tuple[str, str]:
    found = conditions.find(cluster.get(kinds.DEPLOYMENT, "web").status, type_)
    return (found.status, found.reason) if found is not None else ("", "")


def texts(cluster: Cluster) -> list[str]:
    return [event.message for event in cluster.events("ScalingReplicaSet")]


async def image(api: Api, name: str) -> None:
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"template": template(name)}})


async def test_a_deployment_gets_its_pods(api: Api, cluster: Cluster, agents: Agents) -> None:
    """By one ReplicaSet, named after the template, owned by the Deployment, and the status says how far it is."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=3))
    [found] = sets(cluster).values()
    digest = found.metadata.labels[revisions.HASH]
    assert found.metadata.name == f"web-{digest}"
    assert found.spec.selector.matchLabels[revisions.HASH] == digest
    assert [(ref.kind, ref.name, ref.controller) for ref in found.metadata.ownerReferences] == [("Deployment", "web", True)]
    pods = agents.pods()
    assert len(pods) == 3
    # Which account a pod has is decided when it is created.
    assert not found.spec.template.spec.serviceAccountName
    assert {pod.spec.serviceAccountName for pod in pods} == {"default"}
    assert all(pod.metadata.name.startswith(f"web-{digest}-") for pod in pods)
    assert all(pod.metadata.labels == {"app": "web", revisions.HASH: digest} for pod in pods)
    status = cluster.get(kinds.DEPLOYMENT, "web").status
    assert (status.replicas, status.updatedReplicas, status.availableReplicas, status.unavailableReplicas) == (3, 3, 0, 3)
    assert condition(cluster, "Available") == ("False", "MinimumReplicasUnavailable")
    await agents.settle()
    stored = cluster.get(kinds.DEPLOYMENT, "web")
    assert (stored.status.readyReplicas, stored.status.availableReplicas, stored.status.observedGeneration) == (3, 3, 1)
    assert condition(cluster, "Available") == ("True", "MinimumReplicasAvailable")
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert stored.metadata.annotations[revisions.REVISION] == "1"
    assert stored.metadata.generation == 1
    assert texts(cluster) == [f"Scaled up replica set web-{digest} from 0 to 3"]


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [("25%", "25%", 5, 3), (1, 0, 5, 4), (0, 1, 4, 3), ("100%", 0, 8, 4), (0, "100%", 4, 0), ("1%", "1%", 5, 4)],
)  # fmt: skip
async def test_a_rolling_update_keeps_its_bounds(
    api: Api, cluster: Cluster, agents: Agents, surge: Any, unavailable: Any, most: int, least: int
) -> None:
    """Of four pods, at every moment: no more than replicas + maxSurge, no fewer available than replicas - maxUnavailable."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=4, strategy=rolling(surge, unavailable)))
    await agents.settle()
    await image(api, "web:2")
    seen: list[tuple[int, int]] = []

    def watch() -> None:
        active = [pod for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds]
        seen.append((len(active), sum(pod.status.phase == "Running" for pod in active)))

    await agents.settle(watch=watch)
    assert max(count for count, _ in seen) <= most
    assert min(ready for _, ready in seen) >= least
    assert sizes(cluster) == {"web:1": 0, "web:2": 4}
    assert {pod.spec.containers[0].image for pod in agents.pods()} == {"web:2"}
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert cluster.get(kinds.DEPLOYMENT, "web").metadata.annotations[revisions.REVISION] == "2"


async def test_recreate_ends_all_pods_first(api: Api, cluster: Cluster, agents: Agents) -> None:
    """No pod of the new template exists while one of the old runs, also while it terminates."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=3, strategy={"type": "Recreate"}))
    await agents.settle()
    await image(api, "web:2")
    mixed: list[set[str]] = []
    await agents.settle(watch=lambda: mixed.append({pod.spec.containers[0].image for pod in agents.pods()}))
    assert {"web:1", "web:2"} not in mixed
    assert {pod.spec.containers[0].image for pod in agents.pods()} == {"web:2"}
    assert sizes(cluster) == {"web:1": 0, "web:2": 3}


async def test_a_template_that_comes_back_uses_its_replica_set(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With a new revision, and the earlier one in its history."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    first = sets(cluster)["web:1"].metadata.name
    await image(api, "web:2")
    await agents.settle()
    await image(api, "web:1")
    await agents.settle()
    found = sets(cluster)["web:1"]
    assert found.metadata.name == first
    assert found.metadata.annotations[revisions.REVISION] == "3"
    assert found.metadata.annotations[revisions.HISTORY] == "1"
    assert sizes(cluster) == {"web:1": 2, "web:2": 0}


async def test_earlier_replica_sets_are_kept_for_a_while(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As many as revisionHistoryLimit says, the latest ones."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1, revisionHistoryLimit=2))
    await agents.settle()
    for number in range(2, 7):
        await image(api, f"web:{number}")
        await agents.settle()
    assert sizes(cluster) == {"web:4": 0, "web:5": 0, "web:6": 1}


async def test_scaling_in_the_midst_of_a_rollout_is_in_proportion(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As Kubernetes' documentation has it: 10 pods, maxSurge 3, maxUnavailable 2, a template that never gets ready; then 15."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=10, strategy=rolling(3, 2)))
    await agents.settle()
    await image(api, "broken")
    await agents.settle(fails=lambda pod: pod.spec.containers[0].image == "broken")
    assert sizes(cluster) == {"web:1": 8, "broken": 5}
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": 15}})
    await agents.settle(fails=lambda pod: pod.spec.containers[0].image == "broken")
    assert sizes(cluster) == {"web:1": 11, "broken": 7}


async def test_scale_goes_through_its_subresource(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A Scale is read and written; the generation rises."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": 4}}, subresource="scale")
    await agents.settle()
    stored = cluster.get(kinds.DEPLOYMENT, "web")
    assert (stored.spec.replicas, stored.metadata.generation, stored.status.availableReplicas) == (4, 2, 4)
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": 0}}, subresource="scale")
    await agents.settle()
    assert agents.pods() == []
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": -1}}, subresource="scale")


async def test_a_paused_deployment_scales_and_rolls_nothing_out(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Resumed, it rolls out what was changed meanwhile, once."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"paused": True}})
    assert condition(cluster, "Progressing") == ("Unknown", "DeploymentPaused")
    await image(api, "web:2")
    await image(api, "web:3")
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": 3}})
    await agents.settle()
    assert sizes(cluster) == {"web:1": 3}
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"paused": False}})
    await agents.settle()
    assert sizes(cluster) == {"web:1": 0, "web:3": 3}


async def test_a_rollout_without_progress_is_called_late(api: Api, cluster: Cluster, agents: Agents) -> None:
    """At progressDeadlineSeconds since the last progress; the earlier pods stay, and a better template ends it."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=4, progressDeadlineSeconds=60))
    await agents.settle()
    await image(api, "broken")
    await agents.settle(fails=lambda pod: pod.spec.containers[0].image == "broken")
    await cluster.advance(50, beating=("n1", "n2"))
    assert condition(cluster, "Progressing")[0] == "True"
    await cluster.advance(20, beating=("n1", "n2"))
    assert condition(cluster, "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert cluster.get(kinds.DEPLOYMENT, "web").status.availableReplicas == 3
    await image(api, "web:3")
    await agents.settle()
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert sizes(cluster) == {"web:1": 0, "broken": 0, "web:3": 4}


async def test_min_ready_seconds_delays_each_step(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A pod counts as available only when it has been ready for so long."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2, minReadySeconds=30, strategy=rolling(1, 0)))
    await agents.settle()
    assert cluster.get(kinds.DEPLOYMENT, "web").status.availableReplicas == 0
    await cluster.advance(31, beating=("n1", "n2"))
    assert cluster.get(kinds.DEPLOYMENT, "web").status.availableReplicas == 2
    await image(api, "web:2")
    await agents.settle()
    assert sizes(cluster) == {"web:1": 2, "web:2": 1}
    await cluster.advance(20, beating=("n1", "n2"))
    await agents.settle()
    assert sizes(cluster) == {"web:1": 2, "web:2": 1}
    for _ in range(4):
        await cluster.advance(31, beating=("n1", "n2"))
        await agents.settle()
    assert sizes(cluster) == {"web:1": 0, "web:2": 2}


async def test_quota_is_said_on_the_deployment(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As far as it goes; more room continues it without a further request."""
    await api.create(
        kinds.RESOURCE_QUOTA, {"metadata": {"name": "few", "namespace": "default"}, "spec": {"hard": {"pods": "2"}}}
    )
    await api.create(kinds.DEPLOYMENT, deployment(replicas=4))
    await agents.settle()
    assert len(agents.pods()) == 2
    assert condition(cluster, "ReplicaFailure") == ("True", "FailedCreate")
    assert "exceeded quota: few" in conditions.find(cluster.get(kinds.DEPLOYMENT, "web").status, "ReplicaFailure").message
    await api.patch(kinds.RESOURCE_QUOTA, "few", "MERGE", {"spec": {"hard": {"pods": "9"}}})
    await cluster.advance(30, beating=("n1", "n2"))
    await agents.settle()
    assert len(agents.pods()) == 4
    assert condition(cluster, "ReplicaFailure") == ("", "")


async def test_a_replica_set_that_may_not_be_created_is_tried_again(api: Api, cluster: Cluster, agents: Agents) -> None:
    """An event and the condition Progressing have the reason; the deadline of progress does not hide it."""
    quota = {"metadata": {"name": "none", "namespace": "default"}, "spec": {"hard": {"count/replicasets.apps": "0"}}}
    await api.create(kinds.RESOURCE_QUOTA, quota)
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1, progressDeadlineSeconds=20))
    await cluster.advance(60, beating=("n1", "n2"))
    assert condition(cluster, "Progressing") == ("False", "ReplicaSetCreateError")
    [event] = cluster.events("ReplicaSetCreateError")
    assert event.type == "Warning"
    assert 'Failed to create new replica set "web-' in event.message
    await cluster.delete(kinds.RESOURCE_QUOTA, "none")
    await cluster.advance(15, beating=("n1", "n2"))
    await agents.settle()
    assert sizes(cluster) == {"web:1": 1}
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")


async def test_other_bounds_of_the_same_size_continue_a_rollout(api: Api, cluster: Cluster, agents: Agents) -> None:
    """One replica less and one more of surge leave the sizes, and are noted on the ReplicaSets all the same."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=10, strategy=rolling(3, 2)))
    await agents.settle()
    await image(api, "web:2")
    await agents.settle(fails=lambda pod: pod.spec.containers[0].image == "web:2")
    assert sizes(cluster) == {"web:1": 8, "web:2": 5}
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": 9, "strategy": rolling(4, 2)}})
    assert {item.metadata.annotations["deployment.kubernetes.io/desired-replicas"] for item in sets(cluster).values()} == {"9"}
    for pod in agents.pods():
        await agents.start(pod)
    await agents.settle()
    assert sizes(cluster) == {"web:1": 0, "web:2": 9}


async def test_the_name_of_a_replica_set_is_cut(api: Api, cluster: Cluster, agents: Agents) -> None:
    """At 253 characters with its hash; pods cut it again."""
    await api.create(kinds.DEPLOYMENT, deployment(name="d" * 250, replicas=1))
    [found] = sets(cluster).values()
    assert len(found.metadata.name) == 253
    assert found.metadata.name.startswith("d" * 242 + "-")


async def test_deleting_takes_replica_sets_and_pods_along(api: Api, cluster: Cluster, agents: Agents) -> None:
    """In the background, in the foreground, and not at all when they are orphaned; a new one adopts what was left."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    names = {pod.metadata.name for pod in agents.pods()}
    await cluster.delete(kinds.DEPLOYMENT, "web", propagation="Orphan")
    await agents.settle()
    assert {pod.metadata.name for pod in agents.pods()} == names
    assert not sets(cluster)["web:1"].metadata.ownerReferences
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    assert {pod.metadata.name for pod in agents.pods()} == names
    await cluster.delete(kinds.DEPLOYMENT, "web", propagation="Foreground")
    await agents.settle()
    assert (agents.pods(), sets(cluster), cluster.get(kinds.DEPLOYMENT, "web")) == ([], {}, None)


async def test_annotations_reach_the_replica_set(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Such as the cause of a change, which `rollout history` shows; not what kubectl applied last."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    note = {"kubernetes.io/change-cause": "first", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"metadata": {"annotations": note}})
    await agents.settle()
    found = sets(cluster)["web:1"].metadata.annotations
    assert found["kubernetes.io/change-cause"] == "first"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in found
    assert cluster.get(kinds.DEPLOYMENT, "web").metadata.generation == 2


@pytest.mark.parametrize(
    ("revision", "reason", "message", "image_after"),
    [
        ("0", "DeploymentRollback", 'Rolled back deployment "web" to revision 2', "web:2"),
        ("1", "DeploymentRollback", 'Rolled back deployment "web" to revision 1', "web:1"),
        ("9", "DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to.", "web:3"),
        (
            "3", "DeploymentRollbackTemplateUnchanged",
            'The rollback revision contains the same template as current deployment "web"', "web:3",
        ),
    ],
)  # fmt: skip
async def test_an_annotation_rolls_back(
    api: Api, cluster: Cluster, agents: Agents, revision: str, reason: str, message: str, image_after: str
) -> None:
    """To a revision, 0 being the one before, with the annotations that it had; it is removed in any case."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    for number in (1, 2, 3):
        cause = {"kubernetes.io/change-cause": f"change {number}"}
        change = {"metadata": {"annotations": cause}, "spec": {"template": template(f"web:{number}")}}
        await api.patch(kinds.DEPLOYMENT, "web", "MERGE", change)
        await agents.settle()
    request = {"metadata": {"annotations": {"deprecated.deployment.rollback.to": revision}}}
    await api.patch(kinds.DEPLOYMENT, "web", "MERGE", request)
    await agents.settle()
    found = cluster.get(kinds.DEPLOYMENT, "web")
    assert found.spec.template.spec.containers[0].image == image_after
    assert "pod-template-hash" not in found.spec.template.metadata.labels
    assert found.metadata.annotations["kubernetes.io/change-cause"] == f"change {image_after[-1]}"
    assert "deprecated.deployment.rollback.to" not in found.metadata.annotations
    assert [event.message for event in cluster.events(reason)] == [message]
    assert sizes(cluster)[image_after] == 1


async def test_a_rollback_without_an_earlier_revision_is_given_up(api: Api, cluster: Cluster, agents: Agents) -> None:
    """And an annotation that is no number is left."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    for value in ("0", "first"):
        request = {"metadata": {"annotations": {"deprecated.deployment.rollback.to": value}}}
        await api.patch(kinds.DEPLOYMENT, "web", "MERGE", request)
        await agents.settle()
    [event] = cluster.events("DeploymentRollbackRevisionNotFound")
    assert (event.type, event.message) == ("Warning", "Unable to find last revision.")
    found = cluster.get(kinds.DEPLOYMENT, "web").metadata.annotations
    assert found["deprecated.deployment.rollback.to"] == "first"
