"""`kctl set` on a server in memory: images, environment, resources and service accounts, kubectl's words, and what is sent."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli import main
from cli.setting import podspecs
from pinnace import codec, kinds
from tests.support.kctlserver import Server, made

WORD = "deployment.apps/web"


def deployment(name: str = "web", **spec: Any) -> Any:
    containers = [
        {"name": "main", "image": "app:1", "env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": "1"}}},
        {"name": "side", "image": "side:1"},
    ]
    pods = {"containers": containers, "initContainers": [{"name": "init", "image": "init:1"}], **spec}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pods}
    return made(kinds.DEPLOYMENT, name, metadata={"labels": {"app": name}}, spec={"template": template})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(
        deployment(), made(kinds.CONFIG_MAP, "page", data={"log.level": "debug", "B": "2"}),
        made(kinds.SECRET, "db", data={"PASSWORD": "aHVudGVyMg=="}),
        made(kinds.POD, "alone", spec={"containers": [{"name": "c", "image": "c:1"}]}),
    )  # fmt: skip
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main._exit_code(["set", *words]) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def pods(server: Server, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = codec.encode(server.get(kinds.DEPLOYMENT, "default", name).spec.template.spec)
    return found


def container(server: Server, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in pods(server)["containers"] if item["name"] == name)
    return found


def images(server: Server) -> list[str]:
    spec = pods(server)
    return [item["image"] for field in ("initContainers", "containers") for item in spec[field]]


def test_images_of_containers(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Several, init containers, all by `*`; of a pod; without a change nothing is printed or sent."""
    assert said(capsys, "image", "deployment/web", "main=app:2", "init=init:2") == f"{WORD} image updated\n"
    assert images(server) == ["init:2", "app:2", "side:1"]
    assert json.loads(server.sent[-1][1].patch) == {"spec": {"template": {"spec": {
        "initContainers": [{"name": "init", "image": "init:2"}], "containers": [{"name": "main", "image": "app:2"}],
    }}}}  # fmt: skip
    assert server.sent[-1][1].fieldManager == "kctl-set"
    assert said(capsys, "image", "deployment", "web", "*=all:3") == f"{WORD} image updated\n"
    assert images(server) == ["all:3"] * 3
    sent = len(server.sent)
    assert said(capsys, "image", "deployment", "web", "*=all:3") == ""
    assert len(server.sent) == sent
    assert said(capsys, "image", "pod/alone", "c=c:2") == "pod/alone image updated\n"


