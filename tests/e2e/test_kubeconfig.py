"""A lab's REST API on this machine's loopback, and the kubeconfig that leads other clients to it."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.labs import LabUnderTest

pytestmark = pytest.mark.root
OTHER = {"name": "other", "cluster": {"server": "https://192.0.2.1:6443"}}


def ask(kubeconfig: Path, path: str, folder: Path) -> Any:
    """A GET by the current context, with Python's own HTTPS client."""
    config = yaml.safe_load(kubeconfig.read_text())
    by_name = {kind: {item["name"]: item[kind[:-1]] for item in config[kind]} for kind in ("clusters", "users", "contexts")}
    context = by_name["contexts"][config["current-context"]]
    cluster, user = by_name["clusters"][context["cluster"]], by_name["users"][context["user"]]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    pair = folder / "pair.pem"
    pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    tls.load_cert_chain(pair)
    with urllib.request.urlopen(cluster["server"] + path, context=tls, timeout=10) as answer:
        return json.load(answer)


def test_a_lab_is_in_the_kubeconfig_while_it_exists(tmp_path: Path) -> None:
    """Beside other clusters, at the same port after a restart, and gone with the lab."""
    lab = LabUnderTest("kubecfg", tmp_path)
    lab.kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [OTHER]}))
    try:
        lab.lab("up", "--nodes", "1")
        nodes = ask(lab.kubeconfig, "/api/v1/nodes", tmp_path)
        assert [item["metadata"]["name"] for item in nodes["items"]] == ["node-1"]
        before = yaml.safe_load(lab.kubeconfig.read_text())
        printed = tmp_path / "printed"
        printed.write_text(lab.kctl("config", "kubeconfig"))
        assert ask(printed, "/version", tmp_path)["minor"] == "37"
        lab.lab("stop")
        lab.lab("start")
        assert yaml.safe_load(lab.kubeconfig.read_text())["clusters"] == before["clusters"]
        assert ask(lab.kubeconfig, "/api/v1/nodes", tmp_path)["items"]
    finally:
        lab.lab("down")
    assert yaml.safe_load(lab.kubeconfig.read_text())["clusters"] == [OTHER]
