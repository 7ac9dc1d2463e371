"""`kctl scale`, and parts of objects in `kctl get` and `kctl patch`, against a control plane process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.support.customkinds import crontab, definition
from tests.support.planes import Plane

Run = Callable[..., subprocess.CompletedProcess[str]]
PATHS = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
NAME = "crontab.stable.example.com"


@pytest.fixture(scope="module")
def kctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """With the CronTabs a, b and c of one replica each."""
    plane = Plane(tmp_path_factory.mktemp("plane") / "state", store="memory")
    plane.start()

    def run(*arguments: str, stdin: str = "", fails: bool = False) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", "cli.main", *arguments, "--config", str(plane.folder / "admin.yaml")]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    try:
        items = [
            definition(subresources={"status": {}, "scale": PATHS}),
            *(crontab(name, labels={"app": name}) for name in "abc"),
        ]
        run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        yield run
    finally:
        plane.stop()


def replicas(kctl: Run, name: str) -> str:
    return kctl("get", "ct", name, "-o", "jsonpath={.spec.replicas}").stdout


def test_objects_are_scaled(kctl: Run) -> None:
    """By name, all, by labels, of a file; a dry run changes nothing."""
    assert kctl("scale", "ct", "a", "--replicas=3").stdout == f"{NAME}/a scaled\n"
    assert kctl("scale", "ct/a", "ct/b", "--replicas=4", "-o", "name").stdout == f"{NAME}/a\n{NAME}/b\n"
    assert (replicas(kctl, "a"), replicas(kctl, "b"), replicas(kctl, "c")) == ("4", "4", "1")
    kctl("scale", "ct", "-l", "app=c", "--replicas=2")
    assert replicas(kctl, "c") == "2"
    assert kctl("scale", "ct", "--all", "--replicas=9", "--dry-run").stdout.count("scaled (server dry run)\n") == 3
    assert replicas(kctl, "a") == "4"
    assert kctl("scale", "-f", "-", "--replicas=5", stdin=json.dumps(crontab("c"))).stdout == f"{NAME}/c scaled\n"
    assert replicas(kctl, "c") == "5"
    found = kctl("get", "ct", "a", "-o", "json", "--show-managed-fields").stdout
    entry = next(item for item in json.loads(found)["metadata"]["managedFields"] if item.get("subresource") == "scale")
    assert (entry["manager"], entry["fieldsV1"]) == ("kctl-scale", {"f:spec": {"f:replicas": {}}})


def test_conditions_and_errors(kctl: Run) -> None:
    """The others are scaled; what cannot be scaled is an error."""
    kctl("scale", "ct", "a", "b", "--replicas=3")
    kctl("scale", "ct", "a", "--replicas=4")
    found = kctl("scale", "ct", "a", "b", "--replicas=5", "--current-replicas=4", fails=True)
    assert (found.stdout, found.stderr) == (
        f"{NAME}/a scaled\n",
        "Error from server (Conflict): Expected replicas to be 4, was 3\n",
    )
    version = kctl("get", "ct", "a", "-o", "jsonpath={.metadata.resourceVersion}").stdout
    assert (
        "Expected resource version to be 1, was"
        in kctl("scale", "ct", "a", "--replicas=6", "--resource-version=1", fails=True).stderr
    )
    kctl("scale", "ct", "a", "--replicas=6", "--resource-version", version)
    assert (replicas(kctl, "a"), replicas(kctl, "b")) == ("6", "3")
    assert "should be less than or equal to 10" in kctl("scale", "ct", "a", "--replicas=11", fails=True).stderr
    assert 'namespaces has no subresource "scale"' in kctl("scale", "ns", "default", "--replicas=1", fails=True).stderr
    assert '"-1" is not a number from 0 to 2147483647' in kctl("scale", "ct", "a", "--replicas=-1", fails=True).stderr
    assert 'crontabs.stable.example.com "none" not found' in kctl("scale", "ct", "none", "--replicas=1", fails=True).stderr
    assert "no name was specified" in kctl("scale", "ct", "--replicas=1", fails=True).stderr


def test_parts_of_objects_are_shown_and_patched(kctl: Run) -> None:
    """In the form of the part."""
    kctl("patch", "ct", "b", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":2}}')
    assert kctl("patch", "ct", "b", "--subresource=scale", "-p", '{"spec":{"replicas":7}}').stdout == f"{NAME}/b patched\n"
    header, row = (line.split() for line in kctl("get", "ct", "b", "--subresource=scale").stdout.splitlines())
    assert (header, row[:3]) == (["NAME", "DESIRED", "AVAILABLE", "AGE"], ["b", "7", "2"])
    shown = json.loads(kctl("get", "ct/b", "--subresource=scale", "-o", "json").stdout)
    assert (shown["apiVersion"], shown["kind"], shown["spec"], shown["status"]) == (
        "autoscaling/v1",
        "Scale",
        {"replicas": 7},
        {"replicas": 2},
    )
    assert json.loads(kctl("get", "ct/b", "--subresource=status", "-o", "json").stdout)["kind"] == "CronTab"
    assert "bulk resources" in kctl("get", "ct", "--subresource=scale", fails=True).stderr
    assert "cannot be used together" in kctl("get", "ct", "b", "--subresource=scale", "-w", fails=True).stderr
