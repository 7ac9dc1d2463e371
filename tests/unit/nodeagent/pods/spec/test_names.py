"""What a pod is called, its /etc/hosts and its /etc/resolv.conf."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods.spec import etcfiles, hostnames, resolver
from nodeagent.pods.spec.hostnames import HostnameError, Names
from nodeagent.pods.spec.resolver import ClusterDns, Resolver
from tests.support.objects import pod

NODE = "search corp.example. lan\nnameserver 192.0.2.53\noptions timeout:3 rotate\n"
CLUSTER = ClusterDns(servers=("10.96.0.10",))


def named(subject: Any) -> Names:
    return hostnames.names_of(subject, node="node-1", cluster_domain="cluster.local")


@pytest.mark.parametrize(
    ("subject", "hostname", "domain"),
    [
        (pod("web"), "web", ""),
        (pod("web", hostname="www"), "www", ""),
        (pod("web", subdomain="site"), "web", "site.default.svc.cluster.local"),
        (pod("a.b.c"), "a.b.c", ""),
        (pod("x" * 62 + "-" + "y" * 9), "x" * 62, ""),
        (pod("web", hostname="www", hostnameOverride="full.example.com", subdomain="site"), "full.example.com", ""),
        (pod("web", hostname="www", hostNetwork=True), "node-1", ""),
    ],
)
def test_a_pod_is_called_by_its_rules(subject: Any, hostname: str, domain: str) -> None:
    """Name, hostname, subdomain, hostnameOverride, the node's; 63 characters at most, none of them a dash at the end."""
    assert named(subject) == Names(hostname, domain)


def test_the_kernel_is_told_the_full_name_when_asked() -> None:
    """Only with a subdomain is there more than the host name."""
    subject = pod("web", subdomain="site", setHostnameAsFQDN=True)
    assert hostnames.nodename(subject, named(subject)) == "web.site.default.svc.cluster.local"
    assert hostnames.nodename(pod("web"), Names("web", "site.x")) == "web"
    plain = pod("web", setHostnameAsFQDN=True)
    assert hostnames.nodename(plain, named(plain)) == "web"


def test_a_full_name_that_does_not_fit_is_refused() -> None:
    """Kubelet's words."""
    subject = pod("w" * 31, subdomain="s", setHostnameAsFQDN=True)
    long = "w" * 31 + ".s.default.svc.cluster.local"
    assert len(long) == 59
    assert hostnames.nodename(subject, named(subject)) == long
    subject.metadata.name = "w" * 37
    with pytest.raises(HostnameError, match=r"is too long \(64 characters is the max, 65 characters requested\)"):
        hostnames.nodename(subject, named(subject))


def test_hosts_have_the_pod_and_its_aliases() -> None:
    """As kubelet writes them, tabs and all."""
    aliases = [{"ip": "192.0.2.7", "hostnames": ["db", "db.example.com"]}, {"ip": "192.0.2.8", "hostnames": ["x"]}]
    subject = pod("web", subdomain="site", hostAliases=aliases)
    lines = etcfiles.hosts(subject, named(subject), ["10.244.1.2"], "").splitlines()
    assert lines[0] == "# Kubernetes-managed hosts file."
    assert "127.0.0.1\tlocalhost" in lines
    assert lines[-5:] == [
        "10.244.1.2\tweb.site.default.svc.cluster.local\tweb",
        "",
        "# Entries added by HostAliases.",
        "192.0.2.7\tdb\tdb.example.com",
        "192.0.2.8\tx",
    ]
    assert "10.244.1.2\tweb" in etcfiles.hosts(pod("web"), Names("web"), ["10.244.1.2"], "").splitlines()


def test_pods_on_the_nodes_network_have_its_hosts() -> None:
    """And their aliases after them."""
    subject = pod("web", hostNetwork=True, hostAliases=[{"ip": "192.0.2.7", "hostnames": ["db"]}])
    text = etcfiles.hosts(subject, Names("node-1"), ["192.0.2.1"], "127.0.0.1 localhost\n192.0.2.1 node-1\n")
    assert text.startswith("# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n192.0.2.1 node-1\n\n")
    assert text.endswith("192.0.2.7\tdb\n")


def resolved(dns: ClusterDns = CLUSTER, **spec: Any) -> Resolver:
    return resolver.resolver_of(pod("web", **spec), dns, NODE)


HOST = Resolver(("192.0.2.53",), ("corp.example", "lan"), ("timeout:3", "rotate"))
FIRST = Resolver(
    ("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example", "lan"), ("ndots:5",)
)


@pytest.mark.parametrize(
    ("spec", "dns", "expected"),
    [
        ({}, CLUSTER, FIRST),
        ({}, ClusterDns(), HOST),
        ({"hostNetwork": True}, CLUSTER, HOST),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER, FIRST),
        ({"dnsPolicy": "ClusterFirstWithHostNet"}, ClusterDns(), HOST),
        ({"dnsPolicy": "Default"}, CLUSTER, HOST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"]}}, CLUSTER, Resolver(("192.0.2.9",))),
        ({}, ClusterDns(("10.96.0.10",), ""), Resolver(("10.96.0.10",), ("corp.example", "lan"), ("ndots:5",))),
    ],
)
def test_the_policy_chooses_whom_to_ask(spec: dict[str, Any], dns: ClusterDns, expected: Resolver) -> None:
    """The cluster's DNS, the node's, or only the pod's own; without cluster DNS, ClusterFirst is Default."""
    assert resolved(dns, **spec) == expected


def test_own_settings_are_merged() -> None:
    """Servers and searches after those of the policy and once each; options win by name."""
    config = {
        "nameservers": ["192.0.2.9", "10.96.0.10"], "searches": ["lan", "own.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }  # fmt: skip
    found = resolved(dnsConfig=config)
    assert found.servers == ("10.96.0.10", "192.0.2.9")
    assert found.searches == (*FIRST.searches, "own.example")
    assert found.options == ("ndots:2", "edns0")
    assert found.text().splitlines()[-3:] == ["nameserver 10.96.0.10", "nameserver 192.0.2.9", "options ndots:2 edns0"]


def test_what_does_not_fit_is_left_out_and_said() -> None:
    """Three name servers, 32 searches, 2048 characters; kubelet's words."""
    many = {"nameservers": [f"192.0.2.{n}" for n in range(3)], "searches": [f"{n}.example" for n in range(32)]}
    found = resolved(dnsConfig=many)
    assert found.servers == ("10.96.0.10", "192.0.2.0", "192.0.2.1")
    assert len(found.searches) == 32
    assert [text.split(",")[0] for text in found.warnings] == [
        "Nameserver limits were exceeded",
        "Search Line limits were exceeded",
    ]
    wide = [f"{'x' * 60}.{n:02}.example" for n in range(32)]
    found = resolved(
        dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"], "searches": [*wide[:20], "x." * 130, *wide[20:31]]}
    )
    assert found.searches == tuple(wide[:28])
    assert len(found.warnings) == 1


def test_a_nodes_file_is_read_as_resolvers_do() -> None:
    """Comments and unknown words are passed over; the last search and options lines count."""
    text = "# nameserver 1.1.1.1\n; x\ndomain old\nsearch a\nsearch b. .\nnameserver 192.0.2.1 # x\nnameserver\noptions a\noptions b:1\n"
    assert resolver.parse(text) == Resolver(("192.0.2.1",), ("b", "."), ("b:1",))
