"""Which lab a command without --name means, what is in a record, and whose proxies a lab uses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from cli import contexts
from cli.lab import layout, naming, proxies
from cli.lab.layout import Lab
from pinnace.errors import BadRequest


@pytest.fixture(autouse=True)
def _labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "STATE", tmp_path / "state")
    monkeypatch.setattr(layout, "RUN", tmp_path / "run")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


def arguments(config: Path, name: str = "", context: str = "") -> argparse.Namespace:
    return argparse.Namespace(name=name, context=context, config=str(config))


def use(config: Path, context: str, server: str) -> None:
    """Make a context current."""
    loaded = contexts.load(config)
    contexts.put(loaded, "clusters", context, "cluster", {"server": server})
    contexts.put(loaded, "contexts", context, "context", {"cluster": context, "user": context})
    loaded["current-context"] = context
    contexts.save(config, loaded)


def test_the_only_lab_is_meant(config: Path) -> None:
    """Whatever it is called; without any, what makes one is said."""
    with pytest.raises(BadRequest, match="there is no lab on this machine: `kctl lab up`"):
        naming.chosen(arguments(config))
    Lab("solo").save()
    assert naming.chosen(arguments(config)) == "solo"
    assert naming.chosen(arguments(config, name="other")) == "other"


def test_the_current_context_s_lab_is_meant(config: Path) -> None:
    """By what the context dials, for contexts can be renamed; --context counts more, --name most."""
    for name in ("one", "two"):
        Lab(name).save()
    use(config, "renamed", f"unix://{Lab('one').socket}")
    assert naming.chosen(arguments(config)) == "one"
    use(config, "lab-two", f"unix://{Lab('two').socket}")
    assert naming.chosen(arguments(config)) == "two"
    assert naming.chosen(arguments(config, context="renamed")) == "one"
    assert naming.chosen(arguments(config, name="one")) == "one"


def test_what_is_ambiguous_is_refused_with_the_names(config: Path) -> None:
    """A context of another cluster, a context that does not exist, and none."""
    for name in ("one", "two"):
        Lab(name).save()
    with pytest.raises(BadRequest, match=r"add --name NAME \(one, two\)"):
        naming.chosen(arguments(config))
    use(config, "prod", "prod.example:6443")
    with pytest.raises(BadRequest, match=r"add --name NAME \(one, two\)"):
        naming.chosen(arguments(config))
    with pytest.raises(BadRequest, match='"prod" is not of a lab'):
        naming.chosen(arguments(config, context="prod"))
    with pytest.raises(BadRequest, match='"gone" does not exist'):
        naming.chosen(arguments(config, context="gone"))


def test_hints_name_the_lab_when_there_are_others() -> None:
    """And are short when there is but one."""
    Lab("one").save()
    assert naming.command("down", "one") == "kctl lab down"
    Lab("two").save()
    assert naming.command("down", "one") == "kctl lab down --name one"


def test_a_record_of_an_earlier_version_is_read() -> None:
    """What it does not say is as it was then: isolated. What it says of a later version is passed over."""
    old = {"name": "old", "nodes": {"node-1": 1}, "processes": {"control": {"pid": 1, "start": 2}}, "control_args": []}
    path = layout.STATE / "old/lab.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(old))
    found = layout.load("old")
    assert (found.uplink, found.created, found.processes["control"].start) == (False, 0.0, 2)
    path.write_text(json.dumps(old | {"later": 1}))
    assert layout.load("old").nodes == {"node-1": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 1}', '{"name": "x", "processes": [1]}'])
def test_a_record_that_is_torn_is_said_to_be(text: str) -> None:
    """With what to do."""
    path = layout.STATE / "torn/lab.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(BadRequest, match="remove the lab with `kctl lab down --name torn`"):
        layout.load("torn")


def test_a_lab_uses_proxies_only_with_an_uplink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own addresses are never proxied, and an isolated lab has no proxy variable at all."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".example")
    given = proxies.given({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1", "no_proxy": "x"})
    assert given == {"HTTPS_PROXY": "http://b:1", "NO_PROXY": "x"}
    lab = Lab("one", uplink=True, proxies={"HTTPS_PROXY": "http://b:1", "NO_PROXY": ".example"})
    found = proxies.environment(lab)
    assert found["HTTPS_PROXY"] == "http://b:1"
    assert found["NO_PROXY"] == ".example,198.51.100.0/24,10.244.0.0/16"
    assert "https_proxy" not in found
    isolated = proxies.environment(Lab("two"))
    assert not any("proxy" in name.lower() for name in isolated)


def test_a_proxy_on_the_machine_s_loopback_is_warned_of_without_its_password() -> None:
    """Nodes have a loopback of their own."""
    lab = Lab("one", proxies={"HTTPS_PROXY": "http://me:secret@127.0.0.1:3128", "HTTP_PROXY": "proxy.example:1"})
    (warning,) = proxies.warnings(lab)
    assert warning.startswith("HTTPS_PROXY names this machine's loopback")
    assert "secret" not in warning


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "10.244.0.0/16"),
        (["--cluster-cidr=10.9.0.0/16"], "10.9.0.0/16"),
        (["--cluster-cidr", "10.8.0.0/16", "--node-bits=24"], "10.8.0.0/16"),
    ],
)
def test_the_pod_range_is_what_the_control_plane_was_told(arguments: list[str], expected: str) -> None:
    """In either form of the flag."""
    assert Lab("one", control_args=arguments).cluster_cidr == expected


@pytest.mark.parametrize(
    ("family", "addresses", "ipv4_pods"),
    [
        ("ipv4", ["198.51.100.11"], "10.244.0.0/16"),
        ("ipv6", ["2001:db8:c633:64::b"], ""),
        ("dual", ["198.51.100.11", "2001:db8:c633:64::b"], "10.244.0.0/16"),
    ],
)
def test_a_node_has_an_address_of_each_ip_family(family: str, addresses: list[str], ipv4_pods: str) -> None:
    """That of the underlay first, which is the primary one; `kctl` takes a record without a family for IPv4."""
    lab = Lab("one", {"node-1": 1}, ip_family=family)
    assert (lab.addresses("node-1"), lab.address("node-1"), lab.cluster_cidr) == (addresses, addresses[0], ipv4_pods)
    assert Lab("one", {"node-1": 1}).addresses("node-1") == ["198.51.100.11"]
