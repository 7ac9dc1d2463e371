"""Environment variables of Services, as kubelet has them."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods.spec.servicevariables import variables
from pinnace import codec, kinds


def service(name: str, address: str = "10.96.0.9", *, namespace: str = "team", **spec: Any) -> Any:
    ports = spec.pop("ports", [{"port": 80, "protocol": "TCP"}])
    addresses = {"clusterIP": address, "clusterIPs": [address] if address else []}
    value = {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ClusterIP", **addresses, "ports": ports, **spec},
    }
    return codec.decode(kinds.SERVICE.cls, value)


API = service("kubernetes", "10.96.0.1", namespace="default", ports=[{"name": "https", "port": 443, "protocol": "TCP"}])


def test_the_variables_of_a_service() -> None:
    """The first port has variables without its name; those of Docker's links are of all."""
    ports = [{"name": "web", "port": 80, "protocol": "TCP"}, {"name": "dns-u", "port": 53, "protocol": "UDP"}]
    assert variables([service("my-db", ports=ports)], "team", links=True) == {
        "MY_DB_SERVICE_HOST": "10.96.0.9", "MY_DB_SERVICE_PORT": "80", "MY_DB_SERVICE_PORT_WEB": "80",
        "MY_DB_SERVICE_PORT_DNS_U": "53", "MY_DB_PORT": "tcp://10.96.0.9:80", "MY_DB_PORT_80_TCP": "tcp://10.96.0.9:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp", "MY_DB_PORT_80_TCP_PORT": "80", "MY_DB_PORT_80_TCP_ADDR": "10.96.0.9",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.9:53", "MY_DB_PORT_53_UDP_PROTO": "udp", "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.9",
    }  # fmt: skip


def test_an_ipv6_address_is_in_brackets_in_urls() -> None:
    """And bare elsewhere."""
    found = variables([service("db", "fd00::9")], "team", links=True)
    assert (found["DB_SERVICE_HOST"], found["DB_PORT"]) == ("fd00::9", "tcp://[fd00::9]:80")


def test_services_of_the_namespace_with_an_address_have_variables() -> None:
    """Not headless ones, aliases, or those of other namespaces."""
    items = [
        service("own"), service("other", namespace="else"), service("headless", "None"), service("unset", ""),
        service("alias", "", type="ExternalName"),
    ]  # fmt: skip
    assert {name.partition("_")[0] for name in variables(items, "team", links=True)} == {"OWN"}


@pytest.mark.shows("spec.enableServiceLinks")
def test_without_links_only_the_api_has_variables() -> None:
    """Whatever the namespace of the pod."""
    items = [service("own"), API]
    for namespace in ("team", "default"):
        found = variables(items, namespace, links=False)
        assert {name.partition("_")[0] for name in found} == {"KUBERNETES"}
        assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"


def test_a_service_of_the_namespace_hides_the_api() -> None:
    """One with its name, in whatever order they come; without links it does not."""
    own = service("kubernetes", "10.96.0.7")
    for items in ([own, API], [API, own]):
        assert variables(items, "team", links=True)["KUBERNETES_SERVICE_HOST"] == "10.96.0.7"
        assert variables(items, "team", links=False)["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
