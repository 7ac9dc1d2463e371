"""A soak of workloads: users change them while the control plane and agents are killed, and nodes lose power, freeze and are cut off.

`python -m tests.support.workloadsoak --seconds 600` prints a report as JSON. It fails when an object does not match its spec at the
end, an acknowledged write is lost, two pods of a StatefulSet ran at once with one identity, or anything is left on a node. The suite
runs a short form of it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.breaking import IDLE, nothing_left, settle_in
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.settled import check_settled
from tests.support.traces import traces

NODES = ("node-1", "node-2", "node-3")
# Nodes that are killed; one stays, so that pods have somewhere to go.
VICTIMS = NODES[1:]
# Seconds until a silent node is NotReady, and until its pods are evicted.
GRACE, TOLERATED = 5, 3
# Pods may wait out their back-off after several kills; then everything is to match its spec.
SETTLES_WITHIN = 180.0
# Writes a line of its own into a file of its name, again and again: lines of two pods that run at once interleave.
IDENTITY = "read -r self </proc/sys/kernel/random/uuid; trap 'exit 0' TERM; while :; do echo $self >>/shared/$HOSTNAME; usleep 100000; done"


def _kill(pid: int) -> None:
    """0 for none."""
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)


@dataclass(slots=True)
class Report:
    """Counts by name of what the soak did, and of requests that failed while the control plane was away."""

    seconds: float = 0.0
    changes: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    unacknowledged: int = 0
    jobs: int = 0

    def summary(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds), "changes": dict(self.changes), "strikes": dict(self.strikes),
            "acknowledged": self.acknowledged,
            "unacknowledged": self.unacknowledged, "jobs": self.jobs,
        }  # fmt: skip


def template(app: str, text: str = IDLE, **spec: Any) -> dict[str, Any]:
    """A pod template that leaves a lost node after TOLERATED seconds."""
    lost = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED}
        for key in ("not-ready", "unreachable")
    ]
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", text]}
    container |= spec.pop("container", {})
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, "tolerations": lost, **spec},
    }


def workload(kind: str, name: str, body: dict[str, Any], group: str = "apps/v1") -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": body}


def workloads(shared: Path) -> list[dict[str, Any]]:
    """One or two of every kind; `shared` is a directory of this machine."""

    def selecting(app: str) -> dict[str, Any]:
        return {"selector": {"matchLabels": {"app": app}}, "template": template(app)}

    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    volumes = [{"name": "shared", "hostPath": {"path": str(shared), "type": "Directory"}}]
    identity = template("db", IDENTITY, container=mount, volumes=volumes)
    claims = [
        {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }
    ]
    kept = template("store", container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    store = {**selecting("store"), "template": kept, "volumeClaimTemplates": claims, "podManagementPolicy": "Parallel"}
    job = {"template": template("tick", "exit 0", restartPolicy="Never")}
    return [
        workload("Deployment", "web", {"replicas": 4, **selecting("web")}),
        workload("Deployment", "steady", {"replicas": 3, "strategy": {"type": "Recreate"}, **selecting("steady")}),
        workload("PodDisruptionBudget", "web", {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}, "policy/v1"),
        workload("ReplicaSet", "rs", {"replicas": 2, **selecting("rs")}),
        workload("ReplicationController", "rc", {"replicas": 2, "selector": {"app": "rc"}, "template": template("rc")}, "v1"),
        workload("DaemonSet", "every", selecting("every")),
        workload("StatefulSet", "db", {"replicas": 2, "serviceName": "db", **selecting("db"), "template": identity}),
        workload("StatefulSet", "store", {"replicas": 2, "serviceName": "store", **store}),
        workload("CronJob", "tick", {"schedule": "@every 5s", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}}, "batch/v1"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter"}, "data": {"n": "0"}},
    ]  # fmt: skip


def job(name: str) -> dict[str, Any]:
    """Three indexes that take a moment each; pods that die with their node are tried again."""
    body = {"completions": 3, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 100}
    return workload("Job", name, {**body, "template": template(name, "sleep 1", restartPolicy="Never")}, "batch/v1")


class WorkloadSoak:
    def __init__(self, lab: LabUnderTest, shared: Path, seed: int) -> None:
        self._lab = lab
        self._shared = shared
        self._random = random.Random(seed)
        # By object and path: the value of the last acknowledged write, and of those since that may or may not have happened.
        self._written: dict[tuple[str, str], set[Any]] = {}
        self._jobs: list[str] = []
        self._number = 0
        self.report = Report()

    def run(self, seconds: float) -> Report:
        """Raises AssertionError when something does not match, is lost, or ran twice."""
        start = time.monotonic()
        self._lab.apply(*workloads(self._shared))
        eventually(lambda: check_settled(self._lab), within=SETTLES_WITHIN)
        while time.monotonic() - start < seconds:
            for _ in range(self._random.randrange(1, 4)):
                self._change()
            self._strike()
            self._check_identities()
        self._settle()
        self.report.seconds = time.monotonic() - start
        return self.report

    def delete_all(self) -> None:
        """Everything with an owner goes with it; each command returns once its objects are gone."""
        names = ("cronjobs", "jobs", "deployments", "statefulsets", "daemonsets", "replicasets", "rc", "pdb")
        for kind in names:
            self._lab.kctl("delete", kind, "--all", "--timeout", "100s", "--ignore-not-found")
        self._lab.kctl("delete", "persistentvolumeclaims", "--all", "--timeout", "100s", "--ignore-not-found")
        self._lab.kctl("delete", "configmap", "counter")
        eventually(lambda: not self._lab.pods() and not self._lab.get("persistentvolumes")["items"], within=60)

    # Users

    def _change(self) -> None:
        self._number += 1
        changes: dict[str, Callable[[], None]] = {
            "scale": lambda: self._patch(
                self._random.choice(("deployment/web", "rs/rs", "rc/rc", "statefulset/db", "statefulset/store")), "replicas"
            ),
            "template": self._new_template,
            "delete a pod": self._delete_pod,
            "job": self._add_job,
            "count": self._count,
        }
        name = self._random.choice(list(changes))
        self.report.changes[name] += 1
        changes[name]()

    def _patch(self, name: str, path: str) -> None:
        replicas = self._random.randrange(1, 5)
        self._write(name, path, replicas, {"spec": {"replicas": replicas}})

    def _new_template(self) -> None:
        name = self._random.choice(
            ("deployment/web", "deployment/steady", "statefulset/db", "statefulset/store", "daemonset/every")
        )
        value = str(self._number)
        self._write(name, "number", value, {"spec": {"template": {"metadata": {"annotations": {"number": value}}}}})

    def _count(self) -> None:
        value = str(self._number)
        self._write("configmap/counter", "n", value, {"data": {"n": value}})

    def _write(self, name: str, path: str, value: Any, patch: dict[str, Any]) -> None:
        """A merge patch; one that is not acknowledged may have happened."""
        result = self._lab.run("patch", name, "--type", "merge", "-p", json.dumps(patch))
        if result.returncode == 0:
            self.report.acknowledged += 1
            self._written[name, path] = {value}
        else:
            self.report.unacknowledged += 1
            self._written.setdefault((name, path), {None}).add(value)

    def _delete_pod(self) -> None:
        result = self._lab.run("get", "pods", "-o", "name")
        names = result.stdout.decode().split()
        if result.returncode == 0 and names:
            self._lab.run("delete", self._random.choice(names), "--wait=false")

    def _add_job(self) -> None:
        name = f"work-{self._number}"
        result = self._lab.run("apply", "-f", "-", stdin=json.dumps(job(name)))
        if result.returncode == 0:
            self._jobs.append(name)
            self.report.jobs += 1

    # Faults

    def _strike(self) -> None:
        """Break one thing, wait a moment, and bring it back."""
        lab, node = self._lab, self._random.choice(VICTIMS)
        strikes: dict[str, Callable[[], None]] = {
            "control plane": self._strike_control_plane,
            "agent": lambda: self._strike_agent(node),
            "launcher": lambda: _kill(lab.launcher(node)),
            "stop": lambda: self._for_a_while(("node", "stop", node), ("node", "start", node)),
            "freeze": lambda: self._for_a_while(("node", "freeze", node), ("node", "thaw", node)),
            "cut": lambda: self._for_a_while(("cut", node), ("heal", node)),
            "nothing": lambda: None,
        }
        name = self._random.choice(list(strikes))
        self.report.strikes[name] += 1
        strikes[name]()
        self._pause(2)

    def _strike_control_plane(self) -> None:
        self._lab.kill("control")
        self._pause(3)
        self._lab.start_control()

    def _strike_agent(self, node: str) -> None:
        self._lab.kill(node)
        self._pause(3)
        self._lab.start_agent(node)

    def _for_a_while(self, fault: tuple[str, ...], end: tuple[str, ...]) -> None:
        """At times for long enough that the node's pods are evicted."""
        self._lab.lab(*fault)
        self._pause(3 * (GRACE + TOLERATED))
        self._lab.lab(*end)

    def _pause(self, most: float) -> None:
        """Some moment of at most `most` seconds, with a change in it at times."""
        time.sleep(self._random.uniform(0, most / 2))
        if self._random.random() < 0.5:
            self._change()
        time.sleep(self._random.uniform(0, most / 2))

    # Checks

    def _check_identities(self) -> None:
        """No pod wrote a line after another of its name had begun."""
        for path in self._shared.iterdir():
            writers = [name for name, _ in itertools.groupby(path.read_text().split())]
            assert len(writers) == len(set(writers)), f"two pods were {path.name} at once"

    def _settle(self) -> None:
        self._lab.kctl("patch", "cronjob", "tick", "--type", "merge", "-p", '{"spec": {"suspend": true}}')
        eventually(lambda: check_settled(self._lab), within=SETTLES_WITHIN, every=0.5)
        self._check_identities()
        self._check_writes()
        for name in self._jobs:
            status = self._lab.get("job", name)["status"]
            assert (status.get("succeeded"), status.get("completedIndexes")) == (3, "0-2"), (name, status)

    def _check_writes(self) -> None:
        """The value of each written field is that of the last acknowledged write, or of a later one without an answer."""
        for (name, path), allowed in self._written.items():
            item = self._lab.get(name)
            annotations = item.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
            found = {
                "replicas": item.get("spec", {}).get("replicas"),
                "number": annotations.get("number"),
                "n": item.get("data", {}).get("n"),
            }
            initial = None in allowed
            assert initial or found[path] in allowed, f"{name} {path}: {found[path]!r} instead of {allowed}"


def soak(folder: Path, seconds: float, seed: int) -> Report:
    """A lab, the soak, and the proof that nothing is left."""
    shared = folder / "shared"
    shared.mkdir()
    flags = ("--event-ttl=60", f"--node-grace={GRACE}", "--heartbeat=2")
    with running("t-workloads", folder, nodes=len(NODES), arguments=flags) as lab:
        settle_in(lab)
        before = traces(lab)
        work = WorkloadSoak(lab, shared, seed)
        report = work.run(seconds)
        work.delete_all()
        nothing_left(lab, before)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), args.seconds, args.seed)
    print(json.dumps({**report.summary(), "mismatched": [], "leaked": [], "lost": []}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
