"""Which nodes a DaemonSet's template allows, and what its pods get for it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers import daemonnodes
from controlplane.controllers.daemonnodes import Eligibility, Fit
from pinnace import codec, kinds
from pinnace.core.v1.podtemplate_pb2 import PodTemplateSpec
from tests.support.objects import make, node, pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def template(**spec: Any) -> PodTemplateSpec:
    return codec.decode(PodTemplateSpec, {"spec": {"containers": [{"name": "main", "image": "x"}], **spec}})


def named(*names: str) -> dict[str, Any]:
    fields = [{"key": "metadata.name", "operator": "In", "values": [name]} for name in names]
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [item]} for item in fields]}}}


@pytest.mark.parametrize(
    ("spec", "taints", "expected"),
    [
        ({}, [], Fit(True, True)),
        ({"nodeName": "n1"}, [], Fit(True, True)),
        ({"nodeName": "n2"}, [], Fit(False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, [], Fit(True, True)),
        ({"nodeSelector": {"disk": "hdd"}}, [], Fit(False, False)),
        ({"affinity": named("n2", "n1")}, [], Fit(True, True)),
        ({"affinity": named("n2")}, [], Fit(False, False)),
        ({"affinity": named("n1"), "nodeSelector": {"disk": "hdd"}}, [], Fit(False, False)),
        ({"affinity": {"nodeAffinity": {}}}, [], Fit(True, True)),
        ({}, [("a", "NoSchedule")], Fit(False, True)),
        ({}, [("a", "NoExecute")], Fit(False, False)),
        ({}, [("a", "PreferNoSchedule")], Fit(True, True)),
        ({"tolerations": [{"key": "a", "operator": "Exists"}]}, [("a", "NoSchedule"), ("a", "NoExecute")], Fit(True, True)),
        (
            {},
            [("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unschedulable", "NoSchedule")],
            Fit(True, True),
        ),
        ({}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], Fit(False, True)),
        ({"hostNetwork": True}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], Fit(True, True)),
    ],
)
def test_nodes_are_allowed_as_in_kubernetes(spec: dict[str, Any], taints: list[tuple[str, str]], expected: Fit) -> None:
    """By the template's node name, selector and required node affinity, and by taints."""
    subject = node(meta={"labels": {"disk": "ssd"}}, taints=[{"key": key, "effect": effect} for key, effect in taints])
    assert Eligibility(template(**spec)).fit(subject) == expected


def test_a_daemon_pod_outlasts_the_trouble_of_its_node() -> None:
    """A toleration of the template that ends after a time is replaced; others stay."""
    short = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    other = {"key": "example.com/a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    found = [codec.encode(item) for item in daemonnodes.tolerations(template(tolerations=[short, other]).spec)]
    assert found[0] == other
    assert found[1] == {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    assert len(found) == 1 + len(daemonnodes.TOLERATED)


def test_a_pod_is_for_one_node() -> None:
    """In place of the nodes that the template allows; a bound pod is on its node, and any other pod for none."""
    subject = pod(affinity=named("n2", "n3"))
    daemonnodes.assign(subject.spec, "n1")
    assert codec.encode(subject.spec.affinity) == named("n1")
    assert daemonnodes.assigned(subject) == "n1"
    assert daemonnodes.assigned(pod(nodeName="n4")) == "n4"
    assert daemonnodes.assigned(make(kinds.POD, "web", spec={"containers": []})) == ""
