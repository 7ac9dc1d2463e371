"""kctl and custom kinds, against a control plane process: as users work with an operator's definition."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.customkinds import crontab, definition
from tests.support.planes import Plane

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A kctl whose context is a new control plane's."""
    plane = Plane(tmp_path_factory.mktemp("plane") / "state", store="memory")
    plane.start()

    def run(*arguments: str, stdin: str = "", fails: bool = False) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", "cli.main", *arguments, "--config", str(plane.folder / "admin.yaml")]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    try:
        yield run
    finally:
        plane.stop()


COLUMNS = [
    {"name": "Schedule", "type": "string", "jsonPath": ".spec.cronSpec"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Image", "type": "string", "jsonPath": ".spec.image", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def test_a_definition_and_its_objects_in_one_file(kctl: Run, tmp_path: Path) -> None:
    """Apply waits until the kind is established; every command takes the kind by any of its names."""
    path = tmp_path / "all.json"
    made = definition(additionalPrinterColumns=COLUMNS)
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] = "What to run, and when."
    objects = {"apiVersion": "v1", "kind": "List", "items": [made, crontab(image="busybox", labels={"a": "b"})]}
    path.write_text(json.dumps(objects))
    assert kctl("apply", "-f", str(path)).stdout.splitlines() == [
        "customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created",
        "crontab.stable.example.com/backup created",
    ]  # fmt: skip
    assert kctl("wait", "crd/crontabs.stable.example.com", "--for=condition=Established").stdout
    lines = kctl("get", "ct").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SCHEDULE", "REPLICAS", "AGE"]
    assert lines[1].split()[:1] == ["backup"]
    assert "IMAGE" in kctl("get", "crontabs.stable.example.com", "-o", "wide").stdout
    shown = json.loads(kctl("get", "crontab", "backup", "-o", "json").stdout)
    assert (shown["apiVersion"], shown["kind"], shown["spec"]["replicas"]) == ("stable.example.com/v1", "CronTab", 1)
    assert "cronSpec" in kctl("describe", "crontab/backup").stdout
    assert "crontabs" in kctl("api-resources").stdout
    assert kctl("wait", "crontab/backup", "--for=jsonpath={.spec.replicas}=1").stdout
    page = kctl("explain", "crontabs.spec").stdout
    assert "What to run, and when." in page
    assert "cronSpec\t<string> -required-" in page
    kctl("patch", "crontab", "backup", "--type", "merge", "-p", '{"spec":{"replicas":2}}')
    assert kctl("get", "ct", "backup", "-o", "jsonpath={.spec.replicas}").stdout == "2"
    assert kctl("delete", "-f", str(path)).stdout.splitlines()[0].startswith("crontab")


def test_errors_name_the_line_of_the_file(kctl: Run) -> None:
    """The server's causes are found in the manifest."""
    kctl("apply", "-f", "-", stdin=json.dumps(definition()))
    text = "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: x}\nspec:\n  cronSpec: '* * * * *'\n  replicas: 99\n"
    found = kctl("apply", "-f", "-", stdin=text, fails=True)
    assert "stdin:6: spec.replicas: Invalid value: 99: spec.replicas in body should be less than or equal to 10" in found.stderr
    kctl("delete", "crd", "crontabs.stable.example.com")
    assert "doesn't have a resource type" in kctl("get", "crontabs", fails=True).stderr
