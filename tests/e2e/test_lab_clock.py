"""A lab's time is advanced: what waits for a time acts as if it had come, and no live node is lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.labs import KctlError, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
HOUR = 3600
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-clock", tmp_path_factory.mktemp("clock"), nodes=2) as found:
        yield found


def template(*command: str) -> dict[str, Any]:
    spec = pod("x", *command)["spec"]
    return {"spec": {**spec, "restartPolicy": "Never"}}


def job(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template("true"), **spec}}


def names(lab: LabUnderTest, kind: str) -> list[str]:
    return [item["metadata"]["name"] for item in lab.get(kind)["items"]]


def shown(lab: LabUnderTest) -> datetime:
    """The time that `kctl lab clock` prints."""
    return seconds(lab.lab("clock").split()[2].rstrip(","))


def seconds(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def readiness(lab: LabUnderTest) -> dict[str, str]:
    return {
        node["metadata"]["name"]: next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
        for node in lab.get("nodes")["items"]
    }


def claims(lab: LabUnderTest, name: str) -> dict[str, Any]:
    """Of the token that a pod has."""
    body = lab.kctl("exec", name, "--", "cat", TOKEN).split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def test_an_hour_passes_at_once(lab: LabUnderTest) -> None:
    """A CronJob creates its Job, a finished Job is deleted, a pod's deadline passes and its token is renewed."""
    cron = {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": template("true")}}}
    lab.apply(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "hourly"}, "spec": cron},
        job("brief", ttlSecondsAfterFinished=3000),
        pod("bounded", activeDeadlineSeconds=1800),
        pod("client"),
    )
    lab.kctl("wait", "--for=condition=complete", "job/brief", "--timeout", "60s")
    lab.kctl("wait", "--for=condition=ready", "pod/bounded", "pod/client", "--timeout", "60s")
    before, token = shown(lab), claims(lab, "client")
    assert lab.lab("clock", "advance", "1h").endswith("1h0m0s ahead of this machine\n")
    assert (shown(lab) - before).total_seconds() == pytest.approx(HOUR, abs=60)

    [made] = eventually(lambda: [name for name in names(lab, "jobs") if name.startswith("hourly-")])
    lab.kctl("wait", "--for=condition=complete", f"job/{made}", "--timeout", "60s")
    eventually(lambda: "brief" not in names(lab, "jobs"))
    eventually(lambda: lab.pods()["bounded"]["status"].get("reason") == "DeadlineExceeded")
    eventually(lambda: claims(lab, "client")["exp"] > token["exp"] and claims(lab, "client")["iat"] >= token["iat"] + HOUR - 60)
    assert readiness(lab) == {"node-1": "True", "node-2": "True"}
    assert "NodeNotReady" not in lab.kctl("get", "events", "-A")


def test_many_missed_times_make_one_job(lab: LabUnderTest) -> None:
    """As after a control plane that was down for two days."""
    before = set(names(lab, "jobs"))
    lab.lab("clock", "advance", "48h")
    [made] = eventually(lambda: [name for name in names(lab, "jobs") if name.startswith("hourly-") and name not in before])
    lab.kctl("wait", "--for=condition=complete", f"job/{made}", "--timeout", "60s")
    assert readiness(lab) == {"node-1": "True", "node-2": "True"}
    assert len([name for name in names(lab, "jobs") if name not in before]) == 1


