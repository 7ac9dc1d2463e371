"""A Job on the node of a lab: its pod prints, succeeds and is counted; one that fails is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.labs import ROOT, LabUnderTest, eventually, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-jobs", tmp_path_factory.mktemp("jobs"), nodes=1) as found:
        yield found


def pods_of(lab: LabUnderTest, name: str) -> list[str]:
    found = lab.pods("-l", f"batch.kubernetes.io/job-name={name}").values()
    return [item["metadata"]["name"] for item in found]


def test_the_example_runs_each_index_once(lab: LabUnderTest) -> None:
    """Three indexes, each of which prints its own; complete, and gone with its pods when it is deleted."""
    lab.kctl("apply", "-f", str(ROOT / "examples/job.yaml"))
    lab.kctl("wait", "--for=condition=complete", "job/count", "--timeout", "60s")
    status = lab.get("job", "count")["status"]
    assert (status["succeeded"], status["completedIndexes"], status.get("failed", 0)) == (3, "0-2", 0)
    names = pods_of(lab, "count")
    assert sorted(lab.kctl("logs", name).strip() for name in names) == ["index 0", "index 1", "index 2"]
    row = lab.kctl("get", "jobs").splitlines()[1].split()
    assert row[:3] == ["count", "Complete", "3/3"]
    lab.kctl("delete", "job", "count")
    eventually(lambda: pods_of(lab, "count") == [])


def test_a_job_that_fails_says_so(lab: LabUnderTest) -> None:
    """Its only try ends with 3."""
    item: dict[str, Any] = yaml.safe_load((ROOT / "examples/job.yaml").read_text())
    item["metadata"]["name"] = "broken"
    item["spec"] = {"backoffLimit": 0, "template": item["spec"]["template"]}
    item["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", "exit 3"]
    lab.apply(item)
    lab.kctl("wait", "--for=condition=failed", "job/broken", "--timeout", "60s")
    [failed] = [each for each in lab.get("job", "broken")["status"]["conditions"] if each["type"] == "Failed"]
    assert failed["reason"] == "BackoffLimitExceeded"
