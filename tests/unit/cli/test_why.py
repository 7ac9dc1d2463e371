"""`kctl why` of a Service: the pods that its selector matches, and why some are no endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from cli import flags
from cli.commands import why
from cli.serviceendpoints import MOST_PODS, explain
from pinnace import kinds
from pinnace.errors import BadRequest
from tests.support.kctlserver import Server, made
from tests.support.objects import container, make, pod

PORT = {"name": "http", "containerPort": 8080}
BOUND: dict[str, Any] = {"nodeName": "n1"}


def service(**spec: Any) -> Any:
    ports = [{"port": 80, "targetPort": "http", "protocol": "TCP"}]
    return make(kinds.SERVICE, "web", spec={"selector": {"app": "web"}, "ports": ports, **spec})


def slice_of(*addresses: str, ready: bool = True, ports: bool = True) -> Any:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    meta = {"labels": {"kubernetes.io/service-name": "web"}}
    found = [{"name": "", "port": 8080}] if ports else []
    return make(kinds.ENDPOINT_SLICE, f"web-{ready}-{ports}", meta=meta, addressType="IPv4", endpoints=endpoints, ports=found)


def web(name: str, ip: str = "", *, ready: bool | None = None, phase: str = "Running", reason: str = "", **rest: Any) -> Any:
    spec = {**BOUND, **rest.pop("spec", {})}
    made_ = pod(name, container(ports=[rest.pop("port", PORT)]), meta={"labels": {"app": "web"}, **rest}, **spec)
    made_.status.phase = phase
    if ip:
        made_.status.podIP = ip
        made_.status.podIPs.add(ip=ip)
    if ready is not None:
        made_.status.conditions.add(type="Ready", status=str(ready), message=reason)
    return made_


def test_a_selector_that_matches_no_pod() -> None:
    """One line, with the selector."""
    expected = ["service/web has no ready endpoints: no pod of namespace default matches its selector (app=web)"]
    assert explain(service(), [], []) == expected


def test_each_pod_that_is_no_endpoint_has_its_reason() -> None:
    """In the order of their names; one that is an endpoint is counted and not listed."""
    pods = [
        web("unready", "10.244.0.3", ready=False, reason="containers with unready status: [main]"), web("good", "10.244.0.2", ready=True),
        web("pending", spec={"nodeName": ""}, phase="Pending"), web("starting", phase="Pending"), web("done", phase="Succeeded"),
        web("ending", "10.244.0.4", ready=True, deletionTimestamp="2026-01-01T00:00:00Z"),
        web("other", "10.244.0.5", ready=True, port={"name": "metrics", "containerPort": 9}),
        web("soon", "10.244.0.6", ready=True),
    ]  # fmt: skip
    slices = [slice_of("10.244.0.2"), slice_of("10.244.0.3", ready=False), slice_of("10.244.0.5", ports=False)]
    assert explain(service(), slices, pods) == [
        "service/web has 1 ready endpoint: 8 pods match its selector (app=web)",
        "  pod/done has ended (Succeeded)",
        "  pod/ending is terminating",
        '  pod/other has no container with a port named "http" (TCP)',
        "  pod/pending is not scheduled (kctl why pod/pending)",
        "  pod/soon is ready, and its endpoint is not yet",
        "  pod/starting has no address yet (Pending)",
        "  pod/unready is not ready (containers with unready status: [main])",
    ]


def test_services_without_pods_of_their_own() -> None:
    """An alias, and endpoints that others write; a headless Service without ports has endpoints without ports."""
    alias = service(type="ExternalName", externalName="example.com")
    assert explain(alias, [], []) == ["service/web has no endpoints: it is an alias of example.com (ExternalName)"]
    custom = service(selector={})
    [line] = explain(custom, [slice_of("192.0.2.1", "192.0.2.2")], [])
    assert line == "service/web has 2 ready endpoints: it has no selector, and its EndpointSlices are not made from pods"
    headless = service(ports=[], clusterIP="None")
    [line] = explain(headless, [slice_of("10.244.0.2", ports=False)], [web("good", "10.244.0.2", ready=True)])
    assert line == "service/web has 1 ready endpoint: 1 pod matches its selector (app=web)"


def test_the_pods_of_a_large_service_are_bounded() -> None:
    """The rest is counted."""
    lines = explain(service(), [], [web(f"p{number:03}", phase="Pending") for number in range(MOST_PODS + 5)])
    assert (len(lines), lines[-1]) == (MOST_PODS + 2, "  and 5 more")


@pytest.mark.parametrize("word", ["svc/web", "service/web", "services/web"])
def test_the_command_reads_what_the_selector_matches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    """Pods of other labels are not its."""
    other = made(kinds.POD, "db", metadata={"labels": {"app": "db"}})
    server = Server(service(), slice_of("10.244.0.2"), web("good", "10.244.0.2", ready=True), other)
    monkeypatch.setattr(flags, "client", lambda _: server)
    assert why.run([word]) == 0
    assert capsys.readouterr().out == "service/web has 1 ready endpoint: 1 pod matches its selector (app=web)\n"


@pytest.mark.parametrize("word", ["node/n1", "deploy/web", "svc/", "pod/"])
def test_other_kinds_are_rejected_with_those_that_it_explains(word: str) -> None:
    """Before anything is asked."""
    with pytest.raises(BadRequest, match=rf"^{word}: kctl why explains pods \(pod/NAME\) and Services \(service/NAME\)$"):
        why.run([word])
