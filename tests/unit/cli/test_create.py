"""`kctl create KIND NAME` from flags, on a server in memory: the objects that kubectl makes, and its refusals."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cli import flags, main
from cli.creating import generators
from pinnace import kinds
from tests.support.kctlserver import Server
from tests.unit.cli.test_help import BANNED

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def manifest(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a dry run of the client shows, without apiVersion and kind."""
    assert main._exit_code(["create", words[0], "--dry-run=client", "-o", "json", *words[1:]]) == 0, capsys.readouterr()
    found = json.loads(capsys.readouterr().out)
    del found["apiVersion"], found["kind"]
    return found


def test_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of its name, a container named after its image."""
    found = manifest(
        capsys, "deployment", "web", "--image=registry:5000/team/app:2", "-r", "3", "--port=80", "--", "sh", "-c", "true"
    )
    labels = {"app": "web"}
    container = {
        "name": "app", "image": "registry:5000/team/app:2", "command": ["sh", "-c", "true"], "ports": [{"containerPort": 80}],
    }  # fmt: skip
    assert found == {
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip


def test_a_deployment_of_several_containers(capsys: pytest.CaptureFixture[str]) -> None:
    """Characters that no container's name has are replaced, and a suffix keeps the name unique."""
    spec = manifest(capsys, "deploy", "web", "--image=a,b@sha256:1", "--image=my_app.x")["spec"]["template"]["spec"]
    first, second, third = [item["name"] for item in spec["containers"]]
    assert (first, second) == ("a", "b")
    assert re.fullmatch(r"my-app-x-[a-z0-9]{5}", third)


def test_small_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """Quota, priority class, service account."""
    assert manifest(capsys, "quota", "q", "--hard=pods=2,requests.cpu=1", "--scopes=BestEffort") == {
        "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1"}, "scopes": ["BestEffort"]},
    }  # fmt: skip
    words = ("priorityclass", "high", "--value=-10", "--global-default", "--description=x", "--preemption-policy=Never")
    assert manifest(capsys, *words) == {
        "metadata": {"name": "high"}, "value": -10, "globalDefault": True, "description": "x", "preemptionPolicy": "Never",
    }  # fmt: skip
    assert manifest(capsys, "sa", "robot") == {"metadata": {"name": "robot"}}


def test_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    """One container of the Job's name, which is not restarted."""
    container = {"name": "once", "image": "app", "command": ["true"]}
    assert manifest(capsys, "job", "once", "--image=app", "--", "true") == {
        "metadata": {"name": "once"}, "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    }  # fmt: skip


def test_a_disruption_budget(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers and percentages; a selector with expressions."""
    found = manifest(capsys, "pdb", "b", "--selector=app=web,tier in (a,b),!old", "--min-available=50%")
    assert found["spec"] == {
        "minAvailable": "50%",
        "selector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
            ],
        },
    }  # fmt: skip
    found = manifest(capsys, "poddisruptionbudget", "b", "--selector", "app=web", "--max-unavailable=1")
    assert found["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}


def test_roles_have_a_rule_for_each_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Short names become plurals; subresources and unknown resources stay."""
    words = ("--verb=get,list", "--verb=get", "--resource=po,pods/log,deploy.apps,rs,boats.example.com")
    assert manifest(capsys, "role", "r", *words, "--resource-name=web")["rules"] == [
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"], "resourceNames": ["web"]},
        {
            "verbs": ["get", "list"],
            "apiGroups": ["apps"],
            "resources": ["deployments", "replicasets"],
            "resourceNames": ["web"],
        },
        {"verbs": ["get", "list"], "apiGroups": ["example.com"], "resources": ["boats"], "resourceNames": ["web"]},
    ]
    everything = manifest(capsys, "role", "r", "--verb=*,get", "--resource=pods,*")
    assert everything["rules"] == [{"verbs": ["*"], "apiGroups": [""], "resources": ["*"]}]


def test_cluster_roles_have_paths_and_selectors(capsys: pytest.CaptureFixture[str]) -> None:
    """In addition to resources, or alone."""
    assert manifest(capsys, "clusterrole", "r", "--verb=get", "--resource=nodes", "--non-resource-url=/logs/*")["rules"] == [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}, {"verbs": ["get"], "nonResourceURLs": ["/logs/*"]},
    ]  # fmt: skip
    found = manifest(capsys, "clusterrole", "r", "--aggregation-rule=a=b,c=d")
    assert found["aggregationRule"] == {"clusterRoleSelectors": [{"matchLabels": {"a": "b", "c": "d"}}]}


def test_bindings(capsys: pytest.CaptureFixture[str]) -> None:
    """Of users, groups and service accounts."""
    words = ("--user=ann", "--group=ops", "--serviceaccount=gen:robot")
    subjects = [
        {"kind": "User", "apiGroup": RBAC, "name": "ann"}, {"kind": "Group", "apiGroup": RBAC, "name": "ops"},
        {"kind": "ServiceAccount", "namespace": "gen", "name": "robot"},
    ]  # fmt: skip
    assert manifest(capsys, "rolebinding", "b", "--role=r", *words) == {
        "metadata": {"name": "b"}, "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"}, "subjects": subjects,
    }  # fmt: skip
    assert manifest(capsys, "rolebinding", "b", "--clusterrole=r")["roleRef"]["kind"] == "ClusterRole"
    assert manifest(capsys, "clusterrolebinding", "b", "--clusterrole=r", *words)["subjects"] == subjects


