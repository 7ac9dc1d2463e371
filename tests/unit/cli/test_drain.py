"""`kctl cordon`, `uncordon`, `drain` and `taint` on a server in memory; which pods a drain removes, and which stop it."""

from __future__ import annotations

from typing import Any

import pytest

from cli import draining, main, tainting
from cli.commands import drain
from pinnace import kinds
from pinnace.errors import BadRequest, NotFound, TooManyRequests
from tests.support.kctlserver import Server, made, refusing

NOW = 1_000_000.0


def pod(name: str = "web", *, owner: str = "", phase: str = "Running", emptydir: bool = False, **metadata: Any) -> Any:
    owners = [{"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "u", "controller": True}] if owner else []
    volumes = [{"name": "v", "emptyDir": {}}] if emptydir else []
    return made(
        kinds.POD, name, metadata={"ownerReferences": owners, **metadata},
        spec={"nodeName": "n1", "volumes": volumes}, status={"phase": phase},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "flags", "expected"),
    [
        (pod(), {}, draining.UNMANAGED),
        (pod(), {"force": True}, draining.UNMANAGED_DELETED),
        (pod(phase="Succeeded"), {}, ""),
        (pod(owner="ReplicaSet"), {}, ""),
        (pod(owner="ReplicaSet", emptydir=True), {}, draining.LOCAL_STORAGE),
        (pod(owner="ReplicaSet", emptydir=True, phase="Failed"), {}, ""),
        (pod(owner="DaemonSet"), {}, draining.DAEMON_SET),
        (pod(owner="DaemonSet", phase="Failed"), {}, ""),
        (pod(emptydir=True), {"force": True}, draining.LOCAL_STORAGE),
    ],
)
def test_a_pod_is_removed_or_stops_the_drain(found: Any, flags: dict[str, Any], expected: str) -> None:
    """With the text of the last check that it meets."""
    verdict = draining.judge(found, draining.Policy(**flags), NOW)
    assert (verdict.error or verdict.warning, verdict.remove) == (expected, not verdict.error)


def test_pods_that_stay_do_not_stop_the_drain() -> None:
    """Mirrors of static pods, pods of DaemonSets if so asked, and pods that terminate for long."""
    policy = draining.Policy(force=True, ignore_daemonsets=True, skip_deleted=10)
    late, soon = pod("late"), pod("soon")
    late.metadata.deletionTimestamp.seconds = int(NOW) - 11
    soon.metadata.deletionTimestamp.seconds = int(NOW) - 9
    mirror = pod("static", annotations={"kubernetes.io/config.mirror": "x"})
    plan = draining.plan([late, soon, mirror, pod("daemon", owner="DaemonSet")], policy, NOW)
    assert ([item.metadata.name for item in plan.pods], plan.error()) == (["soon"], "")
    assert plan.warning() == (
        "deleting Pods that declare no controller: default/soon; ignoring DaemonSet-managed Pods: default/daemon"
    )


def test_errors_name_all_pods() -> None:
    """One after the other, as kubectl sums them up."""
    plan = draining.plan([pod("a"), pod("b"), pod("c", owner="DaemonSet")], draining.Policy(), NOW)
    assert plan.error() == (
        "[cannot delete Pods that declare no controller (use --force to override): default/a, default/b, "
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/c]"
    )
    assert plan.pods == []


