"""A lab's uplink: pods reach the outside and its names, nothing outside reaches in, and the machine is as before afterwards.

The outside and the machine are namespaces of the test's own (tests/support/outside.py).
"""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.lab import firewall, layout, links, obstacles, processes
from tests.e2e.test_images import busybox_layer
from tests.support import nameserver
from tests.support.labs import PATIENCE, LabUnderTest, eventually, pod, running
from tests.support.nameserver import NameServer
from tests.support.outside import HOST, INTERNET, Outside, Pages, connects, outside, pages, ruleset, run, within
from tests.support.proxy import proxy
from tests.support.registry import Registry, packed, push

pytestmark = pytest.mark.root
REGISTRY = "registry.test:5000"
STUB = "127.0.0.53"


@pytest.fixture(scope="module", autouse=True)
def _machine_untouched() -> Iterator[None]:
    """Nothing of the machine's own network changes."""
    before = ruleset()
    yield
    assert ruleset() == before


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("outside") / "o") as found:
        found.resolv_conf.write_text(f"nameserver {STUB}\nsearch test\noptions edns0\n")
        yield found


@pytest.fixture(scope="module")
def names(world: Outside) -> Iterator[NameServer]:
    """The host's own resolver, where systemd-resolved has its: on its loopback."""
    found = NameServer({"registry.test": [INTERNET], "web.test": [INTERNET]})
    udp, tcp = within(world.host, lambda: nameserver.sockets(STUB, 53))
    with nameserver.serving(found, udp, tcp):
        yield found


@pytest.fixture(scope="module")
def web(world: Outside) -> Iterator[Pages]:
    with pages(world.internet, INTERNET, 80, "the page from outside") as found:
        yield found


