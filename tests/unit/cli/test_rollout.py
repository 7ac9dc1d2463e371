"""`kctl rollout` and `kctl describe` of workloads on a server in memory: kubectl's words, exit codes and patches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cli import main
from cli.describing import tabbed
from cli.rollouts import waiting
from pinnace import kinds
from pinnace.errors import Expired, Timeout
from pinnace.kinds import Kind
from tests.support.kctlserver import Server, made

REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"
WORD = "deployment.apps/web"


def template(image: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web", **labels}}, "spec": {"containers": [{"name": "main", "image": image}]}}


def deployment(*, paused: bool = False, image: str = "app:2", **status: int) -> Any:
    """Generation 2 of revision 2, complete unless `status` has other numbers."""
    numbers = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, **status}
    return made(
        kinds.DEPLOYMENT, "web", metadata={"generation": 2, "annotations": {REVISION: "2", CAUSE: "second", "own": "x"}},
        spec={"replicas": 3, "paused": paused, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
        status=numbers,
    )  # fmt: skip


def version(number: int, *, owner: str = "uid-of-web", cause: str = "") -> Any:
    """The ReplicaSet of a revision."""
    annotations = {REVISION: str(number), "deployment.kubernetes.io/desired-replicas": "3"} | ({CAUSE: cause} if cause else {})
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner, "controller": True}
    spec = {
        "selector": {"matchLabels": {"app": "web"}}, "replicas": 3,
        "template": template(f"app:{number}", **{"pod-template-hash": f"h{number}"}),
    }  # fmt: skip
    labels = {"app": "web"}
    meta = {"annotations": annotations, "labels": labels, "ownerReferences": [reference]}
    return made(kinds.REPLICA_SET, f"web-{owner}-{number}", metadata=meta, spec=spec)


class Watched(Server):
    """Events after the present objects; then the time is over."""

    later: tuple[Any, ...] = ()

    def watch(self, kind: Kind, namespace: str, *, name: str = "", **how: Any) -> Iterator[tuple[str, Any]]:
        yield from super().watch(kind, namespace, name=name, **how)
        pending, self.later = list(self.later), ()
        for at, event in enumerate(pending):
            if isinstance(event, Exception):
                self.later = tuple(pending[at + 1 :])
                raise event
            self.put(event[1])
            yield event
        raise Timeout("the deadline is over")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched(deployment(), version(1, cause="first"), version(2), version(7, owner="another"))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main._exit_code(["rollout", *words]) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def stored(server: Server) -> Any:
    return server.get(kinds.DEPLOYMENT, "default", "web")


WAITING = 'Waiting for deployment "web" rollout to finish: '
DONE = 'deployment "web" successfully rolled out\n'


def test_status_waits_until_the_rollout_is_complete(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Each state is one line of kubectl's, and no state is repeated; a watch that the server ends begins again."""
    assert said(capsys, "status", "deployment/web") == DONE
    server.put(deployment(observedGeneration=1))
    states = [
        deployment(updatedReplicas=1),
        deployment(updatedReplicas=1),
        deployment(replicas=4),
        deployment(availableReplicas=1),
    ]
    server.later = (*(("MODIFIED", state) for state in states), Expired("compacted"), ("MODIFIED", deployment()))
    assert said(capsys, "status", "deploy", "web", "--timeout=30s").splitlines() == [
        "Waiting for deployment spec update to be observed...",
        f"{WAITING}1 out of 3 new replicas have been updated...",
        f"{WAITING}1 old replicas are pending termination...",
        f"{WAITING}1 of 3 updated replicas are available...",
        DONE.strip(),
    ]