def served(monkeypatch: pytest.MonkeyPatch, *pods: Any, **how: Any) -> Server:
    nodes = (made(kinds.NODE, "n1", metadata={"labels": {"zone": "a"}}), made(kinds.NODE, "n2"))
    found = Server(*nodes, *pods, **how)
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main._exit_code(list(words)) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_nodes_are_cordoned_and_uncordoned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Several, by labels, in a dry run; those that are so already are not written."""
    server = served(monkeypatch)
    assert run(capsys, "cordon", "n1", "node/n2") == ("node/n1 cordoned\nnode/n2 cordoned\n", "")
    assert run(capsys, "cordon", "-l", "zone=a") == ("node/n1 already cordoned\n", "")
    assert run(capsys, "uncordon", "n1", "--dry-run=client") == ("node/n1 uncordoned (dry run)\n", "")
    assert server.get(kinds.NODE, "", "n1").spec.unschedulable
    assert run(capsys, "uncordon", "n1") == ("node/n1 uncordoned\n", "")
    assert not server.get(kinds.NODE, "", "n1").spec.unschedulable
    assert [request.ref.name for _, request in server.sent] == ["n1", "n2", "n1"]
    assert run(capsys, "cordon", "none", code=1)[1] == 'Error from server (NotFound): nodes "none" not found\n'
    assert "both a node name and a --selector" in run(capsys, "cordon", "n1", "-l", "a=b", code=1)[1]


def test_a_drain_evicts_and_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the pod's uid and the grace period of the command line; pods of other nodes stay."""
    other = pod("other")
    other.spec.nodeName = "n2"
    server = served(monkeypatch, pod("web", owner="ReplicaSet"), other)
    out, err = run(capsys, "drain", "n1", "--grace-period=3")
    assert (out, err) == ("node/n1 cordoned\nevicting pod default/web\npod/web evicted\nnode/n1 drained\n", "")
    [_, (method, request)] = server.sent
    assert (method, request.subresource, request.ref.name) == ("Create", "eviction", "web")
    assert b'"gracePeriodSeconds": 3' in request.object.json
    assert b'"uid": "uid-of-web"' in request.object.json
    assert ("Pod", "default", "other") in server.present


def test_a_drain_that_must_not_is_refused_but_cordons(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As kubectl's; the next node is drained."""
    server = served(monkeypatch, pod("web"))
    out, err = run(capsys, "drain", "n1", "n2", code=1)
    assert out == "node/n1 cordoned\nnode/n2 cordoned\nnode/n2 drained\n"
    assert err == (
        'error: unable to drain node "n1" due to error: cannot delete Pods that declare no controller '
        "(use --force to override): default/web, continuing command...\nThere are pending nodes to be drained:\n n1\n"
    )
    assert ("Pod", "default", "web") in server.present
    out, err = run(capsys, "drain", "n1", "--force", "--disable-eviction")
    assert out == "node/n1 already cordoned\nevicting pod default/web\npod/web deleted\nnode/n1 drained\n"
    assert err == "Warning: deleting Pods that declare no controller: default/web\n"


def test_a_refused_eviction_is_tried_again_until_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disruption budget answers 429; a pod that is gone by then is drained."""
    pauses: list[float] = []
    monkeypatch.setattr("cli.commands.drain.time.sleep", pauses.append)
    budget = TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.")

    refused = refusing(budget, times=2)

    def refuse(method: str, request: Any) -> None:
        if method == "Create":
            refused(method, request)

    served(monkeypatch, pod("web", owner="ReplicaSet"), refuse=refuse)
    out, err = run(capsys, "drain", "n1")
    assert (pauses, out.endswith("node/n1 drained\n"), err.count("(will retry after 5s)")) == ([drain.RETRY] * 2, True, 2)

    def gone(method: str, request: Any) -> None:
        if method == "Create":
            raise NotFound("gone")

    server = served(monkeypatch, pod("web", owner="ReplicaSet"), refuse=gone)
    monkeypatch.setattr(server, "watch", lambda *_, **__: iter([("BOOKMARK", None)]))
    assert run(capsys, "drain", "n1")[0].endswith("node/n1 drained\n")

    def always(method: str, request: Any) -> None:
        if method == "Create":
            raise budget

    served(monkeypatch, pod("web", owner="ReplicaSet"), refuse=always)
    assert "global timeout reached" in run(capsys, "drain", "n1", "--timeout=1s", code=1)[1]


def test_a_drain_on_a_terminal_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It counts the pods that are gone, and names the one that is refused or waited for; the last line stays."""
    shown: list[str] = []
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True)
    monkeypatch.setattr(drain.Progress, "show", lambda self, text: shown.append(text))
    monkeypatch.setattr(drain, "RETRY", 0.0)
    refusals = [TooManyRequests("no")]

    def once(method: str, request: Any) -> None:
        if method == "Create" and refusals:
            raise refusals.pop()

    served(monkeypatch, pod("a", owner="ReplicaSet"), pod("b", owner="ReplicaSet"), refuse=once)
    output = run(capsys, "drain", "n1")[0]
    assert output.replace("\r\x1b[K", "") == "node/n1 cordoned\nnode/n1 drained\n"
    assert shown == [
        "draining node/n1: 0 of 2 pods evicted; cannot evict default/a yet: no",
        "draining node/n1: 0 of 2 pods evicted; waiting for default/a",
        "draining node/n1: 1 of 2 pods evicted; waiting for default/b",
    ]


