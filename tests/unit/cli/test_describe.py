"""`kctl describe` of workloads and budgets, line by line as kubectl 1.37 has it. tests/clients compares with the real one."""

from __future__ import annotations

from typing import Any

from cli.describing import budgets, jobs, pods, tabbed, templates, volumes, workloads
from pinnace import kinds
from tests.support import objects

POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "i"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}


class Client:
    """A server without pods."""

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def now(self) -> float:
        return 0.0


def described(describe: Any, item: Any) -> list[str]:
    """Down to the template of pods."""
    lines = tabbed.align(describe(Client(), None, item))
    return lines[: lines.index("Pod Template:")] if "Pod Template:" in lines else lines


def test_a_daemon_set() -> None:
    item = objects.make(kinds.DAEMON_SET, "each", spec={"selector": SELECTOR, "template": POD})
    item.status.desiredNumberScheduled, item.status.numberAvailable = 3, 2
    assert described(workloads.daemon_set, item) == [
        "Name:           each",
        "Namespace:      default",
        "Selector:       app=web",
        "Node-Selector:  <none>",
        "Labels:         <none>",
        "Annotations:    <none>",
        "Desired Number of Nodes Scheduled: 3",
        "Current Number of Nodes Scheduled: 0",
        "Number of Nodes Scheduled with Up-to-date Pods: 0",
        "Number of Nodes Scheduled with Available Pods: 2",
        "Number of Nodes Misscheduled: 0",
        "Pods Status:  0 Running / 0 Waiting / 0 Succeeded / 0 Failed",
    ]


def test_a_stateful_set() -> None:
    """maxUnavailable only below a partition."""
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": "50%"}}
    spec = {"selector": SELECTOR, "template": POD, "serviceName": "s", "updateStrategy": update}
    lines = described(workloads.stateful_set, objects.make(kinds.STATEFUL_SET, "numbered", spec=spec))
    assert lines[6:-1] == [
        "Service Name:           s",
        "Pod Management Policy:  OrderedReady",
        "Replicas:               1 desired | 0 total",
        "Update Strategy:        RollingUpdate",
        "  Partition:            1",
        "  MaxUnavailable:       50%",
    ]
    del update["rollingUpdate"]["partition"]  # type: ignore[attr-defined]
    assert "MaxUnavailable" not in str(described(workloads.stateful_set, objects.make(kinds.STATEFUL_SET, "n", spec=spec)))


def test_a_replication_controller() -> None:
    spec = {"selector": {"tier": "a", "app": "web"}, "template": POD}
    lines = described(workloads.replication_controller, objects.make(kinds.REPLICATION_CONTROLLER, "old", spec=spec))
    assert lines[2] == "Selector:     app=web,tier=a"
    assert lines[5] == "Replicas:     0 current / 1 desired"


def test_a_job() -> None:
    spec = {
        "selector": SELECTOR, "template": POD, "completions": 2, "parallelism": 1, "completionMode": "Indexed", "backoffLimit": 6,
        "activeDeadlineSeconds": 600, "ttlSecondsAfterFinished": 60, "suspend": False,
    }  # fmt: skip
    item = objects.make(kinds.JOB, "once", spec=spec, status={"completedIndexes": "0", "succeeded": 1, "ready": 0})
    item.status.startTime.seconds, item.status.completionTime.seconds = 60, 90
    assert described(jobs.job, item)[5:] == [
        "Parallelism:                 1",
        "Completions:                 2",
        "Completion Mode:             Indexed",
        "Suspend:                     false",
        "Backoff Limit:               6",
        "TTL Seconds After Finished:  60",
        "Start Time:                  Thu, 01 Jan 1970 00:01:00 +0000",
        "Completed At:                Thu, 01 Jan 1970 00:01:30 +0000",
        "Duration:                    30s",
        "Active Deadline Seconds:     600s",
        "Pods Statuses:               0 Active (0 Ready) / 1 Succeeded / 0 Failed",
        "Completed Indexes:           0",
    ]


def test_a_list_of_indexes_ends_at_a_comma() -> None:
    assert jobs.indexes("") == "<none>"
    assert jobs.indexes("0,2-4") == "0,2-4"
    assert jobs.indexes("1" * 52 + ",2,3") == "1" * 52 + ",..."


def test_a_cron_job() -> None:
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": POD}}}
    lines = tabbed.align(jobs.cron_job(None, None, objects.make(kinds.CRON_JOB, "often", spec=spec)))  # type: ignore[arg-type]
    assert lines[4:13] == [
        "Schedule:                      * * * * *",
        "Concurrency Policy:            Allow",
        "Suspend:                       False",
        "Time Zone:                     <unset>",
        "Successful Job History Limit:  3",
        "Failed Job History Limit:      1",
        "Starting Deadline Seconds:     <unset>",
        "Selector:                      <unset>",
        "Parallelism:                   <unset>",
    ]
    assert lines[-2:] == ["Last Schedule Time:  <unset>", "Active Jobs:         <none>"]


def test_a_budget() -> None:
    item = objects.make(kinds.POD_DISRUPTION_BUDGET, "b", spec={"minAvailable": "50%", "selector": SELECTOR})
    item.status.expectedPods = 4
    assert described(budgets.disruption_budget, item) == [
        "Name:           b",
        "Namespace:      default",
        "Min available:  50%",
        "Selector:       app=web",
        "Status:",
        "    Allowed disruptions:  0",
        "    Current:              0",
        "    Desired:              0",
        "    Total:                4",
    ]


def test_annotations_are_shortened() -> None:
    """The manifest of client-side apply is left out."""
    found = templates.annotation_lines(
        "Annotations", {"kubectl.kubernetes.io/last-applied-configuration": "{}", "long": "x" * 200, "a": "b\n", "two": "1\n2"}
    )
    assert found == ["Annotations:\ta: b", "\tlong:", f"\t  {'x' * 138}...", "\ttwo:", "\t  1", "\t  2"]
    assert templates.annotation_lines("Annotations", {}) == ["Annotations:\t<none>"]


def test_a_volume_that_nothing_is_known_of() -> None:
    pod = objects.pod("web")
    assert volumes.lines(pod.spec.volumes.add(name="v").volumeSource) == ["<unknown>"]


def test_topology_spread_constraints() -> None:
    """By key, of a pod and of a template; and the node that a waiting pod is nominated for."""
    constraints = [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR},
        {"maxSkew": 2, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway"},
    ]
    subject = objects.pod(topologySpreadConstraints=constraints)
    subject.status.nominatedNodeName = "n1"
    lines = pods.describe(Client(), kinds.POD, subject)
    assert lines[-2:] == [
        "Topology Spread Constraints: host:ScheduleAnyway when max skew 2 is exceeded",
        "                             zone:DoNotSchedule when max skew 1 is exceeded for selector app=web",
    ]
    assert "NominatedNodeName: n1" in lines
    template = {**POD, "spec": {**POD["spec"], "topologySpreadConstraints": constraints}}
    item = objects.make(kinds.DEPLOYMENT, "web", spec={"selector": SELECTOR, "template": template})
    assert [text.strip() for text in tabbed.align(templates.lines(item.spec.template)) if "max skew" in text] == [
        "Topology Spread Constraints:  host:ScheduleAnyway when max skew 2 is exceeded",
        "zone:DoNotSchedule when max skew 1 is exceeded for selector app=web",
    ]
