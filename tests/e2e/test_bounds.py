"""Priorities, limit ranges and quotas through kctl, as a user of a cluster sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.labs import LabUnderTest, pod, running

MANIFESTS = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: v1
kind: LimitRange
metadata: {name: bounds}
spec:
  limits:
  - {type: Container, default: {cpu: 200m}, defaultRequest: {cpu: 100m}, max: {cpu: "1"}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: team}
spec:
  hard: {pods: "2", requests.cpu: 500m, count/configmaps: "1"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-e2e-bounds", tmp_path_factory.mktemp("lab"), nodes=1) as made:
        yield made


def test_bounds_from_manifest_to_error(lab: LabUnderTest) -> None:
    """Applied, listed, described, explained, enforced and deleted."""
    outcomes = lab.kctl("apply", "-f", "-", stdin=MANIFESTS).splitlines()
    assert [line.split()[-1] for line in outcomes] == ["created"] * 4
    again = lab.kctl("apply", "-f", "-", stdin=MANIFESTS).splitlines()
    assert [line.split()[-1] for line in again] == ["unchanged"] * 4
    lab.apply(pod("web", priorityClassName="high"))
    found = lab.get("pod", "web")["spec"]
    assert (found["priority"], found["containers"][0]["resources"]) == (
        1000,
        {"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}},
    )
    table = lab.kctl("get", "quota").splitlines()
    assert "pods: 1/2, requests.cpu: 100m/500m" in table[1]
    assert "requests.cpu       100m   500m" in lab.kctl("describe", "quota", "team")
    assert lab.kctl("get", "pc,sa,limits", "-o", "name").split() == [
        "priorityclass.scheduling.k8s.io/high", "priorityclass.scheduling.k8s.io/system-cluster-critical",
        "priorityclass.scheduling.k8s.io/system-node-critical",
        "serviceaccount/builder", "serviceaccount/default", "limitrange/bounds",
    ]  # fmt: skip
    assert "podtemplate" in lab.kctl("api-resources", "-o", "name")
    assert "Largest limit of each resource" in lab.kctl("explain", "limits.spec.limits.max")
    second = pod("second")
    second["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    said = lab.run("apply", "-f", "-", stdin=json.dumps(second)).stderr.decode()
    assert (
        said == 'Warning: spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply\n'
    )
    third = lab.run(
        "apply",
        "-f",
        "-",
        stdin="apiVersion: v1\nkind: Pod\nmetadata: {name: third}\nspec: {containers: [{name: a, image: busybox}]}\n",
    )
    assert third.returncode == 1
    assert b"exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2" in third.stderr
    lab.kctl("delete", "pod", "second", "--now")
    lab.kctl("wait", "--for=jsonpath={.status.used.pods}=1", "quota/team", "--timeout=20s")
    lab.kctl("delete", "quota,limits", "team", "bounds", "--ignore-not-found")
