"""Helm against a lab: releases of the charts in tests/clients/chart and tests/clients/fleet. Each row is a command, its exit code and what it prints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import downloads
from tests.support.labs import DEADLINE, LabUnderTest, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

CHARTS = {name.upper(): str(Path(__file__).parent / name) for name in ("chart", "fleet")}
BOATS = "boats.helm.example.com"
# Of everything that waits for pods.
WAIT = "--wait --timeout 90s"


@dataclass(frozen=True)
class Helm:
    path: str
    lab: LabUnderTest
    namespace: str
    driver: str = "secret"

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Both outputs together; fails unless it exits with `code`."""
        done = subprocess.run(
            [self.path, "--namespace", self.namespace, *arguments], text=True, capture_output=True, timeout=DEADLINE, check=False,
            env={**self.lab.environment, "HELM_DRIVER": self.driver},
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def check(self, rows: list[tuple[str, str]], *, code: int = 0) -> None:
        """Each command prints what the pattern says, in order; CHART and FLEET stand for their paths."""
        for command, pattern in rows:
            found = self(*(CHARTS.get(word, word) for word in command.split()), code=code)
            assert re.search(pattern, found, re.MULTILINE), (command, pattern, found)

    def get(self, kind: str, name: str) -> dict[str, object]:
        return dict(self.lab.get(kind, name, "-n", self.namespace))

    def names(self, kind: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.lab.get(kind, "-n", self.namespace)["items"]}


@pytest.fixture(scope="module")
def path(lab: LabUnderTest) -> Iterator[str]:
    """Of the program; afterwards the chart's definition is removed, which Helm leaves."""
    yield downloads.helm()
    lab.kctl("delete", "crd", BOATS, "--ignore-not-found")


@pytest.fixture
def helm(lab: LabUnderTest, path: str, request: pytest.FixtureRequest) -> Iterator[Helm]:
    """With a namespace that only the test uses; Helm makes it."""
    namespace = "helm-" + re.sub("[^a-z]+", "-", request.node.name)[len("test-") :][:50].strip("-")
    yield Helm(path, lab, namespace)
    lab.kctl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def test_a_release_from_install_to_uninstall(helm: Helm) -> None:
    """With a definition and an object of it, hooks, a test, waiting; what is left is what Helm leaves."""
    helm.check([
        (f"install one CHART --create-namespace {WAIT}", r"^STATUS: deployed$[\s\S]*^one says hello in helm-a-release.*, revision 1"),
        ("list", rf"^NAME.*\none\s+{helm.namespace}\s+1\s.*\sdeployed\s+boats-1.2.3\s+7"),
        ("list --all-namespaces --filter ^on.$ -o json", r'"name":"one".*"revision":"1"'),
        # Kinds have no order.
        ("status one", r"^STATUS: deployed$(?=[\s\S]*==> v1/Pod\nNAME +READY .*\none-hello +1/1 +Running)[\s\S]*==> v1/Boat\nNAME +OARS\none +8"),
        ("get manifest one", r"^kind: Boat$"),
        ("get hooks one", r"helm.sh/hook: pre-install"),
        ("get values one --all", r"^greeting: hello$"),
        ("get notes one", "one says hello"),
        ("get metadata one", r"^APPLY_METHOD: server-side apply"),
        ("get all one", r"^REVISION: 1$"),
        ("test one --logs", r"^Phase: +Succeeded[\s\S]*^read: hello$"),
        ("template one CHART --dry-run=server", r"knowsPods: \"true\"\n  knowsRoles: \"true\"\n  found: \"kube-system\""),
        ("upgrade one CHART --set greeting=ahoy --dry-run=server", r"^STATUS: pending-upgrade$[\s\S]*greeting: \"ahoy\""),
        ("history one", r"^1\s.*deployed\s.*Install complete"),
        (f"upgrade one CHART --set greeting=ahoy,oars=4 {WAIT}", r"^one says ahoy in .*, revision 2"),
    ])  # fmt: skip
    assert helm.get("boats", "one")["spec"] == {"oars": 4, "crew": [f"rower-{number}" for number in range(4)]}
    has_pods(helm, "one-ahoy", "one-post-install", "one-test")
    helm.check([
        ("upgrade one CHART --reuse-values --set oars=5", "revision 3"),
        ("get values one", r"^greeting: ahoy\noars: 5$"),
        (f"rollback one 1 {WAIT}", "Rollback was a success"),
        ("history one", r"^1\s.*superseded[\s\S]*^3\s.*superseded[\s\S]*^4\s.*deployed\s.*Rollback to 1"),
        ("status one --revision 2", r"^REVISION: 2$"),
    ])  # fmt: skip
    has_pods(helm, "one-hello", "one-post-install", "one-test")
    helm.check([
        ("uninstall one --wait --keep-history", 'release "one" uninstalled'),
        ("list --uninstalled", r"^one\s.*\suninstalled"),
        ("list --deployed", r"APP VERSION *\s*\Z"),
    ])  # fmt: skip
    has_pods(helm, "one-post-install", "one-test")
    assert helm.names("boats") == set()
    assert BOATS in {item["metadata"]["name"] for item in helm.lab.get("crd")["items"]}


def has_pods(helm: Helm, *names: str) -> None:
    """And no others, once those that are deleted have ended."""
    eventually(lambda: helm.names("pods") == set(names))


def test_what_fails_is_told_and_undone(helm: Helm) -> None:
    """A failed hook stops an upgrade; with --rollback-on-failure the release is as before."""
    helm.check([(f"install two CHART --create-namespace {WAIT}", "^STATUS: deployed$")])
    helm.check([
        ("upgrade two CHART --set-string hook=false --timeout 60s", r"pre-upgrade hooks failed: .*Pod.*two-pre-upgrade.*[Ff]ailed"),
        ("upgrade two CHART --set-string hook=false --timeout 60s --rollback-on-failure", "has been rolled back"),
        ("upgrade two CHART --set oars=0", r'Boat.helm.example.com "two" is invalid: spec.oars: Invalid value: 0: .*greater than or equal to 1'),
    ], code=1)  # fmt: skip
    helm.check([
        ("history two", r"^2\s.*failed[\s\S]*^3\s.*failed[\s\S]*^4\s.*deployed\s.*Rollback to 1[\s\S]*^5\s.*failed"),
        ("upgrade --install two CHART --set oars=2", "revision 6"),
        ("uninstall two --cascade foreground --wait", "uninstalled"),
    ])  # fmt: skip
    eventually(lambda: "two-hello" not in helm.names("pods"))


def test_both_ways_of_applying(helm: Helm) -> None:
    """From client-side patches to server-side apply and back, over fields that another manager has changed, and by replacing."""
    patched, applied = "--no-hooks --server-side=false", "--no-hooks --server-side=true"
    helm.check([
        (f"install three CHART --create-namespace {patched} --wait=legacy --timeout 90s", "^STATUS: deployed$"),
        (f"upgrade three CHART {patched} --set oars=3", "revision 2"),
        # Helm passes on what it has written as an updater.
        (f"upgrade three CHART {applied} --set oars=4", "revision 3"),
    ])  # fmt: skip
    assert {("helm", "Apply")} == managers(helm, "boats", "three")
    helm.lab.kctl("patch", "boats", "three", "-n", helm.namespace, "--type", "merge", "-p", json.dumps({"spec": {"oars": 9}}))
    helm.check(
        [
            (
                "upgrade three CHART --no-hooks --set oars=5",
                r'conflict occurred .*conflict with "kctl-patch" using helm.example.com/v1: .spec.oars',
            )
        ],
        code=1,
    )
    helm.check([
        ("upgrade three CHART --no-hooks --set oars=5 --force-conflicts", "revision 5"),
        (f"upgrade three CHART {patched} --set oars=6", "revision 6"),
    ])  # fmt: skip
    assert helm.get("boats", "three")["spec"] == {"oars": 6, "crew": [f"rower-{number}" for number in range(6)]}
    helm.check([(f"upgrade three CHART {patched} --force-replace --set oars=7,greeting=ahoy", "revision 7")])
    assert helm.get("cm", "three-settings")["data"]["greeting"] == "ahoy"  # type: ignore[index]


def managers(helm: Helm, kind: str, name: str) -> set[tuple[str, str]]:
    """Who owns fields, and how they came to."""
    found = json.loads(helm.lab.kctl("get", kind, name, "-n", helm.namespace, "-o", "json", "--show-managed-fields"))
    return {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}


def test_helm_is_told_what_is_wrong(helm: Helm) -> None:
    """Objects of others, users without permission, names that lead nowhere."""
    helm.lab.kctl("create", "namespace", helm.namespace)
    helm.lab.kctl("create", "configmap", "four-settings", "-n", helm.namespace)
    helm.check([
        ("install four CHART", r'ConfigMap "four-settings" in namespace .* exists and cannot be imported'),
        ("install five CHART --kube-as-user bob", r'is forbidden: User "bob" cannot (patch|get|create) resource'),
        ("list --kube-as-user bob", r'secrets is forbidden: User "bob" cannot list resource "secrets" in API group ""'),
        ("get all nope", "release: not found"),
        ("rollback nope", "release: not found"),
        ("install five CHART --namespace nowhere", 'namespaces "nowhere" not found'),
    ], code=1)  # fmt: skip
    helm.check([
        ("install four CHART --take-ownership --no-hooks", "^STATUS: deployed$"),
        ("uninstall four", "uninstalled"),
    ])  # fmt: skip
    eventually(lambda: "four-settings" not in helm.names("cm"))


def test_releases_are_kept_in_config_maps_too(helm: Helm) -> None:
    """With labels of the user's."""
    stored = Helm(helm.path, helm.lab, helm.namespace, driver="configmap")
    stored.check([
        ("install six CHART --create-namespace --no-hooks --labels a=b", "^STATUS: deployed$"),
        ("list --selector a=b --short", "^six$"),
        ("upgrade six CHART --no-hooks --set oars=2", "revision 2"),
    ])  # fmt: skip
    assert {name for name in helm.names("cm") if name.startswith("sh.helm")} == {
        f"sh.helm.release.v1.six.v{number}" for number in (1, 2)
    }
    stored.check([("uninstall six --no-hooks", "uninstalled")])


@pytest.mark.parametrize("wait", ["--wait", "--wait=legacy"])
def test_helm_waits_for_workloads(helm: Helm, wait: str) -> None:
    """Until every kind is ready and Jobs are complete; a rollout that never becomes ready fails the upgrade."""
    waits = f"{wait} --wait-for-jobs --timeout 90s"
    helm.check([(f"install seven FLEET --create-namespace {waits}", "^STATUS: deployed$")])
    assert ready(helm) == {"web": 2, "db": 2, "log": 2, "setup-one": 1}
    helm.check([(f"upgrade seven FLEET --set tag=two {waits}", "revision 2|^REVISION: 2$")])
    assert ready(helm) == {"web": 2, "db": 2, "log": 2, "setup-two": 1}
    assert tags(helm) == {"two"}
    helm.check([(f"upgrade seven FLEET --set ready=false {wait} --timeout 5s", "(?i)deadline exceeded|not ready")], code=1)
    helm.check([
        (f"rollback seven 2 {waits}", "Rollback was a success"),
        ("uninstall seven --wait --timeout 90s", "uninstalled"),
    ])  # fmt: skip
    eventually(lambda: not helm.names("pods"))


def ready(helm: Helm) -> dict[str, object]:
    """By name: pods that are ready, or for a Job, that have succeeded."""
    found = {}
    for kind, counter in (
        ("deployments", "readyReplicas"),
        ("sts", "readyReplicas"),
        ("ds", "numberReady"),
        ("jobs", "succeeded"),
    ):
        for item in helm.lab.get(kind, "-n", helm.namespace)["items"]:
            found[item["metadata"]["name"]] = item["status"].get(counter, 0)
    return found


def tags(helm: Helm) -> set[str]:
    """Those of pods that are not terminating."""
    items = helm.lab.get("pods", "-n", helm.namespace, "-l", "fleet=seven")["items"]
    live = [item for item in items if "deletionTimestamp" not in item["metadata"]]
    return {item["spec"]["containers"][0]["env"][0]["value"] for item in live}