def test_objects_are_created(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's dry run stores nothing."""
    assert main._exit_code(["create", "deployment", "web", "--image=app", "--dry-run=server"]) == 0
    assert capsys.readouterr().out == "deployment.apps/web created (server dry run)\n"
    assert server.present == {}
    assert main._exit_code(["create", "deployment", "web", "--image=app"]) == 0
    assert main._exit_code(["-n", "default", "create", "role", "r", "--verb=get", "--resource=pods"]) == 0
    assert capsys.readouterr().out == f"deployment.apps/web created\nrole.{RBAC}/r created\n"
    assert server.get(kinds.DEPLOYMENT, "default", "web").spec.replicas == 1
    assert server.sent[-1][1].fieldManager == "kctl-create"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["deployment", "web"], 'required flag(s) "image" not set'),
        (["deployment", "web", "--image=a,b", "--", "sh"], "cannot specify multiple --image options and command"),
        (["deployment", "web", "--image=a", "--port=0"], 'argument --port: "0" is not a number from 1 to 65535'),
        (["deployment", "--image=a"], "the following arguments are required: name"),
        (["job", "j"], "--image must be specified"),
        (["pdb", "b", "--min-available=1"], "a selector must be specified"),
        (["pdb", "b", "--selector=a=b"], "one of min-available or max-unavailable must be specified"),
        (
            ["pdb", "b", "--selector=a=b", "--min-available=1", "--max-unavailable=1"],
            "min-available and max-unavailable cannot",
        ),
        (["pdb", "b", "--selector=a=b", "--min-available=x"], "invalid format specified for min-available"),
        (["quota", "q", "--hard=pods"], "Invalid argument syntax pods, expected <resource>=<value>"),
        (["quota", "q", "--hard=pods=x"], "pods: expected a quantity"),
        (["quota", "q", "--scopes=a,,b"], 'invalid resource quota scope ""'),
        (["role", "r", "--resource=pods"], "at least one verb must be specified"),
        (["role", "r", "--verb=get"], "at least one resource must be specified"),
        (["role", "r", "--verb=get", "--resource=/log"], "resource must be specified if apiGroup/subresource specified"),
        (["clusterrole", "r", "--verb=get"], "one of resource or nonResourceURL must be specified"),
        (["clusterrole", "r", "--verb=list", "--non-resource-url=/x"], "invalid verb: 'list' for nonResourceURL"),
        (["clusterrole", "r", "--verb=get", "--non-resource-url=x"], "nonResourceURL should start with /"),
        (["clusterrole", "r", "--verb=get", "--non-resource-url=/*/x"], "nonResourceURL only supports wildcard matches"),
        (["clusterrole", "r", "--verb=get", "--aggregation-rule=a=b"], "aggregation rule must be specified without"),
        (["rolebinding", "b"], "exactly one of clusterrole or role must be specified"),
        (["rolebinding", "b", "--role=r", "--serviceaccount=robot"], "serviceaccount must be <namespace>:<name>"),
        (["clusterrolebinding", "b"], 'required flag(s) "clusterrole" not set'),
    ],
)
def test_command_lines_that_mean_nothing_are_refused(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """In kubectl's words; nothing is sent."""
    assert main._exit_code(["create", *words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {expected}")
    assert server.sent == []


@pytest.mark.parametrize("kind", generators.GENERATORS)
def test_flags_have_help_texts(kind: Any) -> None:
    """In the words of the field, as those of every command."""
    parser = flags.Parser("create", "")
    generators.GENERATORS[kind].add_flags(parser)
    texts = [str(action.help or "") for action in parser._actions]
    assert all(texts)
    assert not [text for text in texts if BANNED.search(text)]