def test_status_without_watch_shows_the_present_state(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, also of a rollout that is not complete."""
    server.put(deployment(availableReplicas=0))
    for flag in ("-w=false", "--watch=false"):
        assert said(capsys, "status", "deployment", flag, "web") == f"{WAITING}0 of 3 updated replicas are available...\n"


def test_status_fails_with_its_rollout(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """By its deadline, the command's time limit, another revision than the expected one, and deletion."""
    server.put(deployment(availableReplicas=0))
    assert said(capsys, "status", "deployment/web", "--timeout=5s", code=1) == "error: timed out waiting for the condition\n"
    assert said(capsys, "status", "deployment/web", "--revision=2", code=1) == "error: timed out waiting for the condition\n"
    other = "error: desired revision (1) is different from the running revision (2)\n"
    assert said(capsys, "status", "deployment/web", "--revision=1", code=1) == other
    server.later = (("DELETED", deployment(availableReplicas=0)),)
    assert said(capsys, "status", "deployment/web", code=1) == "error: object has been deleted\n"
    late = deployment(availableReplicas=0)
    late.status.conditions.add(type="Progressing", status="False", reason="ProgressDeadlineExceeded")
    server.put(late)
    assert said(capsys, "status", "deployment/web", code=1) == 'error: deployment "web" exceeded its progress deadline\n'
    missing = 'Error from server (NotFound): deployments.apps "none" not found\n'
    assert said(capsys, "status", "deployment/none", code=1) == missing


def test_status_on_a_terminal_is_one_line(
    server: Watched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """States are written over; the last sentence is on stdout."""
    shown: list[str] = []
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True)
    monkeypatch.setattr(waiting.Progress, "show", lambda self, text: shown.append(text))
    server.put(deployment(availableReplicas=0))
    server.later = (("MODIFIED", deployment()),)
    assert said(capsys, "status", "deployment/web") == DONE
    assert shown == [f"{WAITING}0 of 3 updated replicas are available..."]


def test_history_lists_revisions_with_their_causes(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """ReplicaSets of another owner are not of this history."""
    assert said(capsys, "history", "deployment/web") == (
        f"{WORD} \nREVISION  CHANGE-CAUSE\n1         first\n2         <none>\n\n"
    )
    names = said(capsys, "history", "deployment/web", "-o", "name")
    assert names == "replicaset.apps/web-uid-of-web-1\nreplicaset.apps/web-uid-of-web-2\n"


def test_history_shows_one_revision(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Its template, as kubectl describes it."""
    assert said(capsys, "history", "deployment/web", "--revision=1").splitlines() == [
        f"{WORD} with revision #1",
        "Pod Template:",
        "  Labels:       app=web",
        "                pod-template-hash=h1",
        "  Annotations:  kubernetes.io/change-cause: first",
        "  Containers:",
        "   main:",
        "    Image:         app:1",
        "    Port:          <none>",
        "    Host Port:     <none>",
        "    Environment:   <none>",
        "    Mounts:        <none>",
        "  Volumes:         <none>",
        "  Node-Selectors:  <none>",
        "  Tolerations:     <none>",
        "",
    ]
    assert said(capsys, "history", "deployment/web", "--revision=5", code=1) == "error: unable to find the specified revision\n"
    assert '--revision: "-1" is not a revision' in said(capsys, "history", "deployment/web", "--revision=-1", code=1)


def test_undo_restores_the_revision_before(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Template and annotations of that version; what the Deployment alone has stays."""
    assert said(capsys, "undo", "deployment/web") == f"{WORD} rolled back\n"
    found = stored(server)
    assert found.spec.template.spec.containers[0].image == "app:1"
    assert dict(found.spec.template.metadata.labels) == {"app": "web"}
    assert dict(found.metadata.annotations) == {REVISION: "2", CAUSE: "first"}
    assert server.sent[-1][1].fieldManager == "kctl-rollout"


def test_undo_to_a_revision(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """That of the present template is skipped; one that is not kept is an error."""
    skipped = f"{WORD} skipped rollback (current template already matches revision 2)\n"
    assert said(capsys, "undo", "deployment/web", "--to-revision=2") == skipped
    missing = "error: unable to find specified revision 7 in history\n"
    assert said(capsys, "undo", "deployment/web", "--to-revision=7", code=1) == missing
    assert server.sent == []
    assert (
        said(capsys, "undo", "deployment/web", "--to-revision", "1", "--dry-run=server")
        == f"{WORD} rolled back (server dry run)\n"
    )
    assert stored(server).spec.template.spec.containers[0].image == "app:2"
    shown = said(capsys, "undo", "deployment/web", "--to-revision=1", "--dry-run=client")
    assert re.match(rf"{WORD} Pod Template:\n[\s\S]*app:1[\s\S]* \(dry run\)\n$", shown)


def test_undo_without_a_history(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a Deployment with a single version, and of one that is paused."""
    server.put(deployment(paused=True))
    assert "you cannot rollback a paused deployment" in said(capsys, "undo", "deployment/web", code=1)
    del server.present["ReplicaSet", "default", "web-uid-of-web-1"]
    assert said(capsys, "undo", "deployment/web", code=1) == 'error: no rollout history found for deployment "web"\n'


def test_restart_changes_the_template(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """By the time of the command; a type alone stands for all its objects."""
    assert said(capsys, "restart", "deployment") == f"{WORD} restarted\n"
    text = stored(server).spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", text)
    server.put(deployment(paused=True))
    paused = 'error: deployments.apps "web" can\'t restart paused deployment (run rollout resume first)\n'
    assert said(capsys, "restart", "deployment", "web", code=1) == paused


def test_pause_and_resume(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Each refuses what is so already."""
    assert said(capsys, "pause", "deployment/web") == f"{WORD} paused\n"
    assert stored(server).spec.paused
    assert said(capsys, "pause", "deployment/web", code=1) == 'error: deployments.apps "web" is already paused\n'
    assert said(capsys, "resume", "deployment", "-l", "") == f"{WORD} resumed\n"
    assert not stored(server).spec.paused
    assert said(capsys, "resume", "deployment/web", code=1) == 'error: deployments.apps "web" is not paused\n'


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("status", "no status viewer has been implemented for ReplicaSet.apps"),
        ("history", 'no history viewer has been implemented for "ReplicaSet.apps"'),
        ("undo", 'no rollbacker has been implemented for "ReplicaSet.apps"'),
        ("restart", 'replicasets.apps "web-uid-of-web-1" restarting is not supported'),
        ("pause", 'replicasets.apps "web-uid-of-web-1" pausing is not supported'),
        ("resume", 'replicasets.apps "web-uid-of-web-1" resuming is not supported'),
    ],
)
def test_kinds_without_rollouts_are_refused(
    server: Watched, capsys: pytest.CaptureFixture[str], verb: str, expected: str
) -> None:
    """In kubectl's words."""
    assert said(capsys, verb, "rs/web-uid-of-web-1", code=1) == f"error: {expected}\n"
    assert server.sent == []


def controlled(kind: Kind, **fields: Any) -> Any:
    """A DaemonSet or StatefulSet of generation 2, whose template is that of revision 2."""
    return made(
        kind, "web", metadata={"generation": 2}, status=fields.pop("status"),
        spec={"selector": {"matchLabels": {"app": "web"}}, "template": template("app:2"),
              "updateStrategy": {"type": "RollingUpdate"}, **fields},
    )  # fmt: skip


def controller_revision(number: int) -> Any:
    item = made(kinds.CONTROLLER_REVISION, f"web-{number}", metadata={"labels": {"app": "web"}})
    item.metadata.ownerReferences.add(controller=True, uid="uid-of-web")
    item.revision = number
    item.data.raw = json.dumps({"spec": {"template": {**template(f"app:{number}"), "$patch": "replace"}}}).encode()
    return item


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"observedGeneration": 1}, "Waiting for daemon set spec update to be observed..."),
        (
            {"updatedNumberScheduled": 1},
            'Waiting for daemon set "web" rollout to finish: 1 out of 2 new pods have been updated...',
        ),
        ({"numberAvailable": 1}, 'Waiting for daemon set "web" rollout to finish: 1 of 2 updated pods are available...'),
        ({}, 'daemon set "web" successfully rolled out'),
    ],
)
def test_states_of_daemon_sets(
    server: Watched, capsys: pytest.CaptureFixture[str], numbers: dict[str, int], expected: str
) -> None:
    """In kubectl's words."""
    status = {
        "observedGeneration": 2,
        "desiredNumberScheduled": 2,
        "updatedNumberScheduled": 2,
        "numberAvailable": 2,
        **numbers,
    }
    server.put(controlled(kinds.DAEMON_SET, status=status))
    assert said(capsys, "status", "ds/web", "-w=false") == expected + "\n"


