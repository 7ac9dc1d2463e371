"""What a pod is called and whom it asks: host name, /etc/hosts, /etc/resolv.conf; and how its program is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def said(lab: LabUnderTest, manifest: dict[str, Any]) -> str:
    """What a pod that runs to its end prints."""
    name = manifest["metadata"]["name"]
    manifest["spec"]["restartPolicy"] = "Never"
    lab.apply(manifest)
    lab.kctl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded")
    return lab.kctl("logs", name)


NAMES = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -v -e localhost -e ip6- -e '^#' /etc/hosts"


@pytest.mark.shows("spec.hostname", "spec.subdomain")
def test_hostname_and_subdomain(lab: LabUnderTest) -> None:
    """The short name inside, the full one beside it in /etc/hosts."""
    manifest = pod("names", "sh", "-c", NAMES, hostname="www", subdomain="site")
    lines = said(lab, manifest).splitlines()
    address = lab.get("pod", "names")["status"]["podIP"]
    assert lines == ["www", "www", "www", f"{address}\twww.site.default.svc.cluster.local\twww"]


@pytest.mark.shows("spec.setHostnameAsFQDN")
def test_the_full_name_as_host_name(lab: LabUnderTest) -> None:
    """Inside it is the whole name; one that no kernel has room for is said in an event."""
    manifest = pod("full", "sh", "-c", NAMES, subdomain="s", setHostnameAsFQDN=True)
    assert said(lab, manifest).splitlines()[:3] == ["full.s.default.svc.cluster.local"] * 3
    lab.apply(pod("x" * 50, subdomain="s", setHostnameAsFQDN=True))
    eventually(lambda: "64 characters is the max" in lab.kctl("describe", "pod", "x" * 50))
    assert "FailedCreatePodSandBox" in lab.kctl("describe", "pod", "x" * 50)


@pytest.mark.shows("spec.hostnameOverride")
def test_an_overriding_host_name(lab: LabUnderTest) -> None:
    """It stands alone, whatever hostname and subdomain say; the pod's name is cut to what a host name may be."""
    override = pod("other", "sh", "-c", NAMES, hostname="www", subdomain="site", hostnameOverride="db.example.com")
    lines = said(lab, override).splitlines()
    assert lines[:3] == ["db.example.com"] * 3
    assert lines[3].endswith("\tdb.example.com")
    assert said(lab, pod("y" * 70, "hostname")) == "y" * 63 + "\n"


@pytest.mark.shows("spec.hostAliases[].{ip,hostnames}")
def test_host_aliases_resolve(lab: LabUnderTest) -> None:
    """As lines of /etc/hosts under kubelet's heading, also on the node's network."""
    aliases = [{"ip": "192.0.2.7", "hostnames": ["db", "db.example.com"]}]
    script = "tail -n 2 /etc/hosts; head -n 1 /etc/hosts"
    expected = ["# Entries added by HostAliases.", "192.0.2.7\tdb\tdb.example.com", "# Kubernetes-managed hosts file."]
    assert said(lab, pod("alias", "sh", "-c", script, hostAliases=aliases)).splitlines() == expected
    lines = said(lab, pod("node-alias", "sh", "-c", script, hostAliases=aliases, hostNetwork=True)).splitlines()
    assert lines == [*expected[:2], "# Kubernetes-managed hosts file (host network)."]


CLUSTER = "search default.svc.cluster.local svc.cluster.local cluster.local"


@pytest.mark.shows("spec.dnsPolicy", "spec.dnsConfig.{nameservers,searches}", "spec.dnsConfig.options[].{name,value}")
def test_dns_settings(lab: LabUnderTest) -> None:
    """None takes only the pod's own; otherwise they come after the cluster's or the node's, and what does not fit is said."""
    config = {
        "nameservers": ["192.0.2.53"], "searches": ["own.example", "other.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }  # fmt: skip
    text = said(lab, pod("dns", "cat", "/etc/resolv.conf", dnsPolicy="None", dnsConfig=config))
    assert text == "search own.example other.example\nnameserver 192.0.2.53\noptions ndots:2 edns0\n"
    node = said(lab, pod("node-dns", "cat", "/etc/resolv.conf", dnsPolicy="Default"))
    assert said(lab, pod("host-dns", "cat", "/etc/resolv.conf", hostNetwork=True)) == node
    cluster = said(lab, pod("cluster-dns", "cat", "/etc/resolv.conf"))
    assert cluster.startswith(CLUSTER)
    assert cluster.endswith("\nnameserver 10.96.0.10\noptions ndots:5\n")
    own = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    assert said(lab, pod("host-cluster-dns", "cat", "/etc/resolv.conf", **own)) == cluster
    both = said(lab, pod("both-dns", "cat", "/etc/resolv.conf", dnsConfig=config))
    assert " own.example other.example\nnameserver 10.96.0.10\nnameserver 192.0.2.53\noptions ndots:2 edns0\n" in both
    many = {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "searches": [f"{n}.example" for n in range(32)]}
    merged = said(lab, pod("many-dns", "cat", "/etc/resolv.conf", dnsPolicy="Default", dnsConfig=many))
    assert merged.count("nameserver ") <= 3
    if node.count("nameserver "):
        eventually(lambda: "Nameserver limits were exceeded" in lab.kctl("describe", "pod", "many-dns"))


@pytest.mark.shows("spec.containers[].{args,workingDir}")
def test_arguments_and_working_directory(lab: LabUnderTest) -> None:
    """$(NAME) is the manifest's variable, never the image's; args follow command; the folder is made when missing."""
    own = {
        "command": ["sh", "-c", 'echo "$0 $1 $2"; pwd'], "args": ["$(A)", "$(PATH)", "$$(A)"], "workingDir": "/some/where",
        "env": [{"name": "A", "value": "one"}],
    }  # fmt: skip
    assert said(lab, pod("args", container=own)) == "one $(PATH) $(A)\n/some/where\n"


@pytest.mark.shows("spec.containers[].{terminationMessagePath,terminationMessagePolicy}")
def test_last_words(lab: LabUnderTest) -> None:
    """From the file that the manifest names, or from the end of the log after a failure."""
    lab.apply(
        pod("words", "sh", "-c", "echo bye > /tmp/last; exit 3", restartPolicy="Never", container={"terminationMessagePath": "/tmp/last"}),
        pod(
            "log", "sh", "-c", "echo first; echo last; exit 3", restartPolicy="Never",
            container={"terminationMessagePolicy": "FallbackToLogsOnError"},
        ),
    )  # fmt: skip

    def message(name: str) -> str:
        return str(
            json.loads(lab.kctl("get", "pod", name, "-o", "json"))["status"]["containerStatuses"][0]["state"]["terminated"][
                "message"
            ]
        )

    eventually(lambda: message("words") == "bye\n")
    eventually(lambda: message("log").splitlines() == ["first", "last"])
