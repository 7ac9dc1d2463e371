"""kctl's imperative commands on a lab: run, label, annotate, diff, edit, taint, cordon, drain, get --raw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import LabUnderTest, pod

pytestmark = pytest.mark.root
RUN = ("run", "once", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never")


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm", "--all", "--now")


def test_run_attaches_and_removes(lab: LabUnderTest) -> None:
    """Input reaches the container, its output and exit code come back, and nothing stays."""
    done = lab.run(*RUN, "-i", "--rm", "--env=WORD=from env", "--", "sh", "-c", "cat; echo $WORD; exit 3", stdin="from stdin\n")
    assert (done.returncode, done.stdout) == (
        3, b'from stdin\nfrom env\npod "once" deleted from default namespace\n'
    ), done.stderr  # fmt: skip
    assert b"pod default/once terminated (Error)" in done.stderr
    assert lab.kctl(*RUN, "--attach", "--rm", "-q", "--command", "--", "echo", "hi") == "hi\n"
    assert lab.kctl("get", "pods", "-o", "name") == ""


def test_run_leaves_a_pod(lab: LabUnderTest) -> None:
    """Which is what its dry run prints, and can be applied."""
    shown = lab.kctl(*RUN, "--dry-run=client", "-o", "yaml", "--", "sleep", "60")
    assert lab.kctl("apply", "-f", "-", stdin=shown) == "pod/once created\n"
    lab.kctl("wait", "pod/once", "--for=condition=Ready", "--timeout=60s")
    refused = lab.run(*RUN)
    assert (refused.returncode, refused.stderr) == (1, b'Error from server (AlreadyExists): pods "once" already exists\n')


def test_labels_and_annotations_are_applys_to_change(lab: LabUnderTest) -> None:
    """A file may set a label that `kctl label` set, without a conflict."""
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    assert lab.kctl("label", "cm", "c", "a=1", "b=1") == "configmap/c labeled\n"
    assert lab.kctl("annotate", "cm/c", "note=x") == "configmap/c annotated\n"
    assert lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"a": "2"}}}) == (
        "configmap/c configured\n"
    )
    found = lab.get("cm", "c")["metadata"]
    assert (found["labels"], found["annotations"]) == ({"a": "2", "b": "1"}, {"note": "x"})


def test_diff_shows_what_apply_does(lab: LabUnderTest, tmp_path: Path) -> None:
    """Nothing before and after, the change in between."""
    path = tmp_path / "c.yaml"
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: one}\n")
    lab.kctl("apply", "-f", str(path))
    assert lab.kctl("diff", "-f", str(path)) == ""
    path.write_text(path.read_text().replace("one", "two"))
    found = lab.run("diff", "-f", str(path))
    assert (found.returncode, b"-  k: one\n+  k: two\n" in found.stdout) == (1, True)
    assert lab.get("cm", "c")["data"] == {"k": "one"}


def test_edit_patches_what_an_editor_saves(lab: LabUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that its node writes meanwhile; a field that cannot change comes back as a comment."""
    lab.apply(pod("edited"))
    editor, seen = tmp_path / "editor", tmp_path / "seen"
    editor.write_text('#!/bin/sh\nsed -i "s/^metadata:/metadata:\\n  labels: {a: b}/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setitem(lab.environment, "KUBE_EDITOR", str(editor))
    lab.kctl("wait", "pod/edited", "--for=condition=Ready", "--timeout=60s")
    assert lab.kctl("edit", "pod", "edited") == "pod/edited edited\n"
    assert lab.get("pod", "edited")["metadata"]["labels"] == {"a": "b"}
    node = lab.get("pod", "edited")["spec"]["nodeName"]
    monkeypatch.setitem(lab.environment, "NODE", node)
    editor.write_text(
        f'#!/bin/sh\nif grep -q "was not valid" "$1"; then cp "$1" {seen}; sed -i "s/nodeName: .*/nodeName: $NODE/;s/a: b/a: c/" "$1"\n'
        'else sed -i "s/nodeName: .*/nodeName: elsewhere/" "$1"; fi\n'
    )
    done = lab.run("edit", "pod", "edited")
    assert (done.returncode, done.stdout) == (0, b"pod/edited edited\n"), done.stderr
    assert done.stderr == b'error: pods "edited" is invalid\n'
    assert '# pods "edited" was not valid:\n# * ' in seen.read_text()
    assert lab.get("pod", "edited")["metadata"]["labels"] == {"a": "c"}


def test_the_rest_api_is_asked_as_it_is(lab: LabUnderTest) -> None:
    """By its path; addresses and versions are those that it is served with."""
    assert json.loads(lab.kctl("get", "--raw", "/api/v1/namespaces/default/pods?limit=1"))["kind"] == "PodList"
    refused = lab.run("get", "--raw", "/api/v1/namespaces/default/pods/none")
    assert (refused.returncode, refused.stderr) == (1, b'Error from server (NotFound): pods "none" not found\n')
    address = lab.kctl("cluster-info").splitlines()[0].split()[-1]
    assert address.startswith("https://127.0.0.1:")
    versions = lab.kctl("api-versions").splitlines()
    assert versions == sorted(versions)
    assert {"v1", "rbac.authorization.k8s.io/v1"} <= set(versions)
    assert lab.kctl("get", "pod", "none", "--ignore-not-found") == ""


def test_a_node_is_drained(lab: LabUnderTest) -> None:
    """Its pods are evicted and say so; it takes no new ones until it is uncordoned. A taint keeps pods away, too."""
    lab.apply(pod("stays", nodeName="node-2"), pod("moves", nodeName="node-1"))
    lab.kctl("wait", "pod/moves", "pod/stays", "--for=condition=Ready", "--timeout=60s")
    try:
        refused = lab.run("drain", "node-1", "--timeout=60s")
        assert (refused.returncode, refused.stdout) == (1, b"node/node-1 cordoned\n")
        assert b"cannot delete Pods that declare no controller (use --force to override): default/moves" in refused.stderr
        said = lab.kctl("drain", "node-1", "--force", "--timeout=60s", "--grace-period=1")
        assert said == ("node/node-1 already cordoned\nevicting pod default/moves\npod/moves evicted\nnode/node-1 drained\n")
        assert lab.kctl("get", "pods", "-o", "name") == "pod/stays\n"
        assert lab.get("node", "node-1")["spec"]["unschedulable"] is True
        assert lab.kctl("taint", "node", "node-1", "t=v:NoSchedule") == "node/node-1 tainted\n"
        taints = {item["key"]: item["effect"] for item in lab.get("node", "node-1")["spec"]["taints"]}
        assert taints["t"] == "NoSchedule"
    finally:
        lab.run("taint", "node", "node-1", "t-")
        assert lab.kctl("uncordon", "node-1").startswith("node/node-1 ")
    assert "unschedulable" not in lab.get("node", "node-1")["spec"]
