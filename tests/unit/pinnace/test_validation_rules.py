"""Each rule of validation, with manifests that it accepts and manifests that it rejects: validation/*.yaml.

docs/validation-rules.md is made of the same files. Every error of a rejected manifest is written out, so that a rule which
reports too much, or in other words than Kubernetes, fails too; "..." at its end stands for the rest of a message.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import pytest

from pinnace import codec, kinds, ruletable
from pinnace.admission import admit, admit_status
from pinnace.admission.builtin import SUBRESOURCE_RULES
from pinnace.errors import Invalid
from pinnace.ruletable import Rule

RULES = ruletable.load()
NAMED = {"metadata": {"name": "web"}}
IN_DEFAULT = {"metadata": {"name": "web", "namespace": "default"}}
WORKLOAD = {
    "selector": {"matchLabels": {"app": "web"}},
    "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}},
}
CLAIM = {"accessModes": ["ReadWriteOnce"]}
JOB = {"template": {"spec": {**WORKLOAD["template"]["spec"], "restartPolicy": "Never"}}}
AUTOSCALED = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 5,
    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
}  # fmt: skip
# The smallest object of a kind that is accepted.
BASES: dict[str, dict[str, Any]] = {
    "Pod": {**IN_DEFAULT, "spec": {"containers": [{"name": "main", "image": "busybox"}]}},
    "ConfigMap": IN_DEFAULT,
    "Secret": IN_DEFAULT,
    "Event": {**IN_DEFAULT, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"}},
    "Event.events.k8s.io": {
        **IN_DEFAULT, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/a",
        "reportingInstance": "a-1", "action": "Do", "reason": "Done", "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
    },
    "Lease": IN_DEFAULT,
    "Node": NAMED,
    "Namespace": NAMED,
    "RuntimeClass": {**NAMED, "handler": "native"},
    "PriorityClass": {**NAMED, "value": 10},
    "StorageClass": {**NAMED, "provisioner": "example.com/disk"},
    "PersistentVolume": {**NAMED, "spec": {**CLAIM, "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}}},
    "PersistentVolumeClaim": {**IN_DEFAULT, "spec": {**CLAIM, "resources": {"requests": {"storage": "1Gi"}}}},
    "Service": {**IN_DEFAULT, "spec": {"ports": [{"port": 80}]}},
    "Endpoints": IN_DEFAULT,
    "EndpointSlice": {**IN_DEFAULT, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
    "Role": IN_DEFAULT,
    "ClusterRole": NAMED,
    "RoleBinding": {**IN_DEFAULT, "roleRef": {"kind": "Role", "name": "reader"}},
    "ClusterRoleBinding": {**NAMED, "roleRef": {"kind": "ClusterRole", "name": "reader"}},
    "LimitRange": {**IN_DEFAULT, "spec": {"limits": [{"type": "Container"}]}},
    "ResourceQuota": {**IN_DEFAULT, "spec": {"hard": {"pods": "1"}}},
    "Deployment": {**IN_DEFAULT, "spec": WORKLOAD},
    "CronJob": {**IN_DEFAULT, "spec": {"schedule": "@daily", "jobTemplate": {"spec": JOB}}},
    "Job": {**IN_DEFAULT, "spec": JOB},
    "ReplicationController": {**IN_DEFAULT, "spec": {"template": WORKLOAD["template"]}},
    "ReplicaSet": {**IN_DEFAULT, "spec": WORKLOAD},
    "StatefulSet": {**IN_DEFAULT, "spec": WORKLOAD},
    "DaemonSet": {**IN_DEFAULT, "spec": WORKLOAD},
    "ControllerRevision": {**IN_DEFAULT, "data": {"spec": {}}, "revision": 1},
    "PodDisruptionBudget": {**IN_DEFAULT, "spec": {}},
    "HorizontalPodAutoscaler": {**IN_DEFAULT, "spec": AUTOSCALED},
    "NetworkPolicy": {**IN_DEFAULT, "spec": {}},
    "Ingress": {**IN_DEFAULT, "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}},
    "IngressClass": {**NAMED, "spec": {"controller": "example.com/controller"}},
    "PodTemplate": {**IN_DEFAULT, "template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    rule: Rule
    changes: dict[str, Any]
    errors: tuple[str, ...] = ()


ACCEPTED = [Case(rule, changes) for rule in RULES for changes in rule.accepted]
REJECTED = [Case(rule, item.changes, item.errors) for rule in RULES for item in rule.rejected]


def name_of(case: Case) -> str:
    return case.rule.name


def changed(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a manifest with values at paths such as `spec.containers[0].name`."""
    out = copy.deepcopy(value)
    for path, item in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
        target: Any = out
        for step in steps:
            target = target[step] if isinstance(target, list) else target.setdefault(step, {})
        if isinstance(target, list) and last == len(target):
            target.append(None)
        target[last] = copy.deepcopy(item)
    return out


def errors_of(case: Case) -> list[str]:
    """Every error of a case, as kctl shows it."""
    # Of a kind with two groups, the core group's has the plain name.
    kind = next(kind for kind in (*kinds.ALL, *kinds.FORMS) if case.rule.kind in (kind.kind, kind.group_kind))
    before, own = changed(BASES[case.rule.kind], case.rule.old or {}), SUBRESOURCE_RULES.get((kind, case.rule.via))
    try:
        old = None
        if case.rule.old is not None:
            old = codec.decode(kind.cls, before)
            admit(kind, old)
            if case.rule.added:
                before = changed(before, case.rule.added)
                later = codec.decode(kind.cls, before)
                admit(kind, later, old=old, own=own)
                old = later
        message = codec.decode(kind.cls, changed(before, case.changes))
        if case.rule.status:
            admit_status(kind, message, old)
        else:
            admit(kind, message, old=old, own=own)
    except Invalid as error:
        return [str(cause) for cause in error.causes]
    return []


@pytest.mark.parametrize("case", ACCEPTED, ids=name_of)
def test_accepted(case: Case) -> None:
    """What Kubernetes accepts and Pinnace supports has no error."""
    assert errors_of(case) == []


@pytest.mark.parametrize("case", REJECTED, ids=name_of)
def test_rejected(case: Case) -> None:
    """What is rejected is rejected with every error, by field, in Kubernetes' words."""
    found = errors_of(case)
    assert len(found) == len(case.errors), found
    for text, expected in zip(sorted(found), sorted(case.errors), strict=True):
        begin = expected.removesuffix("...")
        assert text.startswith(begin) if begin != expected else text == expected


def test_large_objects_are_rejected() -> None:
    """Data above 1 MiB and annotations above 256 KiB, counted in bytes."""
    kind = kinds.CONFIG_MAP
    for changes, error in (
        ({"data": {"a": "ä" * (1 << 19), "b": "c"}}, "data: Too long: may not be more than 1048576 bytes"),
        ({"metadata.annotations": {"a": "ä" * (1 << 17)}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ):
        message = codec.decode(kind.cls, changed(IN_DEFAULT, changes))
        with pytest.raises(Invalid) as caught:
            admit(kind, message)
        assert [str(cause) for cause in caught.value.causes] == [error]


def test_the_table_is_fresh_and_complete() -> None:
    """Each rule has both kinds of manifests; the page in docs is what they make."""
    assert ruletable.problems() == []
