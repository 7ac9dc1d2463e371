"""`apply --prune` of kctl and of kubectl, on one control plane: both delete the same objects, say the same and fail for the same reasons."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import downloads
from tests.support.labs import DEADLINE
from tests.support.planes import Plane, plane

SETS = itertools.count()
CUSTOM = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: groupings.example.com, labels: {applyset.kubernetes.io/is-parent-type: "true"}}
spec:
  group: example.com
  scope: Cluster
  names: {plural: groupings, singular: grouping, kind: Grouping, listKind: GroupingList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def pruned(self) -> list[str]:
        return sorted(line for line in self.out.splitlines() if "pruned" in line)


@dataclass
class Tool:
    name: str
    words: list[str]
    environment: dict[str, str]
    flags: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        done = subprocess.run(
            [*self.words, *arguments], input=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def apply(self, *arguments: str, stdin: str = "") -> Result:
        return self("apply", "-f", "-", *self.flags, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        done = self("get", *arguments, "-o", "json")
        assert done.code == 0, done
        return json.loads(done.out)

    def names(self, kind: str, namespace: str) -> list[str]:
        return [
            item["metadata"]["name"]
            for item in self.get(kind, "-n", namespace)["items"]
            if item["metadata"]["name"] != "kube-root-ca.crt"
        ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("prune")) as found:
        yield found


@pytest.fixture(scope="module")
def kctl(served: Plane) -> Tool:
    return Tool("kctl", [sys.executable, "-P", "-m", "cli.main"], {"PINNACE_CONFIG": str(served.folder / "admin.yaml")})


@pytest.fixture(scope="module")
def kubectl(served: Plane, kctl: Tool, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    file = tmp_path_factory.mktemp("kubectl") / "config"
    file.write_text(kctl("config", "kubeconfig").out)
    return Tool("kubectl", [downloads.kubectl()], {"KUBECONFIG": str(file), "KUBECTL_APPLYSET": "true"}, ["--server-side"])


@pytest.fixture(params=["kctl", "kubectl"])
def tool(request: pytest.FixtureRequest) -> Tool:
    found: Tool = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def space(kctl: Tool) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"space-{next(SETS)}"
    assert kctl("create", "namespace", name).code == 0
    yield name
    kctl("delete", "namespace", name, "--wait=false")


def config_map(name: str, **meta: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}) + "\n"


def maps(*names: str) -> str:
    return "---\n".join(config_map(name) for name in names)


def test_a_set_is_applied_and_what_leaves_it_is_pruned(tool: Tool, space: str) -> None:
    """The parent names the kinds that are in the set now."""
    flags = ("--prune", "--applyset=configmaps/set", "-n", space)
    account = "---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}"
    first = tool.apply(*flags, stdin=maps("a", "b") + account)
    assert (first.code, first.pruned) == (0, []), first
    parent = tool.get("cm", "set", "-n", space)["metadata"]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,ServiceAccount"
    assert parent["annotations"]["applyset.kubernetes.io/additional-namespaces"] == ""
    assert parent["annotations"]["applyset.kubernetes.io/tooling"].startswith(f"{tool.name}/v")
    member = tool.get("cm", "a", "-n", space)["metadata"]["labels"]
    assert member == {"applyset.kubernetes.io/part-of": parent["labels"]["applyset.kubernetes.io/id"]}
    assert tool("create", "cm", "other", "-n", space).code == 0
    second = tool.apply(*flags, stdin=maps("a"))
    assert (second.code, second.pruned) == (0, ["configmap/b pruned", "serviceaccount/robot pruned"]), second
    assert tool.names("cm", space) == ["a", "other", "set"]
    parent = tool.get("cm", "set", "-n", space)["metadata"]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap"
    assert tool.apply(*flags, stdin=maps("a")).pruned == []


def test_both_give_a_set_the_same_id(kctl: Tool, kubectl: Tool, space: str) -> None:
    """A Secret by default; the name and the namespace count."""
    ids = []
    for tool in (kctl, kubectl):
        assert tool.apply("--prune", "--applyset=same", "-n", space, stdin=maps("x")).code == 0
        ids.append(tool.get("secret", "same", "-n", space)["metadata"]["labels"]["applyset.kubernetes.io/id"])
        assert tool("delete", "secret/same", "cm/x", "-n", space).code == 0
    assert ids[0] == ids[1]
    assert ids[0].startswith("applyset-")
    assert ids[0].endswith("-v1")


def test_members_in_other_namespaces_are_pruned_too(tool: Tool, space: str) -> None:
    """By a parent of a cluster-wide custom kind as well, which has to exist before."""
    assert tool("apply", "-f", "-", stdin=CUSTOM).code == 0
    assert tool("wait", "--for=condition=established", "crd/groupings.example.com", "--timeout=60s").code == 0
    name = f"{tool.name}-{space}"
    flags = ("--prune", f"--applyset=groupings.example.com/{name}")
    here = config_map("far", namespace=space)
    early = tool.apply(*flags, stdin=here)
    assert (early.code, early.err) == (1, "error: custom resource ApplySet parents cannot be created automatically\n")
    parent = {
        "apiVersion": "example.com/v1", "kind": "Grouping", "metadata": {
            "name": name, "annotations": {"applyset.kubernetes.io/tooling": f"{tool.name}/v1", "applyset.kubernetes.io/contains-group-kinds": ""},
        },
    }  # fmt: skip
    assert tool("create", "-f", "-", stdin=json.dumps(parent)).code == 0
    wrong = tool.apply(*flags, stdin=here)
    assert "does not have required label applyset.kubernetes.io/id" in wrong.err
    digest = base64.urlsafe_b64encode(hashlib.sha256(f"{name}..Grouping.example.com".encode()).digest()).decode().rstrip("=")
    assert tool("label", "groupings.example.com", name, f"applyset.kubernetes.io/id=applyset-{digest}-v1").code == 0
    first = tool.apply(*flags, stdin=here)
    assert first.code == 0, first
    meta = tool.get("groupings.example.com", name)["metadata"]
    assert meta["annotations"]["applyset.kubernetes.io/additional-namespaces"] == space
    second = tool.apply(*flags, stdin=maps("near"))
    assert second.pruned == ["configmap/far pruned"], second
    assert tool.names("cm", space) == []
    tool("delete", "cm", "near")


def test_a_failed_apply_prunes_nothing(tool: Tool, space: str) -> None:
    """The parent then covers what was and what is to be; the next apply prunes both."""
    flags = ("--prune", "--applyset=cm/set", "-n", space)
    assert tool.apply(*flags, stdin=maps("a", "b")).code == 0
    bad = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: Wrong}}"
    failed = tool.apply(*flags, stdin=f"{maps('a')}---\n{bad}")
    assert failed.code == 1
    assert failed.pruned == []
    assert tool.names("cm", space) == ["a", "b", "set"]
    parent = tool.get("cm", "set", "-n", space)["metadata"]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,ServiceAccount"
    assert tool.apply(*flags, stdin=maps("a")).pruned == ["configmap/b pruned"]


def test_a_dry_run_changes_nothing(tool: Tool, space: str) -> None:
    flags = ("--prune", "--applyset=cm/set", "-n", space)
    assert tool.apply(*flags, stdin=maps("a", "b")).code == 0
    done = tool.apply(*flags, "--dry-run=server", stdin=maps("a", "c"))
    assert (done.code, done.pruned) == (0, ["configmap/b pruned (server dry run)"]), done
    assert tool.names("cm", space) == ["a", "b", "set"]


def test_the_names_alone_are_printed_with_o_name(tool: Tool, space: str) -> None:
    flags = ("--prune", "--applyset=cm/set", "-n", space, "-o", "name")
    assert tool.apply(*flags, stdin=maps("a", "b")).code == 0
    assert tool.apply(*flags, stdin=maps("a")).out == "configmap/a\nconfigmap/b\n"


def test_a_parent_that_another_manager_changed_is_taken_back(kctl: Tool, space: str) -> None:
    """With a warning."""
    flags = ("--prune", "--applyset=cm/set", "-n", space)
    assert kctl.apply(*flags, stdin=maps("a")).code == 0
    changed = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "set", "annotations": {"applyset.kubernetes.io/tooling": "kctl/v9"}},
    }
    assert (
        kctl("apply", "-f", "-", "-n", space, "--force-conflicts", "--field-manager=other", stdin=json.dumps(changed)).code == 0
    )
    done = kctl.apply(*flags, stdin=maps("a"))
    assert done.code == 0
    assert "Retrying with conflicts forced" in done.err
    assert kctl.get("cm", "set", "-n", space)["metadata"]["annotations"]["applyset.kubernetes.io/tooling"] != "kctl/v9"


def test_a_set_of_the_other_tool_is_refused(kctl: Tool, kubectl: Tool, space: str) -> None:
    """By both in the same words; nothing changes."""
    flags = ("--prune", "-n", space)
    for mine, other in ((kctl, kubectl), (kubectl, kctl)):
        name = f"--applyset=cm/of-{mine.name}"
        first, second = f"{mine.name}-1", f"{mine.name}-2"
        assert mine.apply(*flags, name, stdin=maps(first, second)).code == 0
        refused = other.apply(*flags, name, stdin=maps(first))
        text = f'already exists and is managed by tooling "{mine.name}" instead of "{other.name}"'
        assert (refused.code, refused.err) == (1, f'error: ApplySet parent object "configmaps./of-{mine.name}" {text}\n')
        assert second in kctl.names("cm", space)


PARENTS = {
    "is missing required annotation": {},
    "managed by tooling": {"annotations": {"applyset.kubernetes.io/tooling": "helm/v4"}},
    "does not have required label": {"annotations": {"applyset.kubernetes.io/tooling": "TOOL/v1"}},
    "has incorrect value for label": {
        "annotations": {"applyset.kubernetes.io/tooling": "TOOL/v1"}, "labels": {"applyset.kubernetes.io/id": "applyset-x-v1"}
    },
}  # fmt: skip


@pytest.mark.parametrize("text", PARENTS)
def test_what_is_no_parent_of_this_set_is_refused_as_kubectl_does(kctl: Tool, kubectl: Tool, space: str, text: str) -> None:
    said = []
    for tool in (kctl, kubectl):
        meta = json.loads(json.dumps({"name": "set", **PARENTS[text]}).replace("TOOL", tool.name))
        parent = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        assert tool("create", "-n", space, "-f", "-", stdin=parent).code == 0
        done = tool.apply("--prune", "--applyset=cm/set", "-n", space, stdin=maps("a"))
        assert done.code == 1
        assert text in done.err
        assert tool("delete", "cm", "set", "-n", space).code == 0
        said.append(done.err.replace(f'"{tool.name}"', "TOOL"))
    assert said[0] == said[1]


def test_annotations_without_kinds_are_refused(tool: Tool, space: str) -> None:
    """Members could not be found."""
    flags = ("--prune", "--applyset=cm/set", "-n", space)
    assert tool.apply(*flags, stdin=maps("a")).code == 0
    key = "applyset.kubernetes.io/contains-group-kinds"
    for value, text in (
        (None, f'{tool.name} requires the "{key}" annotation'),
        ("Gone.example.com", "could not find mapping for kind"),
    ):
        patch = json.dumps({"metadata": {"annotations": {key: value}}})
        assert tool("patch", "cm", "set", "-n", space, "--type=merge", "-p", patch).code == 0
        done = tool.apply(*flags, stdin=maps("a"))
        assert done.code == 1
        assert text in done.err


REFUSED = [
    ("--applyset=x",),
    ("--prune",),
    ("--all", "-l", "a=b", "--prune"),
    ("--prune", "--applyset=x", "-n", "default", "--all"),
    ("--prune", "--applyset=x", "-n", "default", "-l", "a=b"),
    ("--prune", "--applyset=x", "-n", "default", "--prune-allowlist=core/v1/ConfigMap"),
    ("--prune", "--applyset=x"),
    ("--prune", "--applyset=cm/"),
    ("--prune", "--applyset=pods/x", "-n", "default"),
    ("--prune", "--applyset=deployments.apps/x", "-n", "default"),
    ("--prune", "--applyset=namespaces/x"),
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_flags_that_do_not_go_together_are_refused_as_kubectl_does(kctl: Tool, kubectl: Tool, words: tuple[str, ...]) -> None:
    mine, theirs = kctl.apply(*words, stdin=maps("a")), kubectl.apply(*words, stdin=maps("a"))
    assert (mine.code, mine.err) == (theirs.code, theirs.err)


@pytest.mark.parametrize("words", [("core/v1",), ("core/v1/Nothing",), ("nowhere/v1/Nothing",)], ids=" ".join)
def test_kinds_that_cannot_be_pruned_are_refused_as_kubectl_does(kctl: Tool, kubectl: Tool, words: tuple[str, ...]) -> None:
    """kubectl prunes by labels with its client-side apply alone."""
    flags = ("--prune", "--all", f"--prune-allowlist={words[0]}")
    mine = kctl.apply(*flags, stdin=maps("a"))
    theirs = kubectl("apply", "-f", "-", *flags, stdin=maps("a"))
    assert (mine.code, mine.err) == (theirs.code, theirs.err)


def test_a_label_of_the_set_in_a_file_is_refused(kctl: Tool, kubectl: Tool, space: str) -> None:
    member = config_map("a", labels={"applyset.kubernetes.io/part-of": "x"})
    flags = ("--prune", "--applyset=cm/set", "-n", space)
    mine, theirs = kctl.apply(*flags, stdin=member), kubectl.apply(*flags, stdin=member)
    assert (mine.code, mine.err) == (theirs.code, theirs.err)
    assert "already set in input data" in mine.err


def labelled(*names: str) -> str:
    return "---\n".join(config_map(name, labels={"app": "web"}) for name in names)


def test_objects_with_a_label_are_pruned_where_they_were_applied(kctl: Tool, kubectl: Tool, space: str) -> None:
    """Not those that something else has made, of another kind, in another namespace, or without the label."""
    for tool in (kctl, kubectl):
        flags = ("--prune", "-l", "app=web", "-n", space, "--prune-allowlist=core/v1/ConfigMap")

        def apply(*words: str, stdin: str, tool: Tool = tool) -> Result:
            return tool("apply", "-f", "-", *words, stdin=stdin)

        assert apply("-n", space, stdin=labelled("a", "b")).code == 0
        assert apply("-n", space, stdin=maps("plain")).code == 0
        assert apply("-n", "default", stdin=labelled("elsewhere")).code == 0
        assert tool("create", "cm", "made", "-n", space).code == 0
        assert tool("label", "cm", "made", "app=web", "-n", space).code == 0
        # Only what the selector matches is applied.
        done = apply(*flags, stdin=labelled("a") + "---\n" + maps("unlabelled"))
        assert (done.code, done.pruned) == (0, ["configmap/b pruned"]), done
        assert tool.names("cm", space) == ["a", "made", "plain"]
        assert apply(*flags, "--dry-run=server", stdin=labelled("c")).pruned == ["configmap/a pruned (server dry run)"]
        assert tool("delete", "cm", "a", "made", "plain", "-n", space).code == 0
        assert tool("delete", "cm", "elsewhere", "-n", "default").code == 0


def test_kctl_prunes_what_kubectl_has_applied(kctl: Tool, kubectl: Tool, space: str) -> None:
    """On the client's side, by its annotation; the default list has ConfigMaps and no ServiceAccounts."""
    account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, labels: {app: web}}}"
    assert kubectl("apply", "-n", space, "-f", "-", stdin=f"{labelled('old')}---\n{account}").code == 0
    done = kctl.apply("--prune", "-l", "app=web", "-n", space, stdin=labelled("new"))
    assert (done.code, done.pruned) == (0, ["configmap/old pruned"]), done
    assert "will no longer prune non-namespaced resources by default" in done.err
    assert "robot" in kctl.names("sa", space)


def test_a_failed_apply_prunes_nothing_by_labels_either(kctl: Tool, space: str) -> None:
    flags = ("--prune", "-l", "app=web", "-n", space)
    assert kctl.apply(*flags, stdin=labelled("a", "b")).code == 0
    done = kctl.apply(*flags, stdin=labelled("a", "Wrong"))
    assert (done.code, done.pruned) == (1, [])
    broken = kctl.apply(*flags, stdin=labelled("a") + "---\n: :")
    assert (broken.code, broken.pruned) == (1, [])
    assert kctl.names("cm", space) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--prune", "--all", "--dry-run=client"), "--dry-run=client doesn't work with --prune"),
     (("--prune", "--all", "--subresource=status"), "--subresource cannot be used with --prune"),
     (("--prune-allowlist=core/v1/ConfigMap",), "--prune-allowlist requires --prune")],
)  # fmt: skip
def test_what_kctl_does_not_do_is_refused(kctl: Tool, words: tuple[str, ...], text: str) -> None:
    done = kctl.apply(*words, stdin=maps("a"))
    assert done.code == 1
    assert text in done.err
