"""The command line of the control plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane import flags
from controlplane.config import Config

STATE = Path("/var/lib/pinnace/controlplane")


def test_without_flags_every_setting_has_its_own_default() -> None:
    """A default is stated once, with the setting."""
    assert flags.parse(["--advertise", "127.0.0.1"]) == Config(STATE)


def test_each_flag_fills_its_setting() -> None:
    """Also those of another name."""
    words = [
        "--advertise=h", "--store=etcd://a:1,b:2", "--etcd-cafile=ca", "--etcd-certfile=c", "--etcd-keyfile=k", "--listen=:1",
        "--web=", "--socket=/s", "--join-tokens=t", "--cluster-cidr=10.9.0.0/16", "--node-bits=20", "--vni=7",
        "--vxlan-port=8", "--heartbeat=1", "--node-grace=2", "--node-eviction-rate=3", "--secondary-node-eviction-rate=4",
        "--unhealthy-zone-threshold=0.5", "--large-cluster-size-threshold=6", "--terminated-pod-gc-threshold=7",
        "--event-ttl=8", "--node-certificate-ttl=9", "--server-certificate-ttl=10", "--admin-certificate-ttl=11",
        "--node-renewal-window=12", "--force-new", "--log-level=DEBUG", "--disable-controller=podgc",
        "--disable-controller=scheduler", "--token-auth-file=u", "--service-account-issuer=i", "--service-account-jwks-uri=j", "--api-audiences=a, b",
        "--web-fd=5", "--web-fd=6", "--rest-server=r",
        "--horizontal-pod-autoscaler-sync-period=1", "--horizontal-pod-autoscaler-downscale-stabilization=2",
        "--horizontal-pod-autoscaler-cpu-initialization-period=3", "--horizontal-pod-autoscaler-initial-readiness-delay=4",
        "--horizontal-pod-autoscaler-tolerance=0.5",
    ]  # fmt: skip
    expected = Config(
        STATE, store="etcd://a:1,b:2", etcd_cafile="ca", etcd_certfile="c", etcd_keyfile="k", listen=":1", web="", socket="/s",
        advertise="h", cluster_cidr="10.9.0.0/16", node_bits=20, heartbeat=1.0, node_grace=2.0, eviction_rate=3.0,
        secondary_eviction_rate=4.0, unhealthy_zone_threshold=0.5, large_zone=6, terminated_pods=7, event_ttl=8.0, vni=7,
        vxlan_port=8, disabled=frozenset({"podgc", "scheduler"}), scheduler=False, join_tokens="t", token_auth_file="u",
        service_account_issuer="i", service_account_jwks_uri="j", api_audiences=("a", "b"), web_fds=(5, 6), rest_server="r", node_certificate=9.0, node_renewal=12.0,
        server_certificate=10.0, admin_certificate=11.0, force_new=True, log_level="DEBUG",
        autoscaler_period=1.0, autoscaler_stabilization=2.0, autoscaler_cpu_initialization=3.0, autoscaler_readiness_delay=4.0,
        autoscaler_tolerance=0.5,
    )  # fmt: skip
    assert flags.parse(words) == expected


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--etcd-cafile=ca"], "need --store etcd://"),
        (["--store=etcd://h:1", "--etcd-certfile=c"], "go together"),
        (["--store=etcd://h:1", "--etcd-keyfile=k"], "go together"),
        (["--store=postgres"], "--store must be"),
        (["--heartbeat=10"], "at least twice --heartbeat"),
        (["--node-certificate-ttl=nan"], "must be from 5 to"),
        (["--node-eviction-rate=fast"], "is not a number"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what would."""
    with pytest.raises(SystemExit):
        flags.parse(["--advertise", "127.0.0.1", *words])
    assert error in capsys.readouterr().err


def test_without_flags_the_cluster_decides_its_network() -> None:
    """Empty and 0: what the cluster has, or the default of a new one."""
    found = flags.parse(["--advertise", "127.0.0.1"])
    assert (found.cluster_cidr, found.node_bits) == ("", 0)


@pytest.mark.parametrize(
    ("cidr", "bits", "good"), [("10.9.0.0/16", "24", True), ("10.9.0.0/16", "8", False), ("x", "24", False)]
)
def test_a_share_that_does_not_fit_is_refused(cidr: str, bits: str, good: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """With the flag's name."""
    words = ["--advertise", "127.0.0.1", "--cluster-cidr", cidr, "--node-bits", bits]
    if good:
        assert flags.parse(words).cluster_cidr == cidr
        return
    with pytest.raises(SystemExit):
        flags.parse(words)
    assert "--" in capsys.readouterr().err


def test_a_silent_node_is_not_ready_within_its_grace() -> None:
    """Its lease may have been renewed a moment after its last heartbeat."""
    assert Config(STATE).lease_grace == 14.0
    assert Config(STATE, heartbeat=1.0, node_grace=2.0).lease_grace == 1.75
