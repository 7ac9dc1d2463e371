"""Clients of Python against a lab, unmodified: each check runs in a process of its own, with the client's packages alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.kindtable import upstream
from pinnace import kinds, schema, shownfields
from tests.clients.catalogue import KOPF, LIGHTKUBE, PYTHON, Client
from tests.clients.python import samples
from tests.support import downloads
from tests.support.labs import DEADLINE, LabUnderTest, eventually

pytestmark = pytest.mark.root

PROGRAMS = Path(__file__).parent / "python"
OPERATED = "kopf.example.com"


def environment(lab: LabUnderTest, place: Path, namespace: str) -> dict[str, str]:
    """`place`: the client's packages."""
    return {**lab.environment, "PYTHONPATH": f"{place}{os.pathsep}{PROGRAMS}", "CHECK_NAMESPACE": namespace}


@contextmanager
def namespace(lab: LabUnderTest, name: str) -> Iterator[str]:
    lab.kctl("create", "namespace", name)
    try:
        yield name
    finally:
        lab.kctl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(
    ("client", "check"),
    [pytest.param(client, check, id=f"{client.name}-{check}") for client in PYTHON for check in client.checks],
)
def test_a_client_works(lab: LabUnderTest, client: Client, check: str) -> None:
    place = downloads.packages(client.name, client.requirement)
    with namespace(lab, f"{client.name}-{check}".replace("_", "-")) as name:
        done = subprocess.run(
            [sys.executable, "-P", str(PROGRAMS / f"{client.program}.py"), check], env=environment(lab, place, name),
            text=True, capture_output=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [f"{check} done"]), done.stdout + done.stderr


def test_the_names_of_kubernetes_are_those_of_the_client() -> None:
    """docs/kinds.md compares with them. To take those of a newer client: run model_names.py with it, and keep its output."""
    [client] = [found for found in PYTHON if found.name == "kubernetes"]
    place = downloads.packages(client.name, client.requirement)
    command = [sys.executable, "-P", str(PROGRAMS / "model_names.py")]
    done = subprocess.run(command, env={"PYTHONPATH": str(place)}, text=True, capture_output=True, timeout=DEADLINE, check=True)
    assert json.loads(done.stdout) == json.loads(upstream.FILE.read_text())


# Fields that validation refuses when they are empty, by rules that the schema does not have.
VALIDATED = {
    ("batch", "PodFailurePolicyOnExitCodesRequirement", "operator"), ("batch", "PodFailurePolicyOnExitCodesRequirement", "values"), ("batch", "PodFailurePolicyOnPodConditionsPattern", "type"),
    ("batch", "PodFailurePolicyRule", "action"), ("batch", "SuccessPolicy", "rules"),
    ("autoscaling", "HorizontalPodAutoscalerSpec", "maxReplicas"), ("core", "LocalVolumeSource", "path"),
    ("core", "NFSVolumeSource", "path"), ("core", "NFSVolumeSource", "server"), ("core", "NodeSelector", "nodeSelectorTerms"),
    ("core", "NodeSelectorRequirement", "key"), ("core", "NodeSelectorRequirement", "operator"),
    ("core", "PersistentVolumeClaimVolumeSource", "claimName"), ("core", "PodAffinityTerm", "topologyKey"), ("core", "PodSchedulingGate", "name"),
    ("core", "PreferredSchedulingTerm", "weight"), ("core", "TopologySelectorLabelRequirement", "key"),
    ("core", "TopologySelectorLabelRequirement", "values"), ("core", "TopologySpreadConstraint", "maxSkew"),
    ("core", "TopologySpreadConstraint", "topologyKey"), ("core", "TopologySpreadConstraint", "whenUnsatisfiable"),
    ("core", "WeightedPodAffinityTerm", "weight"), ("storage", "StorageClass", "provisioner"),
    ("core", "GRPCAction", "port"), ("meta", "LabelSelectorRequirement", "key"), ("meta", "LabelSelectorRequirement", "operator"),
    ("rbac", "PolicyRule", "verbs"), ("rbac", "RoleRef", "kind"), ("rbac", "RoleRef", "name"), ("rbac", "Subject", "kind"),
    ("rbac", "Subject", "name"),
    ("core", "EndpointAddress", "ip"), ("core", "EndpointPort", "port"), ("core", "ServicePort", "port"),
    ("core", "TypedLocalObjectReference", "kind"), ("core", "TypedLocalObjectReference", "name"),
    ("discovery", "Endpoint", "addresses"), ("discovery", "EndpointSlice", "addressType"), ("discovery", "ForNode", "name"),
    ("discovery", "ForZone", "name"), ("networking", "HTTPIngressRuleValue", "paths"), ("networking", "IPBlock", "cidr"),
    ("networking", "IngressClassParametersReference", "kind"), ("networking", "IngressClassParametersReference", "name"),
    ("networking", "IngressServiceBackend", "name"),
}  # fmt: skip


