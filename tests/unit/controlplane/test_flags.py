"""The command line of the control plane."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from controlplane import flags
from controlplane.config import Config

STATE = Path("/var/lib/pinnace/controlplane")
SERVICES_6 = ["--service-cluster-ip-range=fd00::/112", "--advertise=::1"]


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
        "--horizontal-pod-autoscaler-tolerance=0.5", "--service-cluster-ip-range=10.97.0.0/16",
        "--service-node-port-range=31000-31999", "--load-balancer-pool=192.0.2.0/28, 192.0.2.32-192.0.2.40",
        "--cluster-domain=k8s.example.", "--enable-admission-plugins=DenyServiceExternalIPs,",
    ]  # fmt: skip
    expected = Config(
        STATE, store="etcd://a:1,b:2", etcd_cafile="ca", etcd_certfile="c", etcd_keyfile="k", listen=":1", web="", socket="/s",
        advertise="h", cluster_cidr="10.9.0.0/16", node_bits=20, heartbeat=1.0, node_grace=2.0, eviction_rate=3.0,
        secondary_eviction_rate=4.0, unhealthy_zone_threshold=0.5, large_zone=6, terminated_pods=7, event_ttl=8.0, vni=7,
        vxlan_port=8, disabled=frozenset({"podgc", "scheduler"}), scheduler=False, join_tokens="t", token_auth_file="u",
        service_account_issuer="i", service_account_jwks_uri="j", api_audiences=("a", "b"), web_fds=(5, 6), rest_server="r", node_certificate=9.0, node_renewal=12.0,
        server_certificate=10.0, admin_certificate=11.0, force_new=True, log_level="DEBUG",
        autoscaler_period=1.0, autoscaler_stabilization=2.0, autoscaler_cpu_initialization=3.0, autoscaler_readiness_delay=4.0,
        autoscaler_tolerance=0.5, service_cidr="10.97.0.0/16", node_ports="31000-31999",
        load_balancer_pool="192.0.2.0/28,192.0.2.32-192.0.2.40", cluster_domain="k8s.example",
        admission_plugins="DenyServiceExternalIPs",
    )  # fmt: skip
    assert flags.parse(words) == expected


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--etcd-cafile=ca"], "need --store etcd://"),
        (["--store=etcd://h:1", "--etcd-certfile=c"], "must be set together"),
        (["--store=etcd://h:1", "--etcd-keyfile=k"], "must be set together"),
        (["--store=postgres"], "--store must be"),
        (["--service-cluster-ip-range=10.96.0.1/12"], "has host bits set"),
        (["--service-cluster-ip-range=10.96.0.0/29"], "10.96.0.0/29 is too small"),
        (["--service-cluster-ip-range=10.96.0.0/12,fd00::/125"], "fd00::/125 is too small"),
        (["--service-cluster-ip-range=10.96.0.0/12,10.9.0.0/16"], "only one range of each IP family"),
        (["--service-cluster-ip-range="], "a range is required"),
        (["--advertise=[::]"], "agents cannot connect to ::"),
        (["--advertise=fd00::g"], "neither a host name nor an address"),
        (
            ["--service-cluster-ip-range=10.9.128.0/24", "--cluster-cidr=10.9.0.0/16"],
            "--service-cluster-ip-range 10.9.128.0/24 overlaps with --cluster-cidr 10.9.0.0/16",
        ),
        (["--vni=0"], "argument --vni: must be from 1 to 16777215, not 0"),
        (["--vni=16777216"], "argument --vni: must be from 1 to 16777215, not 16777216"),
        (["--vxlan-port=0"], "argument --vxlan-port: must be from 1 to 65535, not 0"),
        (["--vxlan-port=65536"], "argument --vxlan-port: must be from 1 to 65535, not 65536"),
        (["--vxlan-port=-1"], '"-1" is not a number'),
        (["--service-node-port-range=30000"], "is not a range of ports such as"),
        (["--service-node-port-range=30010-30000"], "is not a range of ports from 1 to 65535"),
        (["--load-balancer-pool=192.0.2.9-192.0.2.1"], "does not appear to be a range of addresses"),
        (["--load-balancer-pool=192.0.2.1/24"], "has host bits set"),
        (
            ["--load-balancer-pool=10.96.0.0/28"],
            "--load-balancer-pool 10.96.0.0-10.96.0.15 overlaps with --service-cluster-ip-range 10.96.0.0/12",
        ),
        (
            ["--load-balancer-pool=192.0.2.1,10.9.3.7", "--cluster-cidr=10.9.0.0/16"],
            "--load-balancer-pool 10.9.3.7 overlaps with --cluster-cidr 10.9.0.0/16",
        ),
        (["--load-balancer-pool=0.0.0.0/0", *SERVICES_6], "has addresses of 0.0.0.0/8, which no host"),
        (["--load-balancer-pool=::1"], "--load-balancer-pool ::1 has addresses of ::/127, which no host"),
        (["--cluster-cidr=fd00:9::/48"], "10.96.0.0/12 is IPv4, and --cluster-cidr fd00:9::/48 is not"),
        (["--encrypt", "--vxlan-port=51820"], "--vxlan-port 51820 is the port of WireGuard, which --encrypt needs"),
        (["--vxlan-port=53"], "--vxlan-port 53 is the port of the nodes' DNS resolvers"),
        (
            ["--cluster-cidr=10.9.0.0/16", "--node-cidr-mask-size-ipv6=64"],
            "--node-cidr-mask-size-ipv6 needs an IPv6 range in --cluster-cidr, not 10.9.0.0/16",
        ),
        (
            ["--node-bits=25", "--node-cidr-mask-size-ipv4=24"],
            "--node-bits and --node-cidr-mask-size-ipv4 are alternatives: set only one of them",
        ),
        (["--enable-admission-plugins=PodSecurity"], "not an optional admission plugin (DenyServiceExternalIPs)"),
        (["--cluster-domain=A"], "lowercase RFC 1123 subdomain"),
        (["--heartbeat=10"], "at least twice --heartbeat"),
        (["--node-certificate-ttl=nan"], "must be from 5 to"),
        (["--node-eviction-rate=fast"], "is not a number"),
        (["--cluster-cidr=10.9.0.0/16,10.10.0.0/16"], "only one range of each IP family"),
        (["--cluster-cidr=10.9.0.0/16,fd00:9::/48", "--node-bits=24"], "--node-cidr-mask-size-ipv4 and"),
        (["--cluster-cidr=10.9.0.0/16,fd00:9::/48", "--node-cidr-mask-size-ipv6=40"], "--node-cidr-mask-size-ipv6) must lie"),
        (["--cluster-cidr=fd00:9::/48", "--node-cidr-mask-size=65", *SERVICES_6], "must lie"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what would."""
    with pytest.raises(SystemExit):
        flags.parse(["--advertise", "127.0.0.1", *words])
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("advertise", "services", "good"),
    [
        ("192.0.2.1", "10.96.0.0/12,fd00:96::/112", True), ("2001:db8::1", "fd00:96::/112,10.96.0.0/12", True),
        ("api.example", "fd00:96::/112", True), ("127.0.0.1", "fd00:96::/112", True),
        ("192.0.2.1", "fd00:96::/112", False), ("2001:db8::1", "10.96.0.0/12,fd00:96::/112", False),
    ],
)  # fmt: skip
def test_the_api_has_an_address_of_the_primary_family(
    advertise: str, services: str, good: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """In which the Service `kubernetes` has its own. Not of a host name, nor where pods do not reach the API at all."""
    words = ["--advertise", advertise, "--service-cluster-ip-range", services]
    if good:
        assert flags.parse(words).advertise == advertise
        assert flags.parse(["--web=", "--advertise=2001:db8::1", *words[2:]]).web == ""
        return
    # Another controller may know an address that pods reach.
    assert flags.parse([*words, "--disable-controller=kubernetes-service"]).advertise == advertise
    with pytest.raises(SystemExit):
        flags.parse(words)
    first = services.partition(",")[0]
    assert (
        f"--advertise {advertise} is not of the same IP family as the first --service-cluster-ip-range, {first}:"
        in " ".join(capsys.readouterr().err.split())
    )


def test_the_example_with_an_ipv6_address_is_accepted() -> None:
    """Of docs/network.md: it needs ranges of this family too."""
    text = (Path(__file__).parents[3] / "docs/network.md").read_text()
    example = text[text.index("    --advertise ") :].partition("\n\n")[0]
    assert flags.parse(example.split()).api_for_pods == ("2001:db8::1", 6444)


@pytest.mark.parametrize(
    ("services", "expected"),
    [("fd00:96::/112", "2001:db8::7"), ("fd00:96::/112,10.96.0.0/12", "2001:db8::7"), ("10.96.0.0/12", "192.0.2.7")],
)
def test_the_default_address_is_of_the_primary_family(services: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host that has routes of both."""

    class Probe:
        def __init__(self, family: int, _: int) -> None:
            self._own = "2001:db8::7" if family == socket.AF_INET6 else "192.0.2.7"

        def __enter__(self) -> Probe:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def connect(self, _: tuple[str, int]) -> None:
            pass

        def getsockname(self) -> tuple[str, int]:
            return self._own, 9

    monkeypatch.setattr(socket, "socket", Probe)
    assert flags.parse(["--service-cluster-ip-range", services]).advertise == expected


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


@pytest.mark.parametrize("order", [("10.9.0.0/16", "fd00:9::/48"), ("fd00:9::/48", "10.9.0.0/16"), ("fd00:9::/48",)])
def test_ranges_of_both_families(order: tuple[str, ...]) -> None:
    """The first is of the primary family."""
    words = ["--advertise", "127.0.0.1", "--cluster-cidr", ",".join(order), "--node-cidr-mask-size-ipv6", "60"]
    if len(order) == 1:
        words += SERVICES_6
    found = flags.parse(words)
    assert (found.cluster_cidrs, found.share_bits) == (order, {6: 60})


@pytest.mark.parametrize("text", ["fd00:1::1", "[fd00:1::1]", "[FD00:1:0::1]"])
def test_an_ipv6_address_is_advertised_in_brackets_where_a_port_follows(text: str) -> None:
    """Pods get it without, as a host of its own."""
    words = ["--advertise", text, "--service-cluster-ip-range", "fd00:96::/112"]
    found = flags.parse([*words, "--listen", "[::]:6443", "--web", "[::]:6444"])
    assert (found.grpc_address, found.web_address) == ("[fd00:1::1]:6443", "[fd00:1::1]:6444")
    assert (found.rest, found.api_for_pods) == ("https://[fd00:1::1]:6444", ("fd00:1::1", 6444))
    assert flags.parse([*words, "--web", "[::1]:6444"]).api_for_pods == ("", 0)


def test_a_silent_node_is_not_ready_within_its_grace() -> None:
    """Its lease may have been renewed a moment after its last heartbeat."""
    assert Config(STATE).lease_grace == 14.0
    assert Config(STATE, heartbeat=1.0, node_grace=2.0).lease_grace == 1.75


def test_a_flag_is_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs that read the flags, such as kctl for a lab, know whole names only."""
    with pytest.raises(SystemExit):
        flags.parse(["--advertise", "127.0.0.1", "--cluster-cid=10.9.0.0/16"])
    assert "unrecognized arguments: --cluster-cid=10.9.0.0/16" in capsys.readouterr().err
