"""The agent's flags."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nodeagent.node import flags
from nodeagent.pods.spec.resolver import ClusterDns, DnsFlags
from nodeagent.shutdown.order import Period


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    return parser.parse_args(words)


def test_dns_flags_are_kubelets() -> None:
    """Several servers with commas; none by default."""
    words = ("--cluster-dns", "10.96.0.10, fd00::a", "--cluster-domain", "lab.example.", "--resolv-conf", "/run/resolv.conf")
    stubs = ("--dns-stub-domain", "Corp.example.=192.0.2.1,192.0.2.2", "--dns-stub-domain", "10.in-addr.arpa=fd00::1")
    found = flags.dns(parse(*words, *stubs))
    assert (found.servers, found.domain, found.resolv_conf) == (
        ("10.96.0.10", "fd00::a"),
        "lab.example",
        Path("/run/resolv.conf"),
    )
    assert found.stubs == {"corp.example": ("192.0.2.1", "192.0.2.2"), "10.in-addr.arpa": ("fd00::1",)}
    assert found.with_cluster(("10.7.0.10",), "other").servers == found.servers
    assert flags.dns(parse()) == DnsFlags()


def test_without_dns_flags_the_control_plane_s_settings_count() -> None:
    """And without those there is no cluster DNS."""
    assert DnsFlags().with_cluster(("10.7.0.10",), "lab.test") == ClusterDns(("10.7.0.10",), "lab.test")
    assert DnsFlags().with_cluster((), "") == ClusterDns((), "cluster.local")
    assert DnsFlags(domain="").with_cluster(("10.7.0.10",), "lab.test") == ClusterDns(("10.7.0.10",), "")


@pytest.mark.parametrize("text", ["corp.example", "=192.0.2.1", "corp.example=", "corp..example=192.0.2.1", "a b=192.0.2.1"])
def test_a_stub_domain_has_a_name_and_servers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One clear error that names the flag."""
    with pytest.raises(SystemExit):
        parse("--dns-stub-domain", text)
    assert f'--dns-stub-domain: "{text}" is not DOMAIN=IP,...' in capsys.readouterr().err


def test_a_name_server_must_be_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    """One clear error that names the flag."""
    with pytest.raises(SystemExit):
        parse("--cluster-dns", "dns.example")
    assert "--cluster-dns: 'dns.example' does not appear to be an IPv4 or IPv6 address" in capsys.readouterr().err


def test_shutdown_periods_by_priority(capsys: pytest.CaptureFixture[str]) -> None:
    """The lowest priority first; not together with the other flags; each error names the flag."""
    flag = "--shutdown-grace-period-by-pod-priority"
    periods = (Period(-5, 1.5), Period(0, 60.0), Period(1000, 120.0))
    assert flags.shutdown(parse(f"{flag}=1000=2m,0=60,-5=1500ms")) == periods
    assert flags.shutdown(parse(f"{flag}=")) == flags.shutdown(parse(f"{flag}=0=0s")) == ()
    for other in ("--shutdown-grace-period=30s", "--shutdown-grace-period-critical-pods=1s"):
        with pytest.raises(SystemExit, match="cannot specify both"):
            flags.shutdown(parse(f"{flag}=0=60s", other))
    for wrong in ("0", "0=", "=5s", "high=5s", "0=5s,0=6s", "2147483648=1s", "0=-1s", "0=1s,", "1.5=1s"):
        with pytest.raises(SystemExit):
            parse(f"{flag}={wrong}")
        assert flag in capsys.readouterr().err, wrong


def test_a_node_has_one_address_of_each_family() -> None:
    """The underlay's first."""
    assert flags.addresses("192.0.2.1") == ("192.0.2.1",)
    assert flags.addresses("fd00:1::1, 192.0.2.1") == ("fd00:1::1", "192.0.2.1")
    for text in ("192.0.2.1,192.0.2.2", "fd00::1,fd00::2", "n1"):
        with pytest.raises(argparse.ArgumentTypeError):
            flags.addresses(text)