def test_dry_runs_of_a_drain_remove_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The client's sends nothing; the server's asks whether each eviction would be accepted."""
    server = served(monkeypatch, pod("web", owner="ReplicaSet"))
    assert run(capsys, "drain", "n1", "--dry-run=client")[0] == (
        "node/n1 cordoned (dry run)\nevicting pod default/web (dry run)\nnode/n1 drained (dry run)\n"
    )
    assert server.sent == []
    run(capsys, "drain", "n1", "--dry-run=server")
    assert [request.dryRun for _, request in server.sent] == [True, True]
    assert ("Pod", "default", "web") in server.present


def taints(server: Server) -> list[tuple[str, str, str]]:
    return [(taint.key, taint.value, taint.effect) for taint in server.get(kinds.NODE, "", "n1").spec.taints]


def test_taints_are_set_replaced_and_removed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A taint is its key and effect; others stay as they are."""
    server = served(monkeypatch)
    assert run(capsys, "taint", "nodes", "n1", "a=1:NoSchedule", "b:NoExecute") == ("node/n1 tainted\n", "")
    assert taints(server) == [("a", "1", "NoSchedule"), ("b", "", "NoExecute")]
    assert run(capsys, "taint", "node", "n1", "a=2:NoSchedule", code=1)[1] == (
        "error: node n1 already has a taint(s) with same effect(s) and --overwrite is false\n"
    )
    assert run(capsys, "taint", "node", "n1", "a=2:NoSchedule", "--overwrite")[0] == "node/n1 modified\n"
    assert run(capsys, "taint", "node", "n1", "a=3:PreferNoSchedule")[0] == "node/n1 tainted\n"
    assert taints(server) == [("a", "3", "PreferNoSchedule"), ("a", "2", "NoSchedule"), ("b", "", "NoExecute")]
    assert run(capsys, "taint", "node", "n1", "a:NoSchedule-", "c:NoSchedule")[0] == "node/n1 modified\n"
    assert run(capsys, "taint", "nodes", "--all", "c-", code=1)[1] == 'error: taint "c" not found\n'
    assert run(capsys, "taint", "node", "n1", "a-", "b-")[0] == "node/n1 untainted\n"
    assert taints(server) == []
    assert run(capsys, "taint", "node", "n1", "z:NoExecute", "--dry-run=client")[0] == "node/n1 tainted (dry run)\n"
    assert taints(server) == []


def test_a_node_that_changes_meanwhile_is_read_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The taint that the control plane set in between is kept."""
    raced: list[bool] = []

    def race(method: str, request: Any) -> None:
        if not raced:
            raced.append(True)
            node = server.present["Node", "", "n1"]
            node.spec.taints.add(key="node.kubernetes.io/not-ready", effect="NoExecute")
            node.metadata.resourceVersion = "9"

    server = served(monkeypatch, refuse=race)
    run(capsys, "taint", "node", "n1", "a:NoSchedule")
    assert taints(server) == [("a", "", "NoSchedule"), ("node.kubernetes.io/not-ready", "", "NoExecute")]


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["a=b"], "invalid taint spec: a=b"),
        (["a:Never"], "invalid taint effect: Never, unsupported taint effect"),
        (["a=b c:NoSchedule"], "invalid taint spec: a=b c:NoSchedule, "),
        (["a:NoSchedule", "a=1:NoSchedule"], "duplicated taints with the same key and effect: a=1:NoSchedule"),
        (["a:NoSchedule", "a-"], 'can not both modify and remove the following taint(s) in the same command: {"a":""}'),
    ],
)
def test_taints_that_mean_nothing_are_refused(specs: list[str], expected: str) -> None:
    """In kubectl's words."""
    with pytest.raises(BadRequest) as caught:
        tainting.parse(specs)
    assert caught.value.message.startswith(expected)
