"""What pods and nodes use, as kctl shows it and Prometheus scrapes it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
BUSY = "trap 'exit 0' TERM; while :; do :; done"


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def up(lab: LabUnderTest, *manifests: dict) -> None:  # type: ignore[type-arg]
    lab.apply(*manifests)
    eventually(lambda: lab.all_running([item["metadata"]["name"] for item in manifests]))


def test_top_pod_shows_who_uses_what(lab: LabUnderTest) -> None:
    """The busy one first when sorted by cpu, the large one when sorted by memory; containers apart when asked."""
    # Held to a fifth of a processor, for the machine's other users.
    limits = {"resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}}
    large = "head -c 40000000 /dev/zero | tail -c 40000000 | sleep 600"
    up(lab, pod("busy", "sh", "-c", BUSY, container=limits), pod("large", "sh", "-c", large), pod("idle"))

    def busy_is_first() -> bool:
        lines = lab.kctl("top", "pod", "--sort-by=cpu").splitlines()
        assert lines[0].split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
        assert len(lines) == 4
        name, cpu, memory = lines[1].split()
        assert re.fullmatch(r"\d+m", cpu)
        assert re.fullmatch(r"\d+Mi", memory)
        return name == "busy" and 100 <= int(cpu[:-1]) <= 300

    eventually(busy_is_first)
    eventually(lambda: lab.kctl("top", "pods", "--sort-by", "memory", "--no-headers").startswith("large"))
    rows = lab.kctl("top", "pod", "idle", "--containers", "-A").splitlines()
    assert rows[0].split() == ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert rows[1].split()[:3] == ["default", "idle", "main"]
    assert b"not found" in lab.run("top", "pod", "nope").stderr


def test_top_node_shows_shares_and_who_does_not_answer(lab: LabUnderTest) -> None:
    """kubectl's columns; a node whose agent is away is unknown, and the exit code says so."""
    rows = lab.kctl("top", "node").splitlines()
    assert rows[0].split() == ["NAME", "CPU(cores)", "CPU%", "MEMORY(bytes)", "MEMORY%"]
    assert [row.split()[0] for row in rows[1:]] == ["node-1", "node-2", "node-3"]
    assert all(re.fullmatch(r"\S+ +\d+m +\d+% +\d+Mi +\d+%", row) for row in rows[1:])
    lab.kill("node-3")
    result = lab.run("top", "nodes")
    assert result.returncode == 1
    assert re.search(rb"node-3 +<unknown> +<unknown>", result.stdout)
    lab.start_agent("node-3")
    eventually(lambda: lab.run("top", "node", "node-3").returncode == 0)


def scrape(lab: LabUnderTest, path: str) -> str:
    """A page of the control plane's web listener, asked for from a node with the administrator's certificate."""
    script = (
        "import http.client, ssl, sys\n"
        "c = ssl.create_default_context(cafile=sys.argv[1] + '/ca.crt'); c.check_hostname = False\n"
        "c.load_cert_chain(sys.argv[1] + '/admin.crt', sys.argv[1] + '/admin.key')\n"
        "h = http.client.HTTPSConnection('198.51.100.1', 6444, timeout=20, context=c); h.request('GET', sys.argv[2])\n"
        "sys.stdout.write(h.getresponse().read().decode())\n"
    )
    namespace = f"/run/pinnace/labs/{lab.name}/ns/node-2.net"
    pki = f"/var/lib/pinnace/labs/{lab.name}/control/pki"
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", script, pki, path]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True).stdout


def test_prometheus_scrapes_every_container(lab: LabUnderTest) -> None:
    """Processor, memory, network, disk and processes, by namespace, pod, container and node."""
    write = "head -c 3000000 /dev/zero > /written; ping -c 3 -i 0.1 -W 1 127.0.0.1 >/dev/null; sleep 600 & sleep 600"
    up(
        lab,
        pod("writes", "sh", "-c", write),
        pod("reaches", "sh", "-c", "while :; do wget -qO- -T 1 10.244.0.1; sleep 0.1; done"),
    )
    eventually(lambda: lab.run("exec", "writes", "--", "test", "-s", "/written").returncode == 0)
    text = scrape(lab, "/metrics/cadvisor")
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, sample.labels.get("pod") or sample.labels.get("node")] = sample
    assert [found["pinnace_node_stats_up", f"node-{n}"].value for n in (1, 2, 3)] == [1, 1, 1]
    labels = found["container_processes", "writes"].labels
    assert (labels["namespace"], labels["container"], labels["node"]) == (
        "default",
        "main",
        lab.pods()["writes"]["spec"]["nodeName"],
    )
    assert found["container_fs_usage_bytes", "writes"].value >= 3_000_000
    assert (
        found["container_memory_usage_bytes", "writes"].value >= found["container_memory_working_set_bytes", "writes"].value > 0
    )
    assert found["container_cpu_usage_seconds_total", "writes"].value > 0
    assert found["container_network_transmit_bytes_total", "reaches"].value > 0
    assert found["container_start_time_seconds", "writes"].value > 1.7e9