# Required in one version of a kind, and not in the other, which lightkube's names do not tell apart.
OF_ANOTHER_VERSION = {("autoscaling", "HorizontalPodAutoscalerStatus", "currentReplicas")}


def test_no_object_lacks_a_required_field() -> None:
    """What lightkube's generated types require is shown, or the object would not exist without it."""
    place = downloads.packages(LIGHTKUBE.name, LIGHTKUBE.requirement)
    command = [sys.executable, "-P", str(PROGRAMS / "required_fields.py")]
    done = subprocess.run(command, env={"PYTHONPATH": str(place)}, capture_output=True, timeout=DEADLINE, check=True)
    required = json.loads(done.stdout)
    absent = {
        (group, spec.name, name)
        for (group, spec) in messages()
        for name in required.get(f"{group}.{spec.name}", ())
        if name not in shownfields.of(spec) and may_be_absent(spec.fields.get(name))
    }
    assert absent == VALIDATED | OF_ANOTHER_VERSION


def may_be_absent(item: schema.Field | None) -> bool:
    """Whether an object may exist without a field that JSON leaves out when it is zero."""
    return item is not None and not (item.required or item.presence or item.unsupported)


def messages() -> list[tuple[str, schema.Schema]]:
    """Group and schema of all messages of which stored objects consist, without those under fields that are refused."""
    found: dict[str, schema.Schema] = {}
    pending = [schema.of(kind.cls) for kind in (*kinds.ALL, *kinds.FORMS)]
    while pending:
        spec = pending.pop()
        if spec.full_name not in found:
            found[spec.full_name] = spec
            fields = (*spec.fields.values(), *spec.inlined)
            pending += [item.message for item in fields if item.message is not None and not item.unsupported]
    return [(name.split(".")[1], spec) for name, spec in found.items()]


@contextmanager
def operating(lab: LabUnderTest, name: str, log: Path) -> Iterator[None]:
    """The operator on kopf, in one namespace."""
    place = downloads.packages("kopf", KOPF.requirement, PYTHON[0].requirement)
    command = [sys.executable, "-P", "-m", "kopf", "run", str(PROGRAMS / f"{KOPF.program}.py"), "--namespace", name]
    with open(log, "wb") as output:
        operator = subprocess.Popen(command, env=environment(lab, place, name), stdout=output, stderr=output)
    try:
        yield
    finally:
        operator.terminate()
        try:
            code = operator.wait(30)
        except subprocess.TimeoutExpired:
            operator.kill()
            operator.wait()
            raise
    text = log.read_text()
    assert (code, "Traceback" in text) == (0, False), text


def test_an_operator_on_kopf(lab: LabUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of creation, update with a retry, deletion with a finalizer; a timer, status patches, events, owned objects."""
    lab.apply(samples.definition(OPERATED))
    lab.kctl("wait", "--for=condition=Established", f"crd/boats.{OPERATED}", "--timeout=10s")
    with namespace(lab, "kopf") as name, operating(lab, name, tmp_path / "log"):
        monkeypatch.setattr(samples, "NAMESPACE", name)
        lab.apply(samples.boat(OPERATED))
        launched(lab, name)
        lab.apply(samples.boat(OPERATED, oars=10))
        eventually(lambda: status(lab, name).get("refitted") == "8 to 10")
        assert lab.get("cm", "pinnace-crew", "-n", name)["data"] == {"rowers": "10"}
        miles = status(lab, name)["miles"]
        eventually(lambda: status(lab, name)["miles"] > miles + 1)
        lab.kctl("delete", f"boats.{OPERATED}", "pinnace", "-n", name)
        assert lab.get("cm", "pinnace-wreck", "-n", name)["kind"] == "ConfigMap"
        eventually(lambda: lab.run("get", "cm", "pinnace-crew", "-n", name).returncode == 1)
    lab.kctl("delete", "crd", f"boats.{OPERATED}")


def launched(lab: LabUnderTest, name: str) -> None:
    eventually(lambda: status(lab, name)["launched"] == {"oars": 8})
    boat = found(lab, name)
    assert boat["metadata"]["finalizers"] == ["kopf.example.com/boats"]
    crew = lab.get("cm", "pinnace-crew", "-n", name)
    assert [owner["uid"] for owner in crew["metadata"]["ownerReferences"]] == [boat["metadata"]["uid"]]
    eventually(lambda: "Launched" in lab.kctl("describe", f"boats.{OPERATED}", "pinnace", "-n", name))


def found(lab: LabUnderTest, name: str) -> dict[str, Any]:
    return dict(lab.get(f"boats.{OPERATED}", "pinnace", "-n", name))


def status(lab: LabUnderTest, name: str) -> dict[str, Any]:
    return dict(found(lab, name)["status"])
