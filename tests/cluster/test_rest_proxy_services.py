"""services/proxy: requests to a Service of which the pods are servers that tests play."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, kinds
from tests.support import proxied
from tests.support.cluster import Cluster
from tests.support.front import Front
from tests.support.podserver import PodServer
from tests.support.rest import Rest

rest, api, server = proxied.rest, proxied.api, proxied.server
SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
async def web(cluster: Cluster, rest: Rest, server: PodServer) -> Any:
    """The Service `web`, whose ports `http` and (without a name) 81 lead to the server; it has no selector."""
    await cluster.report("n1", cluster.get(kinds.POD, "web"), podIP="10.244.0.5", podIPs=[{"ip": "10.244.0.5"}])
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    await cluster.create(made(kinds.SERVICE, "web", spec={"ports": ports}))
    return await cluster.create(endpoints(server.port))


def made(kind: Any, name: str, **value: Any) -> Any:
    meta = {"name": name, "namespace": "default", **value.pop("metadata", {})}
    return codec.decode(kind.cls, {"metadata": meta, **value})


def endpoints(port: int, **endpoint: Any) -> Any:
    one = {"addresses": ["10.244.0.5"], "targetRef": {"kind": "Pod", "name": "web", "namespace": "default"}, **endpoint}
    return made(
        kinds.ENDPOINT_SLICE, "web-1", metadata={"labels": {"kubernetes.io/service-name": "web"}}, addressType="IPv4",
        ports=[{"name": "http", "port": port}], endpoints=[one],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["web:80", "web:http", "http:web:http"])
async def test_a_request_goes_to_a_pod_of_the_service(api: Front, server: PodServer, web: Any, name: str) -> None:
    """By number or name of the Service's port, with path and query as they came."""
    answer = await api.ask("GET", f"{SERVICES}/{name}/proxy/a/b?x=1")
    assert (answer.status, answer.body) == (200, b"hello\n")
    [(head, _)] = server.requests
    assert (head.method, head.target) == (b"GET", b"/a/b?x=1")
    assert server.headers()["x-forwarded-uri"] == f"{SERVICES}/{name}/proxy/a/b"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("web:99", 'no service port 99 found for service \\"web\\"'), ("web", 'no endpoints available for service \\"web\\"'),
        ("web:dns", 'no endpoints available for service \\"web:dns\\"'), ("none:80", 'services \\"none\\" not found'),
        ("a:b:c:d", "invalid service request"),
    ],
)  # fmt: skip
async def test_requests_that_lead_nowhere(api: Front, server: PodServer, web: Any, name: str, text: str) -> None:
    """With Kubernetes' messages."""
    answer = await api.ask("GET", f"{SERVICES}/{name}/proxy/")
    assert answer.status in (400, 404, 503)
    assert text in answer.body.decode()
    assert server.requests == []


@pytest.mark.parametrize(
    "endpoint",
    [
        {"conditions": {"ready": False}}, {"targetRef": None}, {"addresses": ["10.244.0.9"]},
        {"targetRef": {"kind": "Pod", "name": "web", "namespace": "other"}}, {"targetRef": {"kind": "Node", "name": "web"}},
    ],
)  # fmt: skip
async def test_only_ready_pods_are_reached(
    api: Front, server: PodServer, web: Any, cluster: Cluster, endpoint: dict[str, Any]
) -> None:
    """Not an address that an EndpointSlice claims for a pod that has another one."""
    changed = endpoints(server.port, **endpoint)
    await cluster.change(kinds.ENDPOINT_SLICE, "web-1", lambda item: item.endpoints[0].CopyFrom(changed.endpoints[0]))
    answer = await api.ask("GET", f"{SERVICES}/web:http/proxy/")
    assert (answer.status, server.requests) == (503, [])


async def test_the_proxy_is_discovered(api: Front) -> None:
    """As in Kubernetes."""
    answer = await api.ask("GET", "/api/v1")
    assert '"name":"services/proxy"' in answer.body.decode().replace(" ", "")
    assert "ServiceProxyOptions" in answer.body.decode()
