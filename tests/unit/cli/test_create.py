"""`kctl create KIND NAME` from flags, on a server in memory: the objects that kubectl makes, and its refusals."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli import flags, main
from cli.creating import generators
from pinnace import kinds, pki
from tests.support.kctlserver import Server, made
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


def test_flags_may_stand_before_the_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """As in kubectl."""
    assert main._exit_code(["create", "-o", "name", "--dry-run=client", "-n", "team", "cm", "page", "--from-literal=a=b"]) == 0
    assert capsys.readouterr().out == "configmap/page\n"


def test_an_ingress(capsys: pytest.CaptureFixture[str]) -> None:
    """Rules by host, prefixes by their asterisk, certificates by Secret, and what catches the rest."""
    found = manifest(
        capsys, "ingress", "web", "--class=outer", "--rule=a.com/x*=one:80,tls=pair", "--rule=b.com/=two:http,tls=pair",
        "--rule=a.com/y=one:81", "--default-backend=rest:web", "--annotation=k=v=w",
    )  # fmt: skip

    def path(text: str, how: str, service: str, **port: Any) -> dict[str, Any]:
        return {"path": text, "pathType": how, "backend": {"service": {"name": service, "port": port}}}

    assert found == {
        "metadata": {"name": "web", "annotations": {"k": "v=w"}},
        "spec": {
            "ingressClassName": "outer",
            "defaultBackend": {"service": {"name": "rest", "port": {"name": "web"}}},
            "tls": [{"hosts": ["a.com", "b.com"], "secretName": "pair"}],
            "rules": [
                {
                    "host": "a.com",
                    "http": {"paths": [path("/x", "Prefix", "one", number=80), path("/y", "Exact", "one", number=81)]},
                },
                {"host": "b.com", "http": {"paths": [path("/", "Exact", "two", name="http")]}},
            ],
        },
    }


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "not enough information provided: every ingress has to either specify"),
        (["--rule=a.com=one:80"], "rule a.com=one:80 is invalid and should be in format host/path=svcname:svcport"),
        (["--rule=/=one:80,tls=a,b"], "is invalid and should be in format"),
        (["--rule=/=one:80", "--annotation=x"], "annotation x is invalid"),
        (["--default-backend=one"], "default-backend should be in format servicename:serviceport"),
    ],
)
def test_an_ingress_that_lacks_something(capsys: pytest.CaptureFixture[str], words: list[str], error: str) -> None:
    """kubectl's words."""
    assert main._exit_code(["create", "ingress", "web", "--dry-run=client", *words]) == 1
    assert error in capsys.readouterr().err


def test_a_cron_job(capsys: pytest.CaptureFixture[str]) -> None:
    """With the name of its Jobs and of their container."""
    words = ("cronjob", "often", "--image=app", "--schedule=*/5 * * * *", "--", "date")
    container = {"name": "often", "image": "app", "command": ["date"]}
    spec = {"template": {"spec": {"containers": [container], "restartPolicy": "OnFailure"}}}
    expected = {"schedule": "*/5 * * * *", "jobTemplate": {"metadata": {"name": "often"}, "spec": spec}}
    assert manifest(capsys, *words) == {"metadata": {"name": "often"}, "spec": expected}
    spec["template"]["spec"]["restartPolicy"] = "Never"
    assert manifest(capsys, "cj", *words[1:4], "--restart=Never", *words[4:])["spec"] == expected


def test_a_job_of_a_cron_job(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, annotations and spec are the template's; the CronJob owns it."""
    template = {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "app"}]}}, "backoffLimit": 3},
    }
    server.put(made(kinds.CRON_JOB, "often", spec={"schedule": "@daily", "jobTemplate": template}))
    assert manifest(capsys, "job", "now", "--from=cronjob/often") == {
        "metadata": {
            "name": "now", "labels": {"a": "b"}, "annotations": {"cronjob.kubernetes.io/instantiate": "manual", "c": "d"},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "CronJob", "name": "often", "uid": "uid-of-often", "controller": True},
            ],
        },
        "spec": template["spec"],
    }  # fmt: skip
    assert main._exit_code(["create", "job", "now", "--from=cronjob/often"]) == 0
    assert capsys.readouterr().out == "job.batch/now created\n"


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def test_config_maps_and_secrets(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From literals, files, directories and environment files."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.txt").write_text("one")
    (tmp_path / "conf" / "b.bin").write_bytes(b"\xff\x00")
    (tmp_path / "conf" / "linked").symlink_to(tmp_path / "conf" / "a.txt")
    (tmp_path / "vars").write_text("\ufeff# comment\n\n  A=1=2\r\nFROM_HERE\nEMPTY=\n")
    monkeypatch.setenv("FROM_HERE", "x")
    assert manifest(capsys, "cm", "c", f"--from-file={tmp_path}/conf,k={tmp_path}/conf/a.txt", "--from-literal=l=a=b") == {
        "metadata": {"name": "c"},
        "data": {"a.txt": "one", "k": "one", "l": "a=b"}, "binaryData": {"b.bin": base64.b64encode(b"\xff\x00").decode()},
    }  # fmt: skip
    assert manifest(capsys, "configmap", "c", f"--from-env-file={tmp_path}/vars")["data"] == {
        "A": "1=2", "FROM_HERE": "x", "EMPTY": "",
    }  # fmt: skip
    assert manifest(capsys, "secret", "generic", "s", "--type=a/b", "--from-literal=k=v") == {
        "metadata": {"name": "s"}, "type": "a/b", "data": {"k": text("v")},
    }  # fmt: skip
    words = ("--docker-server=r", "--docker-username=u", "--docker-password=p")
    found = manifest(capsys, "secret", "docker-registry", "s", *words)
    assert found["type"] == "kubernetes.io/dockerconfigjson"
    config = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))
    assert config == {"auths": {"r": {"username": "u", "password": "p", "auth": text("u:p")}}}
    (tmp_path / "config.json").write_text("{}")
    assert manifest(capsys, "secret", "docker-registry", "s", f"--from-file={tmp_path}/config.json")["data"] == {
        ".dockerconfigjson": text("{}"),
    }  # fmt: skip