@pytest.mark.parametrize(
    ("numbers", "partition", "expected"),
    [
        ({"observedGeneration": 1}, None, "Waiting for statefulset spec update to be observed..."),
        ({"readyReplicas": 1}, None, "Waiting for 2 pods to be ready..."),
        ({"updatedReplicas": 1}, 1, "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated..."),
        ({"updatedReplicas": 2}, 1, "partitioned roll out complete: 2 new pods have been updated..."),
        ({"updatedReplicas": 1}, None, "waiting for statefulset rolling update to complete 1 pods at revision b..."),
        ({"currentRevision": "b", "currentReplicas": 3}, None, "statefulset rolling update complete 3 pods at revision b..."),
    ],
)
def test_states_of_stateful_sets(
    server: Watched, capsys: pytest.CaptureFixture[str], numbers: dict[str, Any], partition: int | None, expected: str
) -> None:
    """In kubectl's words."""
    status = {"observedGeneration": 2, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "b", **numbers}
    item = controlled(kinds.STATEFUL_SET, status=status, replicas=3)
    if partition is not None:
        item.spec.updateStrategy.rollingUpdate.partition = partition
    server.put(item)
    assert said(capsys, "status", "sts/web", "-w=false") == expected + "\n"


@pytest.mark.parametrize("kind", [kinds.DAEMON_SET, kinds.STATEFUL_SET])
def test_controller_revisions_are_the_history(server: Watched, capsys: pytest.CaptureFixture[str], kind: Kind) -> None:
    """undo applies the data of one; there is no pause."""
    word = f"{kind.qualified}/web"
    server.put(controlled(kind, status={}))
    assert said(capsys, "undo", word, code=1) == "error: no last revision to roll back to\n"
    for number in (1, 2):
        server.put(controller_revision(number))
    assert said(capsys, "history", word) == f"{word} \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n\n"
    assert "Image:         app:1" in said(capsys, "history", word, "--revision=1")
    assert "skipped rollback" in said(capsys, "undo", word, "--to-revision=2")
    assert said(capsys, "undo", word) == f"{word} rolled back\n"
    assert server.get(kind, "default", "web").spec.template.spec.containers[0].image == "app:1"
    assert said(capsys, "restart", word) == f"{word} restarted\n"
    assert said(capsys, "pause", word, code=1) == f'error: {kind.resource} "web" pausing is not supported\n'


