"""The agent's flags."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nodeagent.node import flags
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.shutdown.order import Period


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
