"""The examples do as README.md shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.labs import ROOT, LabUnderTest, eventually

pytestmark = pytest.mark.root
WEB = ROOT / "examples/web.yaml"


@pytest.fixture
def web(lab: LabUnderTest) -> Iterator[str]:
    """What `apply` prints."""
    yield lab.kctl("apply", "-f", str(WEB))
    lab.kctl("delete", "-f", str(WEB), "--now")


def test_a_page_is_fetched_by_the_name_of_its_service(lab: LabUnderTest, web: str) -> None:
    assert web.splitlines() == ["configmap/page created", "pod/web created", "service/web created", "pod/client created"]
    lab.kctl("wait", "pod", "-l", "app=demo", "--for=condition=Ready", "--timeout=60s")
    items: list[dict[str, Any]] = list(yaml.safe_load_all(WEB.read_text()))
    page = next(item["data"]["index.html"] for item in items if item["kind"] == "ConfigMap")
    eventually(lambda: lab.run("exec", "client", "--", "wget", "-qO-", "http://web").stdout.decode() == page)
