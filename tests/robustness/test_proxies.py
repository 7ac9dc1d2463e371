"""Proxies in the environment are for image pulls: kctl, agents and the control plane use none among themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nodeagent.control.join import join
from pinnace.clock import SystemClock
from tests.support import etcdserver
from tests.support.labs import DEADLINE
from tests.support.planes import Plane, plane
from tests.support.proxy import Proxy, through_proxy


def kctl(found: Plane, *words: str) -> str:
    command = [sys.executable, "-P", "-m", "cli.main", *words, "--config", str(found.folder / "admin.yaml")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout


def local_proxy(found: Plane) -> None:
    """A request through `kctl proxy`."""
    command = [sys.executable, "-P", "-m", "cli.main", "proxy", "--port=0", "--config", str(found.folder / "admin.yaml")]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            [address] = re.findall(r"Starting to serve on (\S+)", process.stdout.readline())
            with direct.open(f"http://{address}/version", timeout=DEADLINE) as response:
                assert b"gitVersion" in response.read()
        finally:
            process.terminate()


def test_clients_of_the_control_plane_use_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of kctl, requests of the REST API, its local proxy, and the join of a node; etcd is reached without as well."""
    (tmp_path / "etcd").mkdir()
    with etcdserver.serving(tmp_path / "etcd") as etcd, through_proxy(etcd, monkeypatch) as proxy:
        with plane(tmp_path, store=f"etcd://{etcd}") as found:
            assert "etcd" in kctl(found, "version")
            assert "gitVersion" in kctl(found, "get", "--raw", "/version")
            local_proxy(found)
            token = found.token()
            join(
                found.endpoint, node="n1", token=token.token, ca_hash=token.caHash, folder=tmp_path / "node", clock=SystemClock()
            )  # fmt: skip
            assert "n1" in kctl(found, "get", "nodes")
        assert proxy.asked == []
        _the_proxy_is_asked_by_others(proxy)


def _the_proxy_is_asked_by_others(proxy: Proxy) -> None:
    """So the test can fail."""
    program = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=5)"
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=DEADLINE, env=os.environ)
    assert proxy.asked == ["GET http://192.0.2.1/ HTTP/1.1"]