@pytest.fixture(scope="module")
def registry(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    address = f"{INTERNET}:5000"
    words = ("nsenter", f"--net={world.internet}")
    found = Registry(tmp_path_factory.mktemp("registry"), address, words=words)
    found.start(lambda: connects(world.internet, INTERNET, 5000))
    image = packed(busybox_layer(), Cmd=["sleep", "1000"])
    within(world.internet, lambda: push(address, "team/tools", image))
    yield found
    found.stop()


@contextmanager
def connected(world: Outside, name: str, folder: Path, *up: str, nodes: int = 1) -> Iterator[LabUnderTest]:
    folder.mkdir(exist_ok=True)
    agents = (f"--insecure-registry={REGISTRY}", "--backoff=0.5", "--max-backoff=2")
    with running(name, folder, nodes=nodes, image=False, agent=agents, up=("--no-isolated", *up), words=world.words) as found:
        yield found


@pytest.fixture(scope="module")
def lab(world: Outside, names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with connected(world, "t-up", tmp_path_factory.mktemp("uplink"), nodes=2) as found:
        yield found


@pytest.fixture(scope="module")
def tools(lab: LabUnderTest, registry: Registry) -> str:
    """A pod that was pulled by name from the outside, with a server on port 80; its name."""
    image = f"{REGISTRY}/team/tools:1"
    server = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"]
    lab.apply(pod("tools", container={"image": image, "command": server}, terminationGracePeriodSeconds=0))
    lab.kctl("wait", "pod/tools", "--for=condition=Ready", "--timeout=60s")
    return "tools"


def fetched(lab: LabUnderTest, name: str, url: str = f"http://{INTERNET}/") -> str:
    """A page, from within a pod."""
    return lab.kctl("exec", name, "--", "busybox", "timeout", "5", "busybox", "wget", "-q", "-O", "-", url)


def device(lab: LabUnderTest) -> str:
    return links.device(lab.name)


def link_address(world: Outside, lab: LabUnderTest) -> str:
    """The switch's side of the link."""
    text = world.in_host("ip", "-brief", "-4", "address", "show", "dev", device(lab))
    found = re.search(r"(\d+\.\d+\.\d+)\.(\d+)/30", text)
    assert found, text
    return f"{found[1]}.{int(found[2]) + 1}"


def test_a_pod_is_pulled_by_name_and_reaches_the_outside(lab: LabUnderTest, tools: str, web: Pages, names: NameServer) -> None:
    """The registry's name comes from the machine's resolver on its loopback; outside sees the machine's address."""
    assert ("registry.test", "udp") in names.asked
    assert fetched(lab, tools, "http://web.test/") == fetched(lab, tools) == "the page from outside"
    assert set(web.peers) == {HOST}


def test_a_build_reaches_the_outside_too(lab: LabUnderTest, tools: str, web: Pages, names: NameServer, tmp_path: Path) -> None:
    """As a Dockerfile's package manager must."""
    (tmp_path / "Dockerfile").write_text(
        f'FROM {REGISTRY}/team/tools:1\nRUN ["busybox", "wget", "-q", "-O", "/page", "http://web.test/"]\n'
    )
    lab.kctl("image", "build", "-t", "built:1", str(tmp_path))
    lab.apply(pod("built", "cat", "/page", container={"image": "built:1"}, restartPolicy="Never"))
    eventually(lambda: lab.get("pod", "built")["status"]["phase"] == "Succeeded")
    assert lab.kctl("logs", "built") == "the page from outside"


def test_images_are_pulled_through_a_proxy(world: Outside, names: NameServer, registry: Registry, tmp_path: Path) -> None:
    """The one of kctl's environment, with its credentials, which no output and no log has; NO_PROXY holds."""
    secret = "hunter2"
    basic = "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()
    entered = proxy(f"{INTERNET}:5000", wants=basic, host=INTERNET)
    through = within(world.internet, entered.__enter__)
    lab = LabUnderTest(f"t-proxy-{os.getpid() % 1000}", tmp_path, words=world.words)
    lab.environment |= {"http_proxy": f"http://me:{secret}@{through.address}", "NO_PROXY": "registry.test"}
    agents = [f"--agent-arg=--insecure-registry={host}" for host in ("registry.behind:5000", REGISTRY)]
    try:
        said = lab.lab("up", "--no-isolated", "--nodes", "1", *agents)
        # Neither name nor route leads there: only the proxy knows the way.
        said += lab.kctl("image", "pull", "registry.behind:5000/team/tools:1")
        assert [line.split()[1] for line in through.asked[:1]] == ["http://registry.behind:5000/v2/team/tools/manifests/1"]
        asked = len(through.asked)
        said += lab.kctl("image", "pull", f"{REGISTRY}/team/tools:1")
        assert len(through.asked) == asked
        said += lab.kctl("lab", "list") + lab.lab("status")
        logs = (layout.STATE / lab.name / "logs").glob("*.log")
        for text in (said, *(path.read_text() for path in logs)):
            assert secret not in text
            assert basic.split()[1] not in text
    finally:
        lab.lab("down")
        entered.__exit__(None, None, None)


def test_large_packets_get_through_a_smaller_link(world: Outside, lab: LabUnderTest, tools: str) -> None:
    """The machine's network may take less than a pod sends (a VPN's): what the kernel says about it comes back to the pod."""
    listening = within(world.internet, lambda: socket.create_server((INTERNET, 81)))
    for words in (world.in_host, world.in_internet):
        words("ip", "link", "set", "up0" if words == world.in_host else "down0", "mtu", "1300")
    try:
        with listening:
            listening.settimeout(20)
            sending = subprocess.Popen(
                lab.command("exec", tools, "--", "busybox", "sh", "-c", f"busybox head -c 200000 /dev/zero | busybox nc -w 5 {INTERNET} 81"),
                env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            connection, _ = listening.accept()
            connection.settimeout(20)
            count = 0
            with connection:
                while count < 200_000 and (data := connection.recv(64 << 10)):
                    count += len(data)
            sending.wait(30)
        assert count == 200_000
    finally:
        for words in (world.in_host, world.in_internet):
            words("ip", "link", "set", "up0" if words == world.in_host else "down0", "mtu", "1500")


def test_pods_resolve_through_the_machine_s_resolver(lab: LabUnderTest, tools: str) -> None:
    """Through the node's and the lab's forwarder, with its search domains; a name that does not exist is told so."""
    found = lab.kctl("exec", tools, "--", "busybox", "nslookup", "web.test")
    assert f"Address: {INTERNET}" in found
    conf = lab.kctl("exec", tools, "--", "busybox", "cat", "/etc/resolv.conf")
    assert "nameserver 10.96.0.10\n" in conf
    assert f"nameserver {layout.GATEWAY}\n" in Path(f"/proc/{lab.pid('node-1')}/root/etc/resolv.conf").read_text()
    assert re.search(r"^search .*\btest\b", conf, re.MULTILINE)
    assert STUB not in conf
    missing = lab.run("exec", tools, "--", "busybox", "nslookup", "missing.test")
    assert b"NXDOMAIN" in missing.stdout + missing.stderr


def test_a_forwarder_that_speaks_with_pods_has_no_privileges(lab: LabUnderTest) -> None:
    """Another user, no capabilities, none to be had."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{lab.pid('switch')}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh")] == [0, 0, 0]
    assert status["NoNewPrivs"] == "1"


@contextmanager
def routes_inward(world: Outside, lab: LabUnderTest) -> Iterator[None]:
    """The outside, and the machine too, believe that the lab's addresses are behind the uplink."""
    ranges = ["198.18.0.0/15", f"{layout.SUBNET}.0/24", layout.CLUSTER_CIDR]
    for cidr in ranges:
        world.in_internet("ip", "route", "add", cidr, "via", HOST)
    for cidr in ranges[1:]:
        world.in_host("ip", "route", "add", cidr, "via", link_address(world, lab))
    try:
        yield
    finally:
        for cidr in ranges:
            world.in_internet("ip", "route", "delete", cidr)
        for cidr in ranges[1:]:
            world.in_host("ip", "route", "delete", cidr)


def switch_of(lab: LabUnderTest) -> list[str]:
    """The words that enter the network of the lab's switch."""
    return [*lab.words, "nsenter", f"--net={layout.RUN}/{lab.name}/ns/switch.net"]


def inside_targets(world: Outside, lab: LabUnderTest, tools: str) -> list[tuple[str, int]]:
    """What listens in the lab: a pod, the API, the join port, the DNS forwarder and the link's own end."""
    address = lab.get("pod", tools)["status"]["podIP"]
    control = f"{layout.SUBNET}.1"
    return [(address, 80), (control, layout.API_PORT), (control, layout.WEB_PORT), (layout.GATEWAY, 53)]


def test_nothing_outside_reaches_in(world: Outside, lab: LabUnderTest, tools: str) -> None:
    """With routes to all that listens in the lab, connections from outside and from the machine itself fail."""
    with routes_inward(world, lab):
        for address, port in inside_targets(world, lab, tools):
            assert not connects(world.internet, address, port, seconds=1), (address, port)
            assert not connects(world.host, address, port, seconds=1), (address, port)
        query = nameserver.question("web.test")
        for path in (world.internet, world.host):
            assert within(path, lambda: _ask(layout.GATEWAY, query)) == b""
        # The attack works where our rules do not hold, and each side's alone stop it. `lab start` puts back what was flushed.
        switch = (*switch_of(lab), "nft", "delete", "table", "ip", firewall.SWITCH_TABLE)
        run(*switch)
        assert not connects(world.internet, layout.GATEWAY, 53, seconds=1)
        world.in_host("nft", "delete", "table", "ip", firewall.TABLE)
        assert connects(world.internet, layout.GATEWAY, 53)
        assert connects(world.host, layout.GATEWAY, 53)
        lab.lab("start")
        world.in_host("nft", "delete", "table", "ip", firewall.TABLE)
        assert not connects(world.internet, layout.GATEWAY, 53, seconds=1)
        assert not connects(world.host, layout.GATEWAY, 53, seconds=1)
        lab.lab("start")
        assert not connects(world.internet, layout.GATEWAY, 53, seconds=1)
    assert "the page" in fetched(lab, tools)


def _ask(address: str, query: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        try:
            sock.sendto(query, (address, 53))
            return sock.recv(4096)
        except OSError:
            return b""


def test_the_machine_is_no_router_for_others(world: Outside, lab: LabUnderTest) -> None:
    """Forwarding is on for its device, yet what a neighbour sends through it to another network is dropped."""
    assert world.sysctl("up0") == "1"
    assert world.sysctl("all") == "0"
    lan = world.host.with_name("lan.net")
    lan.touch()
    run("unshare", f"--net={lan}", "true")
    try:
        world.in_host("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        run("nsenter", f"--net={world.host}", "ip", "link", "set", "lan1", "netns", str(lan))
        world.in_host("ip", "address", "add", "192.0.2.1/24", "dev", "lan0")
        world.in_host("ip", "link", "set", "lan0", "up")
        run("nsenter", f"--net={lan}", "ip", "address", "add", "192.0.2.2/24", "dev", "lan1")
        run("nsenter", f"--net={lan}", "ip", "link", "set", "lan1", "up")
        run("nsenter", f"--net={lan}", "ip", "route", "add", "default", "via", "192.0.2.1")
        world.in_internet("ip", "route", "add", "192.0.2.0/24", "via", HOST)
        # A lab that starts now sees the new network, and answers come back from it.
        lab.lab("start")
        assert world.sysctl("lan0") == "1"
        with pages(lan, "192.0.2.2", 80, "lan"):
            assert not connects(world.internet, "192.0.2.2", 80, seconds=1)
            world.in_host("nft", "flush", "chain", "ip", firewall.TABLE, "forward")
            assert connects(world.internet, "192.0.2.2", 80)
    finally:
        world.in_host("ip", "link", "delete", "lan0", check=False)
        world.in_internet("ip", "route", "delete", "192.0.2.0/24", check=False)
        run("umount", str(lan))
        lab.lab("start")


def test_two_labs_have_uplinks_that_do_not_clash(
    world: Outside, lab: LabUnderTest, tools: str, web: Pages, tmp_path: Path
) -> None:
    """Each has a link of its own; neither reaches the other; the one that ends takes nothing from the one that stays."""
    with connected(world, "t-second", tmp_path) as second:
        first_address, second_address = link_address(world, lab), link_address(world, second)
        assert first_address != second_address
        pid = second.pid("node-1")
        other = Path(f"/proc/{pid}/ns/net")
        assert connects(other, INTERNET, 80)
        run(*switch_of(lab), "nft", "flush", "chain", "ip", firewall.SWITCH_TABLE, "input")
        with routes_inward(world, lab):
            assert not connects(other, first_address, 9, seconds=1)
        lab.lab("start")
    assert world.sysctl("up0") == "1"
    assert "the page" in fetched(lab, tools)


def test_the_machine_is_reached_as_from_any_container(world: Outside, lab: LabUnderTest) -> None:
    """What listens on all its addresses is, what listens on its loopback is not, nor is a packet to 127.0.0.1 accepted."""
    node, side = Path(f"/proc/{lab.pid('node-1')}/ns/net"), _host_side(world, lab)
    with pages(world.host, "127.0.0.1", 8099, "private"), pages(world.host, "0.0.0.0", 8098, "public"):
        assert connects(node, side, 8098)
        assert connects(node, HOST, 8098)
        assert not connects(node, side, 8099, seconds=1)
        assert not connects(node, "127.0.0.1", 8099, seconds=1)
    rules = world.in_host("nft", "list", "chain", "ip", firewall.TABLE, "input")
    assert 'iifname "pnl-*" ip daddr 127.0.0.0/8 drop' in rules


def _host_side(world: Outside, lab: LabUnderTest) -> str:
    head, _, last = link_address(world, lab).rpartition(".")
    return f"{head}.{int(last) - 1}"


@contextmanager
def single(world: Outside, folder: Path, name: str = "t-alone") -> Iterator[LabUnderTest]:
    with connected(world, name, folder) as found:
        yield found


def leftovers(world: Outside, lab: LabUnderTest) -> dict[str, Any]:
    return {
        "devices": [line.split()[0] for line in world.in_host("ip", "-brief", "link").splitlines() if links.PREFIX in line],
        "table": firewall.TABLE in world.in_host("nft", "list", "tables"),
        "forwarding": [world.sysctl("up0"), world.sysctl("all"), world.sysctl("default")],
        "processes": [pid for pid in _forwarders() if lab.name in _environment(pid)],
        "records": list(layout.RUN.parent.glob(f"uplinks-{world.host.stat().st_ino}.json")),
    }


def _forwarders() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"cli.lab.dns" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""


CLEAN = {"devices": [], "table": False, "forwarding": ["0", "0", "0"], "processes": [], "records": []}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Outside]:
    """A machine without any lab."""
    with outside(tmp_path / "o") as found:
        found.resolv_conf.write_text("nameserver 203.0.113.1\n")
        yield found


def test_down_leaves_the_machine_as_it_was(fresh: Outside, tmp_path: Path) -> None:
    """Device, table, forwarder and forwarding; a device that forwarded before still does."""
    with single(fresh, tmp_path / "a") as lab:
        assert fresh.sysctl("up0") == "1"
        lab.lab("down")
        assert leftovers(fresh, lab) == CLEAN
        fresh.in_host("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        lab.lab("up", "--no-isolated", "--nodes", "1")
    assert fresh.sysctl("up0") == "1"


def lose(lab: LabUnderTest) -> None:
    """Remove all state of a lab; its processes may be writing there."""
    path = layout.STATE / lab.name
    eventually(lambda: subprocess.run(["rm", "-rf", str(path)], capture_output=True, check=False).returncode == 0)


@pytest.mark.parametrize("record", ["kept", "lost", "torn"])
def test_a_crash_leaves_nothing_that_down_does_not_find(fresh: Outside, tmp_path: Path, record: str) -> None:
    """Everything killed and the namespaces gone, with and without the lab's record."""
    with single(fresh, tmp_path / "a") as lab:
        path = layout.STATE / lab.name / "lab.json"
        pids = [item["pid"] for item in lab.record["processes"].values()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if record == "lost":
            path.rename(tmp_path / "kept.json")
            lose(lab)
        elif record == "torn":
            path.write_text("{")
        said = lab.lab("down")
        assert "nothing is left" in said
        assert leftovers(fresh, lab) == CLEAN
        lab.lab("up", "--no-isolated", "--nodes", "1")


# kctl is killed when the link is removed, and its rules, its forwarding and their record are not.
KILLED = """
import os, signal, sys
from pathlib import Path
from cli.lab import layout, removal, uplink
uplink._write_table = lambda: os.kill(os.getpid(), signal.SIGKILL)
removal.down(layout.load(sys.argv[1]), config=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_a_down_that_is_killed_is_completed_by_the_next(fresh: Outside, tmp_path: Path, record: str) -> None:
    """Between the link and the table, where neither a device nor a process shows that there was an uplink."""
    with single(fresh, tmp_path / "a") as lab:
        killed = [*lab.words, sys.executable, "-P", "-c", KILLED, lab.name, str(lab.config)]
        assert subprocess.run(killed, timeout=60, check=False).returncode != 0
        assert leftovers(fresh, lab) == CLEAN | {
            "table": True, "forwarding": ["1", "0", "0"], "records": leftovers(fresh, lab)["records"],
        }  # fmt: skip
        if record == "lost":
            lose(lab)
            program = "from cli.lab import uplink; print(uplink.orphans())"
            found = run(*lab.words, sys.executable, "-P", "-c", program)
            assert found == f"['forwarding of up0', 'table ip {firewall.TABLE}']\n"
        assert "nothing is left" in lab.lab("down")
        assert leftovers(fresh, lab) == CLEAN
        lab.lab("up", "--no-isolated", "--nodes", "1")


# What a reboot takes: every process of the lab, its launchers included, and the namespaces.
REBOOT = """
import sys
from cli.lab import hosts, layout, processes
lab = layout.load(sys.argv[1])
for host in (*lab.nodes, layout.CONTROL, layout.SWITCH):
    processes.end(lab, host)
hosts.remove_all(lab)
"""


def test_the_uplink_comes_back_after_a_reboot(fresh: Outside, tmp_path: Path) -> None:
    """With its link, table, forwarding and forwarder; and `lab down` then removes them all."""
    with single(fresh, tmp_path / "a") as lab:
        run(*lab.words, sys.executable, "-P", "-c", REBOOT, lab.name)
        fresh.in_host("ip", "link", "delete", device(lab), check=False)
        fresh.in_host("nft", "flush", "ruleset")
        fresh.in_host("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding")
        (layout.RUN.parent / f"uplinks-{fresh.host.stat().st_ino}.json").unlink()
        assert leftovers(fresh, lab) == CLEAN
        lab.lab("start")
        with pages(fresh.internet, INTERNET, 80, "page"):
            assert connects(Path(f"/proc/{lab.pid('node-1')}/ns/net"), INTERNET, 80)
        lab.lab("stop")
        assert leftovers(fresh, lab) == CLEAN
        lab.lab("start")
    assert leftovers(fresh, lab) == CLEAN


def test_up_removes_the_uplink_of_a_lab_that_nobody_knows_any_more(fresh: Outside, tmp_path: Path) -> None:
    """Its record is lost, its forwarder and its link are not: the next `lab up` of that name makes them anew."""
    with single(fresh, tmp_path / "a") as lab:
        old = lab.pid("switch")
        lose(lab)
        lab.lab("up", "--no-isolated", "--nodes", "1")
        assert processes.start_time(old) == 0 or not processes.alive(layout.Process(old, processes.start_time(old)))
        assert fresh.in_host("ip", "-brief", "link").count(links.PREFIX) == 1


def test_labs_that_start_at_once_do_not_clash(fresh: Outside, tmp_path: Path) -> None:
    """Three at the same moment, each with a link and a forwarder of its own."""
    labs = [LabUnderTest(f"t-many{n}-{os.getpid() % 1000}", tmp_path / str(n), words=fresh.words) for n in range(3)]
    try:
        starting = []
        for lab in labs:
            lab.config.parent.mkdir()
            command = lab.command("lab", "up", "--no-isolated", "--nodes", "1", "--name", lab.name)
            starting.append(subprocess.Popen(command, env=lab.environment, stderr=subprocess.PIPE))
        for process in starting:
            assert process.communicate(timeout=120)[1] == b""
            assert process.returncode == 0
        assert len({link_address(fresh, lab) for lab in labs}) == 3
        with pages(fresh.internet, INTERNET, 80, "page"):
            assert all(connects(Path(f"/proc/{lab.pid('node-1')}/ns/net"), INTERNET, 80) for lab in labs)
    finally:
        said = [lab.lab("down") for lab in labs]
    assert all("nothing is left" in text for text in said)
    assert leftovers(fresh, labs[0]) == CLEAN


def test_a_kctl_that_is_killed_at_any_moment_leaves_nothing(fresh: Outside, tmp_path: Path) -> None:
    """`lab down` finds what a `lab up` of whatever length has made."""
    lab = LabUnderTest(f"t-cut-{os.getpid() % 1000}", tmp_path, words=fresh.words)
    for delay in (0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5):
        command = lab.command("lab", "up", "--no-isolated", "--nodes", "2", "--name", lab.name)
        process = subprocess.Popen(command, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        # What nsenter and unshare had begun ends or enters its namespace.
        time.sleep(0.3)
        result = lab.run("lab", "down", "--name", lab.name)
        assert b"nothing is left" in result.stdout or b"there is no lab" in result.stderr, (delay, result)
        assert leftovers(fresh, lab) == CLEAN, delay
        assert lab.name not in fresh.in_host("cat", "/proc/self/mounts")
        assert not (layout.RUN / lab.name).exists()
        assert not (layout.STATE / lab.name).exists()


def test_a_range_that_the_machine_uses_is_not_taken(fresh: Outside, tmp_path: Path) -> None:
    """The next is; without any the lab is isolated, and one warning names the clash and the way out."""
    fresh.in_host("ip", "route", "add", "198.18.0.0/15", "via", INTERNET)
    lab = LabUnderTest(f"t-clash-{os.getpid() % 1000}", tmp_path, words=fresh.words)
    try:
        lab.lab("up", "--no-isolated", "--nodes", "1")
        assert link_address(fresh, lab).startswith("100.127.")
        lab.lab("down")
        for cidr in ("100.64.0.0/10", "169.254.0.0/16"):
            fresh.in_host("ip", "route", "add", cidr, "via", INTERNET)
        result = lab.run("lab", "up", "--no-isolated", "--nodes", "1", "--name", lab.name)
        warnings = result.stderr.decode().splitlines()
        assert result.returncode == 0, warnings
        assert len(warnings) == 1
        assert "isolated" in warnings[0]
        assert "198.18.0.0/15 overlaps the route 198.18.0.0/15 dev up0" in warnings[0]
        assert "--uplink-cidr" in warnings[0]
        # Names and addresses fail at once and not after a timeout.
        node, begun = Path(f"/proc/{lab.pid('node-1')}/ns/net"), time.monotonic()
        assert not connects(node, INTERNET, 80, seconds=10)
        assert time.monotonic() - begun < 4 * PATIENCE
        # The way out: `lab start` tries again.
        fresh.in_host("ip", "route", "delete", "100.64.0.0/10")
        lab.lab("start")
        with pages(fresh.internet, INTERNET, 80, "page"):
            assert connects(node, INTERNET, 80)
    finally:
        said = lab.lab("down")
    assert "nothing is left" in said
    assert leftovers(fresh, lab) == CLEAN


def test_a_firewall_that_drops_what_is_forwarded_is_named(fresh: Outside, tmp_path: Path) -> None:
    """As Docker's does: `lab up` and `kctl doctor` say which chain, and what would let labs through."""
    rules = (
        "add table ip filter; add chain ip filter DOCKER-USER; "
        "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; "
        "add rule ip filter FORWARD jump DOCKER-USER"
    )
    fresh.in_host("nft", rules)
    lab = LabUnderTest(f"t-drop-{os.getpid() % 1000}", tmp_path, words=fresh.words)
    try:
        result = lab.run("lab", "up", "--no-isolated", "--nodes", "1", "--name", lab.name)
        said = result.stderr.decode()
        assert "the chain ip filter FORWARD drops" in said
        assert "iptables -I DOCKER-USER -i pnl-+ -j ACCEPT" in said
        doctor = lab.run("doctor").stdout.decode()
        assert "! uplink: the chain ip filter FORWARD drops" in doctor
        node = Path(f"/proc/{lab.pid('node-1')}/ns/net")
        with pages(fresh.internet, INTERNET, 80, "page"):
            assert not connects(node, INTERNET, 80, seconds=1)
            # What is advised, in nftables' words.
            fresh.in_host("nft", 'add rule ip filter DOCKER-USER iifname "pnl-*" accept')
            fresh.in_host("nft", 'add rule ip filter DOCKER-USER oifname "pnl-*" ct state established,related accept')
            assert connects(node, INTERNET, 80)
        assert "✓ uplink" in lab.run("doctor").stdout.decode()
    finally:
        lab.run("lab", "down", "--name", lab.name)
    assert leftovers(fresh, lab) == CLEAN


@pytest.mark.parametrize(
    ("rules", "named", "fix"),
    [
        ("add chain ip filter ufw-before-forward; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
         "ip filter FORWARD", "ufw route allow in on pnl-+"),
        ("add chain ip filter forward { type filter hook forward priority 0; policy drop; }",
         "ip filter forward", "accept there what comes from pnl-*"),
        ("add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }", "", ""),
        ("add chain ip filter input { type filter hook input priority 0; policy drop; }", "", ""),
        ("add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }; "
         "add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited",
         "inet firewalld filter_FORWARD", "firewall-cmd --permanent --zone=trusted"),
        ("add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; "
         'add rule ip filter FORWARD iifname "pnl-*" accept', "", ""),
    ],
)  # fmt: skip
def test_every_firewall_has_its_own_advice(fresh: Outside, rules: str, named: str, fix: str) -> None:
    """ufw, firewalld, one's own; none for what lets labs through or is about other packets."""
    fresh.in_host("nft", "add table ip filter; " + rules)
    found = within(fresh.host, obstacles.find)
    assert [item.name for item in found] == ([named] if named else [])
    assert all(item.fix.startswith(fix) for item in found)


def test_an_isolated_lab_reaches_nothing(fresh: Outside, tmp_path: Path) -> None:
    """--isolated, and the variable that makes it the default: no link, no table, no default route."""
    with running("t-iso", tmp_path, nodes=1, image=False, words=fresh.words) as lab:
        node = Path(f"/proc/{lab.pid('node-1')}/ns/net")
        assert "default" not in run("nsenter", f"--net={node}", "ip", "route")
        assert leftovers(fresh, lab) == CLEAN
        assert " isolated" in next(line for line in lab.kctl("lab", "list").splitlines() if line.startswith(lab.name))
    lab.environment["PINNACE_LAB_ISOLATED"] = ""
    lab.lab("up", "--isolated", "--nodes", "1")
    try:
        assert leftovers(fresh, lab) == CLEAN
    finally:
        lab.lab("down")


def test_the_forwarder_that_was_killed_is_started_again(lab: LabUnderTest, tools: str) -> None:
    """`lab list` says that names are missing, `lab start` brings them back and touches no pod."""
    before = lab.get("pod", tools)["status"]["containerStatuses"][0]
    os.kill(lab.pid("switch"), signal.SIGKILL)
    eventually(lambda: "no DNS" in lab.kctl("lab", "list"))
    lab.lab("start")
    assert INTERNET in lab.kctl("exec", tools, "--", "busybox", "nslookup", "web.test")
    assert lab.get("pod", tools)["status"]["containerStatuses"][0] == before
