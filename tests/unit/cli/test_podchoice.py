"""The pod that a workload stands for, on a server in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cli import podchoice
from pinnace import kinds
from pinnace.errors import BadRequest, NotFound, Timeout
from pinnace.kinds import Kind
from tests.support.kctlserver import Server, made


def pod(
    name: str,
    *,
    node: str = "n",
    phase: str = "Running",
    ready: int = 0,
    restarts: int = 0,
    created: int = 100,
    ending: int = 0,
) -> Any:
    """`ready`, `created` and `ending` are seconds; 0 for a pod that is not ready, or not deleted."""
    item = made(kinds.POD, name, metadata={"labels": {"app": "web"}}, spec={"nodeName": node}, status={"phase": phase})
    item.metadata.creationTimestamp.seconds = created
    item.metadata.deletionTimestamp.seconds = ending
    item.status.containerStatuses.add(restartCount=restarts)
    if ready:
        item.status.conditions.add(type="Ready", status="True").lastTransitionTime.seconds = ready
    return item


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (pod("a", phase="Pending"), pod("b", node="", ready=5)),
        (pod("a"), pod("b", phase="Pending")),
        (pod("a", ready=5, ending=9), pod("b")),
        (pod("a", ready=9), pod("b", ready=5, ending=9)),
        (pod("a", ready=5, restarts=3), pod("b", ready=6)),
        (pod("a", ready=5, restarts=1), pod("b", ready=5, restarts=2)),
        (pod("a", ready=5, created=50), pod("b", ready=5, created=60)),
        (pod("a", phase="Running"), pod("b", phase="Failed")),
    ],
)
def test_the_best_pod_is_taken(better: Any, worse: Any) -> None:
    """In kubectl's order, whatever the order of the list."""
    assert podchoice.best([better, worse]) is better
    assert podchoice.best([worse, better]) is better


class Waiting(Server):
    """A pod comes while the list of pods is watched."""

    comes: tuple[Any, ...] = ()

    def watch(self, kind: Kind, namespace: str, **how: Any) -> Iterator[tuple[str, Any]]:
        assert (how["labels"], how["timeout"]) == ("app=web", 60.0)
        yield "BOOKMARK", None
        yield from (("ADDED", item) for item in self.comes)
        raise Timeout("the deadline is over")


@pytest.fixture
def server() -> Waiting:
    template = {"metadata": {"labels": {"app": "web"}}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    return Waiting(made(kinds.DEPLOYMENT, "web", spec=spec), made(kinds.CONFIG_MAP, "page"))


def test_a_workload_stands_for_a_pod(server: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several, `logs` names the one that was taken."""
    for name in "ab":
        server.put(pod(name, ready=ord("z") - ord(name)))
    assert podchoice.name_of(server, "deploy/web") == "b"
    assert capsys.readouterr().err == ""
    assert podchoice.name_of(server, "deployment.apps/web", tell=True) == "b"
    assert capsys.readouterr().err == "Found 2 pods, using pod/b\n"


def test_a_replication_controller_stands_for_a_pod(server: Waiting) -> None:
    """Its selector is a map."""
    server.put(made(kinds.REPLICATION_CONTROLLER, "old", spec={"selector": {"app": "web", "a": "b"}}))
    assert podchoice.selector_of(server, "rc/old") == "a=b,app=web"


def test_the_first_pod_of_a_workload_is_waited_for(server: Waiting) -> None:
    """As long as kubectl does."""
    with pytest.raises(Timeout, match="timed out waiting for the condition"):
        podchoice.name_of(server, "deploy/web")
    server.comes = (pod("late"),)
    assert podchoice.name_of(server, "deploy/web") == "late"


def test_pods_are_not_asked_for(server: Waiting) -> None:
    """A name is a pod's; its command finds out whether there is one."""
    assert [podchoice.name_of(server, word) for word in ("x", "pod/x", "po/x")] == ["x"] * 3


def test_what_has_no_pods_is_refused(server: Waiting) -> None:
    """A kind without pods, an object that does not exist."""
    with pytest.raises(BadRequest, match="selector for ConfigMap not implemented"):
        podchoice.name_of(server, "cm/page")
    with pytest.raises(NotFound, match=r'deployments\.apps "none" not found'):
        podchoice.name_of(server, "deploy/none")


def test_a_service_stands_for_a_pod_that_it_selects(server: Waiting) -> None:
    """One without a selector does not."""
    server.put(made(kinds.SERVICE, "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}))
    server.put(made(kinds.SERVICE, "alone", spec={"ports": [{"port": 80}]}))
    server.put(pod("a", ready=5))
    assert podchoice.name_of(server, "svc/web") == "a"
    with pytest.raises(BadRequest, match="invalid service 'alone': Service is defined without a selector"):
        podchoice.name_of(server, "service/alone")
