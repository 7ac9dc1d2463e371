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


def test_logs_of_a_job_are_those_of_its_pod(lab: LabUnderTest) -> None:
    """Named by the Job, also when it has ended."""
    item: dict[str, Any] = yaml.safe_load((ROOT / "examples/job.yaml").read_text())
    item["metadata"]["name"] = "one"
    item["spec"] |= {"completions": 1, "parallelism": 1}
    lab.apply(item)
    lab.kctl("wait", "--for=condition=complete", "job/one", "--timeout", "60s")
    assert lab.kctl("logs", "job/one").strip() == "index 0"


def test_a_cron_job_creates_a_job(lab: LabUnderTest) -> None:
    """Which completes; both are gone when the CronJob is deleted."""
    item: dict[str, Any] = yaml.safe_load((ROOT / "examples/job.yaml").read_text())
    spec = {"schedule": "@every 2s", "jobTemplate": {"spec": item["spec"]}}
    lab.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": spec})
    eventually(lambda: lab.get("cronjob", "tick")["status"].get("lastSuccessfulTime"), within=60.0)
    row = lab.kctl("get", "cronjobs").splitlines()[1].split()
    assert row[:5] == ["tick", "@every", "2s", "<none>", "False"]
    lab.kctl("delete", "cronjob", "tick")
    eventually(lambda: not [job for job in lab.get("jobs")["items"] if job["metadata"]["name"].startswith("tick-")])