def test_objects_are_selected(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """By --all, by labels; flags stand anywhere."""
    server.put(deployment("other"))
    assert said(capsys, "image", "deploy", "--all", "main=app:2").count("image updated") == 2
    assert said(capsys, "image", "deploy", "-l", "app=other", "main=app:3", "-o", "name") == "deployment.apps/other\n"


def test_dry_runs_store_nothing(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of the client's, the server's, and of files without a server."""
    words = ("image", "deployment/web", "main=app:2")
    assert said(capsys, *words, "--dry-run=server") == f"{WORD} image updated (server dry run)\n"
    assert said(capsys, *words, "--dry-run=client") == f"{WORD} image updated (dry run)\n"
    shown = json.loads(said(capsys, *words, "--dry-run=client", "-o", "json"))
    assert shown["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2"
    assert images(server)[1] == "app:1"
    file = tmp_path / "pod.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: old}]}\n")
    local = said(capsys, "image", "--local", "-f", str(file), "c=new", "-o", "jsonpath={.spec.containers[0].image}")
    assert local == "new"
    assert not [request for _, request in server.sent if not request.dryRun]


def local(capsys: pytest.CaptureFixture[str], tmp_path: Path, item: Any, *words: str) -> str:
    """What `set` prints of an object in a file, without a server."""
    file = tmp_path / "object.json"
    kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
    file.write_text(json.dumps({"apiVersion": kind.api_version, "kind": kind.kind, **codec.encode(item)}))
    assert main._exit_code(["set", *words, "--local", "-f", str(file)]) == 0
    return capsys.readouterr().out


def test_objects_of_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One that is as it should be is not printed, except for its service account, as by kubectl."""
    assert local(capsys, tmp_path, deployment(), "image", "main=app:2") == f"{WORD} image updated\n"
    assert (
        local(capsys, tmp_path, deployment(), "image", "main=app:2", "--dry-run=client") == f"{WORD} image updated (dry run)\n"
    )
    assert local(capsys, tmp_path, deployment(), "image", "main=app:1") == ""
    assert local(capsys, tmp_path, deployment(), "env", "Z-") == ""
    item = deployment(serviceAccountName="robot")
    assert local(capsys, tmp_path, item, "sa", "robot") == f"{WORD} serviceaccount updated\n"


def test_a_cron_job(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its pods are in the template of its Jobs."""
    pods = {"spec": {"containers": [{"name": "main", "image": "app:1"}]}}
    item = made(kinds.CRON_JOB, "often", spec={"schedule": "@daily", "jobTemplate": {"spec": {"template": pods}}})
    found = json.loads(local(capsys, tmp_path, item, "image", "main=app:2", "-o", "json"))
    assert found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2"
    server.put(item)
    assert main._exit_code(["set", "image", "cronjob/often", "main=app:3"]) == 0
    assert capsys.readouterr().out == "cronjob.batch/often image updated\n"
    stored = server.get(kinds.CRON_JOB, "default", "often")
    assert stored.spec.jobTemplate.spec.template.spec.containers[0].image == "app:3"


def test_variables_are_set_replaced_and_removed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """In all containers, or in those of a pattern; present ones keep their places."""
    assert said(capsys, "env", "deployment/web", "B=x=y", "A=2", "-c", "ma*") == f"{WORD} env updated\n"
    assert container(server)["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "x=y"}]
    assert "env" not in container(server, "side")
    assert said(capsys, "env", "deployment/web", "-e", "C=3", "A-") == f"{WORD} env updated\n"
    assert [item["name"] for item in container(server)["env"]] == ["B", "C"]
    assert container(server, "side")["env"] == [{"name": "C", "value": "3"}]
    refused = said(capsys, "env", "deployment/web", "C=4", "--overwrite=false", code=1)
    assert refused == "error: 'C' already has a value (3), and --overwrite is false\n"


def test_variables_from_config_maps_and_secrets(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """All keys or some, as names of variables, with a prefix; a reference replaces a value."""
    said(capsys, "env", "deployment/web", "--from=configmap/page", "-c", "main")
    found = {item["name"]: item for item in container(server)["env"]}
    assert found["LOG_LEVEL"]["valueFrom"] == {"configMapKeyRef": {"name": "page", "key": "log.level"}}
    assert found.keys() == {"A", "B", "LOG_LEVEL"}
    said(capsys, "env", "deployment/web", "A-", "--from", "secret/db", "--keys=PASSWORD", "--prefix=DB_", "-c", "main")
    said(capsys, "env", "deployment/web", "B=plain", "-c", "main")
    found = {item["name"]: item for item in container(server)["env"]}
    assert found["DB_PASSWORD"]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "PASSWORD"}}
    assert found["B"] == {"name": "B", "value": "plain"}


def test_variables_from_standard_input(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of `env`; comments and others are left out."""
    monkeypatch.setattr("sys.stdin", io.StringIO("X=1\nnothing\nY=2 # two\nZ=3\r\n"))
    said(capsys, "env", "deployment/web", "-e", "-", "-c", "side")
    found = [{"name": "X", "value": "1"}, {"name": "Y", "value": "2 "}, {"name": "Z", "value": "3"}]
    assert container(server, "side")["env"] == found


def test_variables_are_listed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """With their sources, or resolved; the changes of the command line are in the list and nowhere else."""
    said(capsys, "env", "deployment/web", "--from=secret/db", "-c", "main")
    sent = len(server.sent)
    listed = said(capsys, "env", "deployment/web", "--list", "B=2", "-c", "main")
    assert listed == "# Deployment web, container main\nA=1\n# PASSWORD from secret db, key PASSWORD\nB=2\n"
    assert "PASSWORD=hunter2\n" in said(capsys, "env", "deployment/web", "--list", "--resolve")
    assert len(server.sent) == sent


def test_resources_are_merged(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Amounts that are not named stay."""
    words = ("resources", "deployment/web", "-c=main", "--limits=memory=64Mi", "--requests=cpu=100m,memory=32Mi")
    assert said(capsys, *words) == f"{WORD} resource requirements updated\n"
    assert container(server)["resources"] == {
        "limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"},
    }  # fmt: skip
    assert container(server, "side").get("resources", {}) == {}


def test_service_accounts(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """By either name of the command."""
    for verb, name in (("serviceaccount", "robot"), ("sa", "other")):
        assert said(capsys, verb, "deployment", "web", name) == f"{WORD} serviceaccount updated\n"
        assert pods(server)["serviceAccountName"] == name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["image", "deployment/web"], "at least one image update is required"),
        (["image", "main=a"], "one or more resources must be specified as <resource> <name> or <resource>/<name>"),
        (["image", "deployment/web", "*=a", "main=b"], "all containers are already specified by *"),
        (["image", "deployment/web", "main="], "invalid image format: main="),
        (["image", "deployment/web", "none=a"], 'unable to find container named "none"'),
        (["image", "configmap/page", "main=a"], "configmaps/page the object is not a pod or does not have a pod template"),
        (["image", "deployment/web", "main=a", "--local"], "you must specify resources by --filename when --local is set"),
        (["image", "deployment/web", "main=a", "--all", "-l", "a=b"], "cannot set --all and --selector at the same time"),
        (["env", "deployment/web"], "at least one environment variable must be provided"),
        (["env", "deployment/web", "Ä=1"], '"Ä" is not a valid key name'),
        (["env", "deployment/web", "A=1", "A-"], "can not both modify and remove the same environment variable"),
        (["env", "deployment/web", "--keys=a", "A=1"], "when specifying --keys, a configmap or secret must be provided with --from"),
        (["env", "deployment/web", "--from=pod/alone"], "unsupported resource specified in --from"),
        (["env", "deployment/web", "--list", "-o", "yaml"], "--list and --output may not be specified together"),
        (["resources", "deployment/web"], "you must specify an update to requests or limits"),
        (["resources", "deployment/web", "--limits=cpu"], "invalid argument syntax cpu, expected <resource>=<value>"),
        (["resources", "deployment/web", "--limits=cpu=x"], "cpu: expected a quantity"),
        (["resources", "deployment/web", "--limits=cpu=1", "-c", "no"], "unable to find container named no"),
        (["serviceaccount"], "serviceaccount is required"),
        (["serviceaccount", "robot"], "one or more resources must be specified"),
    ],
)  # fmt: skip
def test_command_lines_that_mean_nothing_are_refused(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """In kubectl's words; nothing is sent."""
    assert said(capsys, *words, code=1).startswith(f"error: {expected}")
    assert server.sent == []


def test_a_value_takes_the_place_of_a_reference() -> None:
    """The patch names what is to go, and the order."""
    before = {"containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}
    after = {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}
    change = {"name": "A", "value": "1", "valueFrom": None}
    assert podspecs.patch(before, after) == {
        "containers": [{"name": "c", "env": [change], "$setElementOrder/env": [{"name": "A"}]}]
    }
    assert podspecs.patch(after, after) == {}
