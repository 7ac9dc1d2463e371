"""The agent's flags."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nodeagent import flags
from nodeagent.pods.resolver import ClusterDns


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    return parser.parse_args(words)


def test_dns_flags_are_kubelets() -> None:
    """Several servers with commas; none by default."""
    words = ("--cluster-dns", "10.96.0.10, fd00::a", "--cluster-domain", "lab.example.", "--resolv-conf", "/run/resolv.conf")
    assert flags.dns(parse(*words)) == ClusterDns(("10.96.0.10", "fd00::a"), "lab.example", Path("/run/resolv.conf"))
    assert flags.dns(parse()) == ClusterDns()


def test_a_name_server_must_be_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    """One clear error that names the flag."""
    with pytest.raises(SystemExit):
        parse("--cluster-dns", "dns.example")
    assert "--cluster-dns: 'dns.example' does not appear to be an IPv4 or IPv6 address" in capsys.readouterr().err
