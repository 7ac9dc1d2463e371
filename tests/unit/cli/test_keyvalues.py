"""`kctl label` and `kctl annotate` on a server in memory: kubectl's words, refusals, selections, and what is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import main
from pinnace import kinds
from tests.support.kctlserver import Server, made

Serve = Callable[[Server], Server]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(
        made(kinds.POD, "web", metadata={"labels": {"app": "web"}, "annotations": {"note": "old"}}),
        made(kinds.POD, "db", metadata={"labels": {"app": "db"}}),
        made(kinds.POD, "other", "elsewhere"),
    )
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def labels(server: Server, name: str, namespace: str = "default") -> dict[str, str]:
    return dict(server.get(kinds.POD, namespace, name).metadata.labels)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main._exit_code(list(words)) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_labels_are_set_replaced_and_removed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """With kubectl's word for each; a present value needs --overwrite."""
    assert said(capsys, "label", "pod", "web", "tier=front", "zone=a") == "pod/web labeled\n"
    assert labels(server, "web") == {"app": "web", "tier": "front", "zone": "a"}
    assert said(capsys, "label", "pod/web", "tier=front") == "pod/web not labeled\n"
    refused = said(capsys, "label", "pod", "web", "tier=back", code=1)
    assert refused == "error: 'tier' already has a value (front), and --overwrite is false\n"
    assert said(capsys, "label", "--overwrite", "pod", "web", "tier=back") == "pod/web labeled\n"
    assert said(capsys, "label", "pod", "web", "tier-", "zone-", "none-") == 'label "none" not found.\npod/web unlabeled\n'
    assert labels(server, "web") == {"app": "web"}
    assert {request.fieldManager for _, request in server.sent} == {"kctl-label"}


def test_annotations_have_their_own_words(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Values with equal signs and spaces are whole; the cause of a change may always be replaced."""
    assert said(capsys, "annotate", "pod", "web", "why=a = b") == "pod/web annotated\n"
    refused = said(capsys, "annotate", "pod", "web", "note=new", code=1)
    assert (
        refused
        == "error: --overwrite is false but found the following declared annotation(s): 'note' already has a value (old)\n"
    )
    for cause in ("first", "second"):
        said(capsys, "annotate", "pod", "web", f"kubernetes.io/change-cause={cause}")
    said(capsys, "annotate", "pod", "web", "note-")
    found = dict(server.get(kinds.POD, "default", "web").metadata.annotations)
    assert found == {"why": "a = b", "kubernetes.io/change-cause": "second"}


def test_objects_are_selected_in_every_way(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """All, by labels, in all namespaces, of a file; one that fails does not stop the others."""
    assert said(capsys, "label", "pods", "--all", "a=b") == "pod/web labeled\npod/db labeled\n"
    assert said(capsys, "label", "pods", "-l", "app=db", "c=d") == "pod/db labeled\n"
    assert said(capsys, "label", "pods", "--all", "-A", "e=f").count("labeled") == 3
    assert labels(server, "other", "elsewhere") == {"e": "f"}
    file = tmp_path / "pod.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db"}}))
    assert said(capsys, "label", "-f", str(file), "g=h") == "pod/db labeled\n"
    assert main._exit_code(["label", "pod", "web", "none", "db", "i=j"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "pod/web labeled\npod/db labeled\n", 'Error from server (NotFound): pods "none" not found\n'
    )  # fmt: skip


def test_a_dry_run_and_a_list_change_nothing(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """--list names the object if there are several; a dry run shows what would be."""
    assert said(capsys, "label", "pod", "web", "--list") == "app=web\n"
    assert said(capsys, "label", "pods", "--all", "--list") == (
        "Listing labels for Pod./web:\n app=web\nListing labels for Pod./db:\n app=db\n"
    )
    assert said(capsys, "label", "pod", "web", "x=y", "--dry-run=client") == "pod/web labeled (dry run)\n"
    assert server.sent == []
    shown = json.loads(said(capsys, "label", "pod", "web", "x=y", "--dry-run=server", "-o", "json"))
    assert (shown["metadata"]["labels"]["x"], "x" in labels(server, "web")) == ("y", False)


def test_a_version_holds_for_one_object(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Another version is a conflict of the server's."""
    assert "Conflict" in said(capsys, "label", "pod", "web", "x=y", "--resource-version=7", code=1)
    assert said(capsys, "label", "pod", "web", "x=y", "--resource-version=1") == "pod/web labeled\n"
    several = said(capsys, "label", "pods", "--all", "k=v", "--resource-version=1", code=1)
    assert several.startswith("error: --resource-version may only be used with a single resource\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["label", "pod", "web"], "error: at least one label update is required\n"),
        (["annotate", "pod", "web"], "error: at least one annotation update is required\n"),
        (["label", "a=b"], "error: one or more resources must be specified as <resource> <name> or <resource>/<name>\n"),
        (["label", "pod", "a=b", "web"], "error: all resources must be specified before label changes: web\n"),
        (["label", "pod", "web", "a=b", "a-"], "error: can not both modify and remove a label in the same command\n"),
        (["label", "pods", "a=b"], "error: resource(s) were provided, but no name was specified"),
        (["label", "pods", "--all", "-l", "x=y", "a=b"], "error: cannot set --all and --selector at the same time\n"),
        (["label", "pod", "web", "a=b c"], 'error: invalid label value: "a=b c": '),
        (["annotate", "pod", "web", "a b=c"], 'error: invalid annotation key: "a b": '),
        (["label", "pod", "web", "a=b", "--list", "-o", "yaml"], "error: --list and --output may not be specified together\n"),
    ],
)
def test_command_lines_that_mean_nothing_are_refused(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """In kubectl's words, and nothing is sent."""
    assert said(capsys, *words, code=1).startswith(expected)
    assert server.sent == []