def test_pods_that_are_replaced_by_hand_have_no_rollout(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the strategy OnDelete."""
    server.put(controlled(kinds.DAEMON_SET, status={}, updateStrategy={"type": "OnDelete"}))
    refused = "error: rollout status is only available for RollingUpdate strategy type\n"
    assert said(capsys, "status", "ds/web", code=1) == refused


def test_objects_must_be_named(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """A type of which there is none is no error."""
    assert said(capsys, "status", code=1) == "error: required resource not specified\n"
    server.present.clear()
    assert main._exit_code(["rollout", "restart", "deployment"]) == 0
    assert capsys.readouterr().err == "No resources found in default namespace.\n"


def test_a_deployment_is_described_as_by_kubectl(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """With its ReplicaSets, old and new."""
    item = deployment()
    item.spec.strategy.type = "RollingUpdate"
    item.spec.strategy.rollingUpdate.maxSurge.type, item.spec.strategy.rollingUpdate.maxSurge.strVal = 1, "25%"
    item.status.conditions.add(type="Available", status="True", reason="MinimumReplicasAvailable")
    server.put(item)
    assert main._exit_code(["describe", "deployment", "web"]) == 0
    text = capsys.readouterr().out
    for line in (
        "Name:                   web",
        "Selector:               app=web",
        "Replicas:               3 desired | 3 updated | 3 total | 3 available | 0 unavailable",
        "RollingUpdateStrategy:  0 max unavailable, 25% max surge",
        "  Labels:  app=web",
        "    Image:         app:2",
        "  Type           Status  Reason",
        "  Available      True    MinimumReplicasAvailable",
        "OldReplicaSets:  web-uid-of-web-1 (0/3 replicas created)",
        "NewReplicaSet:   web-uid-of-web-2 (0/3 replicas created)",
        "Events:          <none>",
    ):
        assert line in text.splitlines()


def test_replica_sets_are_described_oldest_first(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Not in the order of their names."""
    for number, created in ((1, 300), (2, 100), (3, 200)):
        item = version(number)
        item.metadata.creationTimestamp.seconds = created
        server.put(item)
    assert main._exit_code(["describe", "deployment", "web"]) == 0
    none = "(0/3 replicas created)"
    assert f"web-uid-of-web-3 {none}, web-uid-of-web-1 {none}\n" in capsys.readouterr().out


def test_a_replica_set_is_described_as_by_kubectl(server: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """With the phases of its own pods."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "uid-of-web-uid-of-web-1", "controller": True}
    for name, phase, references in (("a", "Running", [owner]), ("b", "Pending", [owner]), ("c", "Running", [])):
        meta = {"labels": {"app": "web"}, "ownerReferences": references}
        server.put(made(kinds.POD, name, metadata=meta, status={"phase": phase}))
    assert main._exit_code(["describe", "rs/web-uid-of-web-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Controlled By:  Deployment/web" in lines
    assert "Replicas:       0 current / 3 desired" in lines
    assert "Pods Status:    1 Running / 1 Waiting / 0 Succeeded / 0 Failed" in lines


def test_columns_are_as_wide_as_adjacent_lines_need() -> None:
    """A line without the cell ends a column."""
    assert tabbed.align(["a\tb", "ccc\td\te", "plain", "f\tg"]) == ["a    b", "ccc  d  e", "plain", "f  g"]