def test_a_secret_of_a_certificate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whose key it has to be."""
    one, two = pki.new_ca(0.0), pki.new_ca(0.0)
    for name, value in (("crt", one.certificate), ("key", one.key), ("other", two.key), ("none", b"x")):
        (tmp_path / name).write_bytes(value)
    found = manifest(capsys, "secret", "tls", "t", f"--cert={tmp_path}/crt", f"--key={tmp_path}/key")
    assert (found["type"], sorted(found["data"])) == ("kubernetes.io/tls", ["tls.crt", "tls.key"])
    for cert, key, error in (
        ("crt", "other", "tls: private key does not match public key"),
        ("none", "key", "tls: failed to find any PEM data in certificate input"),
        ("crt", "none", "tls: failed to find any PEM data in key input"),
    ):
        words = ["secret", "tls", "t", f"--cert={tmp_path}/{cert}", f"--key={tmp_path}/{key}", "--dry-run=client"]
        assert main._exit_code(["create", *words]) == 1
        assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("cm", "c", "--from-literal=a=b"), "c-m4h6ctkgb2"),
        (("secret", "generic", "s", "--from-literal=a=<b>"), "s-874gdtmdfk"),
    ],
)
def test_a_name_with_a_hash(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], name: str) -> None:
    """That of kubectl: other content is another object."""
    assert manifest(capsys, *words, "--append-hash")["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("cronjob", "c", "--image=i"), 'required flag(s) "schedule" not set'),
        (("job", "j"), "either --image or --from must be specified"),
        (("job", "j", "--image=i", "--from=cronjob/c"), "either --image or --from must be specified"),
        (("job", "j", "--from=cronjob/c", "--", "x"), "cannot specify --from and command"),
        (("job", "j", "--from=cronjob/none"), 'cronjobs.batch "none" not found'),
        (("job", "j", "--from=pod/web"), "unknown object type Pod: from must be an existing cronjob"),
        (("cm", "c", "--from-literal=a"), "invalid literal source a, expected key=value"),
        (("cm", "c", "--from-literal=a=1", "--from-literal=a=2"), 'cannot add key "a", another key by that name already exists'),
        (("cm", "c", "--from-literal=a b=1"), '"a b" is not a valid key name for a ConfigMap'),
        (("cm", "c", "--from-file=/none"), "error reading /none: No such file or directory"),
        (("cm", "c", "--from-file=k=/tmp"), "cannot give a key name for a directory path"),
        (("cm", "c", "--from-file=a=b=c"), "key names or file paths cannot contain '='"),
        (("cm", "c", "--from-file==b"), "key name for file path b missing"),
        (("cm", "c", "--from-file=/dev/zero"), "error reading /dev/zero: more than 4194304 bytes"),
        (("cm", "c", "--from-env-file=/tmp"), "env config file cannot be a directory"),
        (("cm", "c", "--from-env-file=/proc/self/mounts"), "is not a valid key name"),
        (("cm", "c", "--from-env-file=a", "--from-literal=a=b"), "from-env-file cannot be combined with from-file or from-literal"),
        (("secret", "s"), "must specify the type of secret: create secret generic|docker-registry|tls NAME"),
        (("secret", "docker-registry", "s"), "either --from-file or the combination of"),
        (("secret", "tls", "s", "--cert=a"), "key and cert must be specified"),
        (("node", "n"), '"node" cannot be created of flags'),
        (("ns", "n", "--from-literal=a=b"), "unrecognized arguments: --from-literal=a=b"),
    ],
)  # fmt: skip
def test_refusals_of_flags(server: Server, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str) -> None:
    """In kubectl's words; nothing is sent."""
    own = words[: words.index("--")] if "--" in words else words
    assert main._exit_code(["create", *own, "--dry-run=client", *words[len(own) :]]) in (1, 2)
    assert error in capsys.readouterr().err
    assert server.sent == []


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
        (["job", "j"], "either --image or --from must be specified"),
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
