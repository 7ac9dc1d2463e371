"""Simulated nodes with a real control plane: they join, run pods by their script, and come back after a restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.client import Client
from pinnace import codec, kinds
from pinnace.api.v1 import objects_pb2
from tests.support.labs import PATIENCE, eventually
from tests.support.objects import pod
from tests.support.planes import Plane, plane

NODES = 20
# Seconds: longer than the grace period of nodes.
AWAY = 20.0


@contextmanager
def simnodes(found: Plane, log: Path) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "nodeagent.simulated", "--config", str(found.folder / "admin.yaml")]
    with open(log, "ab") as out, subprocess.Popen([*command, "--nodes", str(NODES)], stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(20 * PATIENCE) == 0, log.read_text()


def ready(client: Client, kind: kinds.Kind) -> int:
    every = client.list(kind, "")
    return sum(any(c.type == "Ready" and c.status == "True" for c in item.status.conditions) for item in every)


def create(client: Client, count: int) -> None:
    request = objects_pb2.ApplyRequest(namespace="default", fieldManager="test")
    for number in range(count):
        body = json.dumps(codec.encode(pod(f"web-{number}"))).encode()
        request.objects.add(apiVersion="v1", kind="Pod", json=body)
    assert not any(result.HasField("error") for result in client.call(client.objects.Apply, request).results)


def test_simulated_nodes_join_run_pods_and_return(tmp_path: Path) -> None:
    """With certificates of their own; a pod that is deleted goes; a second run of the program is the same nodes."""
    with plane(tmp_path) as found, found.client() as client:
        with simnodes(found, tmp_path / "log"):
            eventually(lambda: ready(client, kinds.NODE) == NODES, within=30)
            ranges = {node.spec.podCIDR for node in client.list(kinds.NODE, "")}
            assert len(ranges) == NODES
            create(client, 40)
            eventually(lambda: ready(client, kinds.POD) == 40, within=30)
            reference = objects_pb2.Reference(apiVersion="v1", kind="Pod", namespace="default", name="web-0")
            client.call(client.objects.Delete, objects_pb2.DeleteRequest(ref=reference))
            eventually(lambda: len(client.list(kinds.POD, "")) == 39, within=30)
        eventually(lambda: ready(client, kinds.NODE) == 0, within=60)
        with simnodes(found, tmp_path / "log"):
            eventually(lambda: ready(client, kinds.NODE) == NODES, within=60)
        assert ranges == {node.spec.podCIDR for node in client.list(kinds.NODE, "")}


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_control_plane_that_was_away_blames_no_node(tmp_path: Path, how: str) -> None:
    """Longer than the grace period: the agents return, and no node was NotReady in between."""
    with plane(tmp_path) as found, simnodes(found, tmp_path / "log"):
        with found.client() as client:
            eventually(lambda: ready(client, kinds.NODE) == NODES, within=30)
        process = found.process
        assert process is not None
        if how == "killed":
            process.kill()
            process.wait()
            time.sleep(AWAY)
            found.start()
        else:
            process.send_signal(signal.SIGSTOP)
            time.sleep(AWAY)
            process.send_signal(signal.SIGCONT)
        # One grace period and some more.
        time.sleep(AWAY)
        with found.client() as client:
            assert ready(client, kinds.NODE) == NODES
            assert [event for event in client.list(kinds.EVENT, "") if event.reason == "NodeNotReady"] == []