def test_times_of_containers_are_those_of_the_lab(lab: LabUnderTest) -> None:
    """Monitors know the machine's clock alone; the back-off between restarts ends with an advance, and not before."""
    lab.apply(pod("crashing", "sh", "-c", "exit 1", restartPolicy="Always"))
    status = lambda: lab.pods()["crashing"]["status"]["containerStatuses"][0]  # noqa: E731
    waits = lambda: status()["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" and status()  # noqa: E731
    found = eventually(lambda: status()["restartCount"] >= 2 and waits())
    ended = found["lastState"]["terminated"]["finishedAt"]
    assert abs((seconds(ended) - shown(lab)).total_seconds()) < 600
    count = found["restartCount"]
    lab.lab("clock", "advance", "10m")
    eventually(lambda: status()["restartCount"] > count and waits(), within=15)
    events = lab.kctl("describe", "pod", "crashing")
    assert "invalid" not in events


def test_the_time_survives_restarts(lab: LabUnderTest) -> None:
    """Of the control plane, of an agent and of the whole lab; nothing fires twice."""
    jobs, started = names(lab, "jobs"), lab.pods()["client"]["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    ahead = lab.lab("clock").partition(", ")[2]
    lab.kill("control")
    lab.kill("node-1")
    lab.kill("node-2")
    lab.start_control()
    lab.start_agent("node-1")
    lab.start_agent("node-2")
    assert lab.lab("clock").partition(", ")[2] == ahead
    lab.lab("start")
    found = lab.pods()["client"]["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert abs((seconds(found) - seconds(started)).total_seconds()) < 2
    assert names(lab, "jobs") == jobs
    assert (shown(lab) - datetime.now(UTC)).total_seconds() > 48 * HOUR


def test_a_dead_node_is_lost_at_once_and_its_pods_are_evicted_by_the_next_advance(lab: LabUnderTest) -> None:
    """Of two nodes the live one stays Ready."""
    lab.apply(pod("doomed", nodeName="node-2"))
    lab.kctl("wait", "--for=condition=ready", "pod/doomed", "--timeout", "60s")
    lab.lab("node", "stop", "node-2")
    lab.lab("clock", "advance", "1m")
    eventually(lambda: readiness(lab) == {"node-1": "True", "node-2": "Unknown"}, within=10)
    taints = lambda: [taint["effect"] for taint in lab.get("node", "node-2")["spec"].get("taints", [])]  # noqa: E731
    eventually(lambda: "NoExecute" in taints())
    lab.lab("clock", "advance", "5m")
    eventually(lambda: lab.pods()["doomed"]["metadata"].get("deletionTimestamp"))
    assert readiness(lab)["node-1"] == "True"
    lab.lab("node", "start", "node-2")
    assert readiness(lab) == {"node-1": "True", "node-2": "True"}


def test_a_frozen_node_is_waited_for_until_it_is_late(lab: LabUnderTest) -> None:
    """Its agent is connected and silent; when it returns it has the time of the lab."""
    lab.lab("node", "freeze", "node-2")
    said = lab.run("lab", "clock", "advance", "1m", "--name", lab.name)
    assert said.returncode == 0
    assert b"warning: the agent of node node-2 is connected and gave no sign of life" in said.stderr
    eventually(lambda: readiness(lab) == {"node-1": "True", "node-2": "Unknown"}, within=10)
    lab.lab("node", "thaw", "node-2")
    eventually(lambda: readiness(lab) == {"node-1": "True", "node-2": "True"})
    lab.apply(pod("late", nodeName="node-2"))
    lab.kctl("wait", "--for=condition=ready", "pod/late", "--timeout", "60s")
    assert abs((seconds(lab.pods()["late"]["status"]["startTime"]) - shown(lab)).total_seconds()) < 300
    assert lab.lab("clock").partition(", ")[2].strip() in lab.lab("status")


def test_lines_of_logs_have_the_time_of_the_machine(lab: LabUnderTest) -> None:
    """What is asked for by its age is found all the same."""
    lab.apply(pod("talking", "sh", "-c", "echo hello; sleep 1000"))
    eventually(lambda: "hello" in lab.kctl("logs", "talking"))
    lab.lab("clock", "advance", "1h")
    raw = "/api/v1/namespaces/default/pods/talking/log?sinceSeconds=600"
    assert lab.kctl("logs", "talking", "--since=10m") == lab.kctl("get", "--raw", raw) == "hello\n"


def test_time_is_advanced_by_seconds_too(lab: LabUnderTest) -> None:
    before = shown(lab)
    lab.lab("clock", "advance", "90")
    assert 90 <= (shown(lab) - before).total_seconds() < 150


@pytest.mark.parametrize(
    "words", [("advance",), ("advance", "0s"), ("advance", "--", "-1h"), ("advance", "100000h"), ("show", "1h"), ("reset",)]
)
def test_what_is_no_advance_is_refused(lab: LabUnderTest, words: tuple[str, ...]) -> None:
    """Nor does time go back."""
    before = lab.lab("clock").partition(", ")[2]
    with pytest.raises(KctlError, match="error"):
        lab.kctl("lab", "clock", "--name", lab.name, *words)
    assert lab.lab("clock").partition(", ")[2] == before
