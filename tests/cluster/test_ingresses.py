"""NetworkPolicies, Ingresses and IngressClasses as the API serves them: defaults, the default class, status and quotas."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import errors, kinds
from pinnace.api.v1 import objects_pb2
from tests.cluster.test_warnings import Context
from tests.support.api import Api, sealed
from tests.support.cluster import Cluster

DEFAULT = {"ingressclass.kubernetes.io/is-default-class": "true"}
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(cluster)


def ingress(name: str = "web", *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"defaultBackend": BACKEND, **spec}}


def ingress_class(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "example.com/controller"}}


def policy(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_an_ingress_without_a_class_gets_the_newest_default_class(cluster: Cluster, api: Api) -> None:
    """One that names a class, also by the older annotation, keeps it; without a default class there is none."""
    none = await api.create(kinds.INGRESS, ingress("none"))
    assert not none.spec.HasField("ingressClassName")
    await api.create(kinds.INGRESS_CLASS, ingress_class("plain", {}))
    await api.create(kinds.INGRESS_CLASS, ingress_class("first", DEFAULT))
    assert (await api.create(kinds.INGRESS, ingress("one"))).spec.ingressClassName == "first"
    await cluster.advance(10)
    await api.create(kinds.INGRESS_CLASS, ingress_class("newer", DEFAULT))
    assert (await api.create(kinds.INGRESS, ingress("two"))).spec.ingressClassName == "newer"
    assert (await api.create(kinds.INGRESS, ingress("own", ingressClassName="plain"))).spec.ingressClassName == "plain"
    older = await api.create(kinds.INGRESS, ingress("older", annotations={"kubernetes.io/ingress.class": "x"}))
    assert not older.spec.HasField("ingressClassName")


async def test_objects_of_namespaces_have_the_defaults_of_kubernetes(api: Api) -> None:
    """The directions of a policy follow from its rules, and its selector is shown even when it is empty."""
    made = await api.create(kinds.NETWORK_POLICY, policy())
    assert list(made.spec.policyTypes) == ["Ingress"]
    assert made.spec.HasField("podSelector")
    made = await api.create(kinds.NETWORK_POLICY, policy("out", egress=[{"ports": [{"port": 53}]}]))
    assert list(made.spec.policyTypes) == ["Ingress", "Egress"]
    assert made.spec.egress[0].ports[0].protocol == "TCP"
    made = await api.create(kinds.NETWORK_POLICY, policy("only", policyTypes=["Egress"]))
    assert list(made.spec.policyTypes) == ["Egress"]
    assert (await api.create(kinds.INGRESS, ingress())).status.HasField("loadBalancer")


async def test_a_quota_counts_objects_of_the_group(api: Api) -> None:
    """By count/RESOURCE.GROUP."""
    hard = {"count/networkpolicies.networking.k8s.io": "1", "count/ingresses.networking.k8s.io": "1"}
    await api.create(kinds.RESOURCE_QUOTA, {"metadata": {"name": "bounds", "namespace": "default"}, "spec": {"hard": hard}})
    await api.create(kinds.NETWORK_POLICY, policy())
    with pytest.raises(errors.Forbidden, match="exceeded quota: bounds, requested: count/networkpolicies"):
        await api.create(kinds.NETWORK_POLICY, policy("more"))
    await api.create(kinds.INGRESS, ingress())
    with pytest.raises(errors.Forbidden, match="exceeded quota"):
        await api.create(kinds.INGRESS, ingress("more"))


async def test_unusual_forms_are_accepted_with_a_warning(cluster: Cluster) -> None:
    """As by Kubernetes: the older annotation, and addresses that are not written in the usual way."""
    context = Context()
    item = ingress(annotations={"kubernetes.io/ingress.class": "x"})
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.INGRESS, item)), context)
    assert context.warnings == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]
    context = Context()
    item = policy(ingress=[{"from": [{"ipBlock": {"cidr": "2001:DB8::/32", "except": ["2001:db8:0:1::/64"]}}]}])
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.NETWORK_POLICY, item)), context)
    wanted = 'IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")'
    assert context.warnings == [f"spec.ingress[0].from[0].ipBlock.cidr: {wanted}"]
