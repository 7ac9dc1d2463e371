"""Pods of both IP families over an underlay of one, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.lab import layout
from tests.support import frames
from tests.support.dualstack import ATTACKER, NEIGHBOUR, VICTIM, Place
from tests.support.labs import eventually, running

pytestmark = pytest.mark.root


@pytest.mark.parametrize("underlay", ["ipv4", "ipv6"])
def test_pods_of_both_families_reach_each_other(underlay: str, tmp_path: Path) -> None:
    """The first range is of the primary family; nodes have addresses of the underlay's alone, and the kernel all that is wanted."""
    order = ("ipv6", "ipv4") if underlay == "ipv6" else ("ipv4", "ipv6")
    pods, services = (",".join(ranges[family] for family in order) for ranges in (layout.CLUSTER_CIDRS, layout.SERVICE_CIDRS))
    flags = (f"--cluster-cidr={pods}", f"--service-cluster-ip-range={services}")
    with running(f"t-{underlay}", tmp_path, nodes=2, arguments=flags, up=("--ip-family", underlay)) as lab:
        place = Place(lab)
        primary = 6 if underlay == "ipv6" else 4
        assert list(place.underlay("node-1")) == [primary]
        assert list(place.addresses(VICTIM)) == [primary, 10 - primary]
        for family in (4, 6):
            for target in (VICTIM, NEIGHBOUR):
                with frames.senders(place.of(target), place.addresses(target)[family]) as got:
                    frames.send_udp(place.of(ATTACKER), (place.addresses(target)[family], frames.PORT), b"hello")
                    assert got() == [(b"hello", place.addresses(ATTACKER)[family])] * 3
        eventually(lambda: lab.run("net", "verify").returncode == 0)
