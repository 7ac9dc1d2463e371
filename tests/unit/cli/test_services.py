"""`kctl create service`, `expose`, `describe` and `set selector`, on a server in memory: kubectl's objects, lines and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli import main
from cli.commands import describe
from pinnace import codec, kinds
from tests.support.kctlserver import Server, made

PORTS = [
    {"containerPort": 8080, "name": "http", "protocol": "TCP"},
    {"containerPort": 53, "protocol": "UDP"},
    {"containerPort": 53, "protocol": "TCP"},
]
LABELS = {"app": "web"}


def deployment(*ports: Any, **selector: Any) -> Any:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i", "ports": list(ports)}]}}
    spec = {"selector": selector or {"matchLabels": LABELS}, "template": template}
    return made(kinds.DEPLOYMENT, "web", metadata={"labels": {"team": "a"}}, spec=spec)


def service(name: str = "web", **spec: Any) -> Any:
    return made(kinds.SERVICE, name, spec={"selector": LABELS, "ports": [{"port": 80, "protocol": "TCP"}], **spec})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(deployment(*PORTS))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main._exit_code([*words]) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def manifest(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, *words, "--dry-run=client", "-o", "json"))
    assert (found.pop("apiVersion"), found.pop("kind")) == ("v1", "Service")
    return found


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("clusterip web --tcp=80:8080,443 --tcp=90:http", {
            "type": "ClusterIP",
            "ports": [
                {"name": "80-8080", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                {"name": "443", "port": 443, "targetPort": 443, "protocol": "TCP"},
                {"name": "90-http", "port": 90, "targetPort": "http", "protocol": "TCP"},
            ],
        }),
        ("clusterip web --clusterip=None", {"type": "ClusterIP", "clusterIP": "None"}),
        ("nodeport web --tcp=80 --node-port=30080", {
            "type": "NodePort", "ports": [{"name": "80", "port": 80, "targetPort": 80, "protocol": "TCP", "nodePort": 30080}],
        }),
        ("loadbalancer web --tcp=80", {"type": "LoadBalancer", "ports": [{"name": "80", "port": 80, "targetPort": 80, "protocol": "TCP"}]}),
        ("externalname web --external-name db.example", {"type": "ExternalName", "externalName": "db.example"}),
    ],
)  # fmt: skip
def test_a_service_of_each_type(capsys: pytest.CaptureFixture[str], words: str, spec: dict[str, Any]) -> None:
    """With the label and the selector app=NAME."""
    assert manifest(capsys, "create", "service", *words.split()) == {
        "metadata": {"name": "web", "labels": LABELS}, "spec": {"selector": LABELS, **spec},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "service web --tcp=80",
            "must specify the type of service: create service clusterip|nodeport|loadbalancer|externalname",
        ),
        ("service clusterip web", "at least one tcp port specifier must be provided"),
        ("service nodeport web", "at least one tcp port specifier must be provided"),
        ("service clusterip web --tcp=a", '"a" is not a port number'),
        ("service clusterip web --tcp=80:99999", "must be between 1 and 65535, inclusive"),
        ("service clusterip web --tcp=80:a_b", "must contain only alpha-numeric characters"),
        ("svc externalname web --external-name=a_b", "invalid service external name a_b"),
    ],
)
def test_refusals_of_create(server: Server, capsys: pytest.CaptureFixture[str], words: str, error: str) -> None:
    """Without the server."""
    assert error in said(capsys, "create", *words.split(), code=1)
    assert not server.sent


def test_expose_takes_ports_selector_and_labels_of_the_object(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A port with two protocols is two; flags come before."""
    assert manifest(capsys, "expose", "deployment", "web") == {
        "metadata": {"name": "web", "labels": {"team": "a"}},
        "spec": {"selector": LABELS, "ports": [
            {"name": "port-1", "port": 8080, "protocol": "TCP", "targetPort": 8080},
            {"name": "port-2-udp", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "port-2-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        ]},
    }  # fmt: skip
    words = (
        "expose deploy/web --port=80 --target-port=http --name=front --type=LoadBalancer --load-balancer-ip=192.0.2.9 "
        "--external-ip=192.0.2.8 --session-affinity=ClientIP -l a=b --selector=c=d --cluster-ip=10.96.0.9"
    )
    assert manifest(capsys, *words.split()) == {
        "metadata": {"name": "front", "labels": {"a": "b"}},
        "spec": {
            "selector": {"c": "d"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}], "type": "LoadBalancer",
            "externalIPs": ["192.0.2.8"], "loadBalancerIP": "192.0.2.9", "clusterIP": "10.96.0.9", "sessionAffinity": "ClientIP",
        },
    }  # fmt: skip


def test_expose_is_sent_as_one_object(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a Service under another name, with a patch of it."""
    server.put(service())
    overrides = '{"spec":{"publishNotReadyAddresses":true}}'
    assert said(capsys, "expose", "service/web", "--name=copy", "--overrides", overrides) == "service/copy exposed\n"
    [(method, request)] = server.sent
    value = json.loads(request.object.json)
    assert (method, request.fieldManager, value["metadata"]["name"]) == ("Create", "kctl-expose", "copy")
    assert (value["spec"]["publishNotReadyAddresses"], value["spec"]["selector"]) == (True, LABELS)


def test_expose_of_files(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The object need not exist."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(pod))
    found = manifest(capsys, "expose", "-f", str(path), "--port=80")
    assert (found["metadata"]["name"], found["spec"]["selector"]) == ("p", {"a": "b"})


@pytest.mark.parametrize(
    ("item", "words", "error"),
    [
        (made(kinds.CONFIG_MAP, "web"), "cm/web --port=80", "cannot expose a ConfigMap"),
        (deployment(), "deploy/web", "couldn't find port via --port flag or introspection"),
        (deployment(matchExpressions=[{"key": "a", "operator": "Exists"}]), "deploy/web --port=80", "couldn't convert expressions"),
        (made(kinds.POD, "web", spec={}), "pod/web --port=80", "the pod has no labels and cannot be exposed"),
        (made(kinds.SERVICE, "web", spec={"ports": [{"port": 1}]}), "svc/web", "the service has no pod selector set"),
        (deployment(), "deploy/web --port=80 --session-affinity=Cookie", "unknown session affinity: Cookie"),
        (deployment(), "deploy/web --port=80 --selector=a", "unexpected label spec: a"),
        (deployment(), "deploy/web --port=http", '"http" is not a port number'),
        (deployment(), "deploy/none --port=80", 'deployments.apps "none" not found'),
    ],
)  # fmt: skip
def test_refusals_of_expose(server: Server, capsys: pytest.CaptureFixture[str], item: Any, words: str, error: str) -> None:
    """Before anything is sent."""
    server.put(item)
    assert error in said(capsys, "expose", *words.split(), code=1)
    assert not server.sent


def test_a_selector_is_replaced_as_a_whole(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Of Services alone; without a change nothing is sent."""
    server.put(service())
    assert said(capsys, "set", "selector", "service", "web", "a=b,c=d") == "service/web selector updated\n"
    assert dict(server.get(kinds.SERVICE, "default", "web").spec.selector) == {"a": "b", "c": "d"}
    assert json.loads(server.sent[-1][1].patch) == {"spec": {"selector": {"app": None, "a": "b", "c": "d"}}}
    assert said(capsys, "set", "selector", "svc/web", "c=d,a=b") == ""
    assert len(server.sent) == 1
    assert "has been modified" in said(capsys, "set", "selector", "svc/web", "x=y", "--resource-version=7", code=1)
    assert json.loads(server.sent[-1][1].patch)["metadata"] == {"resourceVersion": "7"}
    wrong = "setting a selector is only supported for Services"
    assert wrong in said(capsys, "set", "selector", "deploy/web", "a=b", code=1)
    assert "not supported on this object" in said(capsys, "set", "selector", "svc/web", "a in (b,c)", code=1)
    assert "one selector is required" in said(capsys, "set", "selector", code=1)


def lines(item: Any, *others: Any) -> list[str]:
    kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
    return [line.rstrip() for line in describe.describe(Server(item, *others), kind, item).splitlines()]


def endpoint_slice(name: str, *endpoints: dict[str, Any], port: str = "http") -> Any:
    return made(
        kinds.ENDPOINT_SLICE, name, metadata={"labels": {"kubernetes.io/service-name": "web"}}, addressType="IPv4",
        ports=[{"name": port, "port": 8080, "protocol": "TCP"}], endpoints=list(endpoints),
    )  # fmt: skip


def test_a_service_is_described_with_its_endpoints() -> None:
    """Those that are ready, three of them."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web", "nodePort": 30080, "appProtocol": "http"},
             {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}]  # fmt: skip
    item = service(
        type="LoadBalancer", clusterIP="10.96.0.9", clusterIPs=["10.96.0.9"], ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack",
        ports=ports, sessionAffinity="None", externalTrafficPolicy="Local", internalTrafficPolicy="Cluster",
        healthCheckNodePort=30081, trafficDistribution="PreferClose", loadBalancerSourceRanges=["10.0.0.0/8"],
    )  # fmt: skip
    item.status.loadBalancer.ingress.add(ip="192.0.2.9", ipMode="VIP")
    ready = [{"addresses": [f"10.244.0.{number}"]} for number in range(1, 5)]
    slices = endpoint_slice("web-1", *ready, {"addresses": ["10.244.0.9"], "conditions": {"ready": False}})
    assert lines(item, slices) == [
        "Name:                        web",
        "Namespace:                   default",
        "Labels:                      <none>",
        "Annotations:                 <none>",
        "Selector:                    app=web",
        "Type:                        LoadBalancer",
        "IP Family Policy:            SingleStack",
        "IP Families:                 IPv4",
        "IP:                          10.96.0.9",
        "IPs:                         10.96.0.9",
        "LoadBalancer Ingress:        192.0.2.9 (VIP)",
        "Port:                        http  80/TCP",
        "TargetPort:                  web/TCP",
        "AppProtocol:                 http",
        "NodePort:                    http  30080/TCP",
        "Endpoints:                   10.244.0.1:8080,10.244.0.2:8080,10.244.0.3:8080 + 1 more...",
        "Port:                        dns  53/UDP",
        "TargetPort:                  5353/UDP",
        "Endpoints:",
        "Session Affinity:            None",
        "External Traffic Policy:     Local",
        "Internal Traffic Policy:     Cluster",
        "HealthCheck NodePort:        30081",
        "LoadBalancer Source Ranges:  10.0.0.0/8",
        "Traffic Distribution:        PreferClose",
        "Events:                      <none>",
    ]
    assert "Endpoints:         <none>" in lines(service())


def test_an_unready_endpoint_behind_three_is_counted_as_by_kubectl() -> None:
    """kubectl notes that the line is full before it looks whether the next endpoint is ready."""
    ready = [{"addresses": [f"10.244.0.{number}"]} for number in range(1, 4)]
    slices = endpoint_slice("web-1", *ready, {"addresses": ["10.244.0.9"], "conditions": {"ready": False}})
    item = service(ports=[{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}])
    assert "Endpoints:         10.244.0.1:8080,10.244.0.2:8080,10.244.0.3:8080 + 0 more..." in lines(item, slices)


def test_endpoints_and_slices_are_described() -> None:
    """Each address with what is known of it."""
    subset = {
        "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.3"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }  # fmt: skip
    assert lines(made(kinds.ENDPOINTS, "web", subsets=[subset]))[4:] == [
        "Subsets:",
        "  Addresses:          10.0.0.1,10.0.0.2",
        "  NotReadyAddresses:  10.0.0.3",
        "  Ports:",
        "    Name  Port  Protocol",
        "    ----  ----  --------",
        "    http  80    TCP",
        "",
        "Events:  <none>",
    ]
    endpoint = {
        "addresses": ["10.0.0.1"],
        "conditions": {"ready": True},
        "nodeName": "n1",
        "targetRef": {"kind": "Pod", "name": "p"},
    }
    found = lines(endpoint_slice("web-1", endpoint, port=""))
    assert found[4:] == [
        "AddressType:  IPv4",
        "Ports:",
        "  Name     Port  Protocol",
        "  ----     ----  --------",
        "  <unset>  8080  TCP",
        "Endpoints:",
        "  - Addresses:  10.0.0.1",
        "    Conditions:",
        "      Ready:    true",
        "    Hostname:   <unset>",
        "    TargetRef:  Pod/p",
        "    NodeName:   n1",
        "    Zone:       <unset>",
        "Events:         <none>",
    ]
    bare = lines(
        codec.decode(kinds.ENDPOINT_SLICE.cls, {"metadata": {"name": "a", "namespace": "default"}, "addressType": "IPv4"})
    )
    assert bare[-3:] == ["Ports: <unset>", "Endpoints: <none>", "Events:  <none>"]
