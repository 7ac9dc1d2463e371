"""kctl and the manifests of others: everything that can be applied is, and each error is told with its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alone import Alone, running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with running(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(alone: Alone) -> Iterator[None]:
    yield
    for kind in ("cm", "secrets", "pods"):
        alone.kctl("delete", kind, "--all", "--force", "--wait=false")


def config(name: str, **more: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}) + "\n"


def no_match(name: str, kind: str, version: str, line: int, *, source: str = "STDIN") -> str:
    """What kubectl says, and where."""
    place = "stdin" if source == "STDIN" else source
    return (
        f'error: resource mapping not found for name: "{name}" namespace: "" from "{source}": '
        f'no matches for kind "{kind}" in version "{version}"\n'
        f"ensure CRDs are installed first ({place}:{line}; kctl api-resources lists the kinds that are served)\n"
    )


MIXED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
---
apiVersion: bar/v1
kind: Foo
metadata: {name: x}
---
a: [
---
apiVersion: v1
kind: ConfigMap
metadata: {name: last}
"""


@pytest.mark.parametrize("verb", ["apply", "create"])
def test_an_unknown_kind_leaves_the_rest_of_the_file(alone: Alone, verb: str) -> None:
    """Before it and behind it; each is reported, after what was done, and the exit code is 1."""
    done = alone.kctl(verb, "-f", "-", stdin=MIXED)
    assert (done.returncode, done.stdout) == (1, "configmap/first created\nconfigmap/last created\n")
    assert done.stderr == (
        no_match("web", "Rollout", "argoproj.io/v1alpha1", 6)
        + no_match("x", "Foo", "bar/v1", 10)
        + "stdin:14: not valid YAML: did not find expected node content\n"
    )


@pytest.mark.parametrize(
    ("verb", "expected"), [("delete", 'configmap "last" deleted\nconfigmap "first" deleted\n'), ("get", None)]
)
def test_an_unknown_kind_leaves_what_is_asked_of_the_rest(alone: Alone, verb: str, expected: str | None) -> None:
    """Deletion and reading by file, as apply and create."""
    alone.kctl("apply", "-f", "-", stdin=MIXED)
    done = alone.kctl(verb, "-f", "-", *(["-o", "name"] if verb == "get" else []), stdin=MIXED)
    assert done.returncode == 1
    assert done.stdout == (expected or "configmap/first\nconfigmap/last\n")
    assert 'no matches for kind "Foo" in version "bar/v1"' in done.stderr


def test_a_directory_is_applied_as_far_as_it_can_be(alone: Alone, tmp_path: Path) -> None:
    """In the order of names at each level; files that cannot be parsed or read do not affect the others."""
    for name, text in {
        "b/x.yaml": config("in-b"), "b.yaml": config("b"), "a.yml": config("a"), "c.json": config("c1") + config("c2"), "d.txt": config("d"),
        "e.yaml": "a: [", "b/unknown.yaml": "apiVersion: v9\nkind: Foo\n", "f.yaml": "# empty\n", "z.yaml": config("z"),
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "g.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "h.yaml")
    done = alone.kctl("apply", "-R", "-f", str(tmp_path))
    assert done.stdout == "".join(f"configmap/{name} created\n" for name in ("a", "in-b", "b", "c1", "c2", "z"))
    assert done.returncode == 1
    assert done.stderr == (
        no_match("", "Foo", "v9", 2, source=f"{tmp_path}/b/unknown.yaml")
        + f"{tmp_path}/e.yaml:2: not valid YAML: did not find expected node content\n"
        + f"error: {tmp_path}/g.yaml: No such file or directory\n"
        + f"error: {tmp_path}/h.yaml: not a regular file\n"
    )
    assert alone.kctl("apply", "-f", str(tmp_path)).stdout.count("unchanged") == 5


def test_several_files_patterns_and_paths_that_are_missing(alone: Alone, tmp_path: Path) -> None:
    """A path that does not exist ends the command before anything is done, as in kubectl; all of them are named."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text(config(name))
    assert alone.kctl("apply", "-f", "[ab].yaml", "-f", "c.yaml", cwd=tmp_path).stdout.count("created") == 3
    assert alone.kctl("apply", "-f", "a.yaml,b.yaml", cwd=tmp_path).stdout.count("unchanged") == 2
    done = alone.kctl("delete", "-f", "a.yaml", "-f", "x.yaml", "-f", "y*.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'error: the path "x.yaml" does not exist\nerror: the path "y*.yaml" does not exist\n'


def test_lists_of_every_kind_are_flattened(alone: Alone) -> None:
    """Also nested ones, items that inherit their kind, and lists of kinds that are not served."""
    text = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMapList
  items:
  - metadata: {name: inherits}
  - {apiVersion: v1, kind: Secret, metadata: {name: says-so}}
- {apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}}
- {apiVersion: v1, kind: List, items: []}
- apiVersion: argoproj.io/v1alpha1
  kind: AnalysisRunList
  items: [{metadata: {name: ds}}]
- {apiVersion: v1, kind: ConfigMap, metadata: {name: last, labels: {a: 1}}}
- text
"""
    empty = alone.kctl("apply", "-f", "-", stdin='{"apiVersion": "v1", "kind": "List", "items": null}')
    assert (empty.returncode, empty.stderr) == (1, "error: no objects passed to apply\n")
    done = alone.kctl("apply", "-f", "-", stdin=text)
    assert (done.returncode, done.stdout) == (1, "configmap/inherits created\nsecret/says-so created\n")
    assert done.stderr == (
        no_match("web", "Rollout", "argoproj.io/v1alpha1", 10)
        + no_match("ds", "AnalysisRun", "argoproj.io/v1alpha1", 14)
        + 'stdin:16: items[5]: expected an object, got "text"\n'
        + "stdin:15: items[4].metadata.labels.a: expected a string, got 1 (put it in quotes)\n"
    )


def test_every_error_of_a_document_is_named(alone: Alone) -> None:
    """Unknown, unsupported, wrong and missing fields together, none cut short, in apply, create and the client's check."""
    containers = "".join(
        f"  - name: c{n}\n    image: busybox\n    unknownField{n}: {{}}\n    workingDirectory: /x\n" for n in range(60)
    )
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, lables: {}}\nspec:\n  hostname: 5\n  restartPolicy: Sometimes\n"
        + "  ephemeralContainer: []\n  containers:\n" + containers + "  - image: busybox\n"
    )  # fmt: skip
    for command in (["apply"], ["create"], ["apply", "--dry-run=client"]):
        done = alone.kctl(*command, "-f", "-", stdin=text)
        said = done.stderr.splitlines()
        assert (done.returncode, done.stdout, len(said)) == (1, "", 5 + 2 * 60)
        assert [int(line.split(":")[1]) for line in said] == sorted(int(line.split(":")[1]) for line in said)
        assert "stdin:3: metadata.lables: unknown field (did you mean labels?)" in said
        assert "stdin:5: spec.hostname: expected a string, got 5 (put it in quotes)" in said
        assert "stdin:68: spec.containers[14].workingDirectory: unknown field (did you mean workingDir?)" in said
        assert "stdin:249: spec.containers[60].name: Required value" in said
        assert any(line.startswith('stdin:6: spec.restartPolicy: Unsupported value: "Sometimes"') for line in said)


def test_errors_of_the_text_and_of_its_fields_are_named_together(alone: Alone) -> None:
    """A document that is not sent, because of a duplicate key, still gets all that is wrong with it told."""
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  schedulingGroup: {}\n  imag: x\n  schedulingGroup: {podGroupName: b}\n"
    unknown = "---\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web, name: web}\n"
    done = alone.kctl("apply", "-f", "-", stdin=pod + unknown)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "stdin:7: spec.schedulingGroup: duplicate key (first on line 5)\n"
        "stdin:4: spec.containers: Required value\n"
        "stdin:5: spec.schedulingGroup: Pinnace does not support this field yet\n"
        "stdin:6: spec.imag: unknown field\n"
        "stdin:11: metadata.name: duplicate key (first on line 11)\n"
    ) + no_match("web", "Rollout", "argoproj.io/v1alpha1", 10)


def test_errors_send_no_control_sequences_to_the_terminal(alone: Alone) -> None:
    """Whatever a manifest has for keys, kinds, names and values."""
    evil = r"\x1b]0;x\x07\x9b31m\u202e"
    text = f'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n"{evil}": "{evil}"\ndata: {{"{evil}": 1}}\n'
    text += f'---\napiVersion: "{evil}"\nkind: "{evil}"\nmetadata: {{name: "{evil}", namespace: "{evil}"}}\n'
    text += (
        f'---\napiVersion: v1\nkind: Pod\nmetadata: {{name: "{evil}", namespace: default}}\nspec: {{restartPolicy: "{evil}"}}\n'
    )
    text += f'---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: b, namespace: "{evil}"}}\n---\n"{evil}": 1\n"{evil}": 2\n'
    for command in (["apply"], ["create"], ["apply", "--dry-run=client"], ["apply", "-n", "default"], ["delete"], ["get"]):
        done = alone.kctl(*command, "-f", "-", stdin=text)
        assert done.returncode == 1
        assert [line for line in (done.stdout + done.stderr).split("\n") if not line.isprintable()] == []


def test_a_namespace_that_is_not_the_asked_one_concerns_only_its_object(alone: Alone) -> None:
    """As in kubectl."""
    text = config("here") + json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there", "namespace": "x"}}
    )
    done = alone.kctl("apply", "-n", "default", "-f", "-", stdin=text)
    assert (done.returncode, done.stdout) == (1, "configmap/here created\n")
    assert done.stderr == (
        'error: the namespace from the provided object "x" does not match the namespace "default". '
        "You must pass '--namespace=x' to perform this operation. (stdin:2)\n"
    )


def test_more_objects_than_one_call_takes(alone: Alone) -> None:
    """And one that no call takes."""
    big = config("big", data={"a": "x" * (4 << 20)})
    done = alone.kctl("apply", "-f", "-", stdin=big + "".join(config(f"c{n}") for n in range(450)))
    assert (done.returncode, done.stdout.count("created")) == (1, 450)
    assert done.stderr == "error: stdin:1: the object is larger than 3 MiB\n"


@pytest.mark.parametrize("verb", ["apply", "create"])
@pytest.mark.parametrize("format_", ["yaml", "json"])
def test_what_kctl_prints_it_reads(alone: Alone, verb: str, format_: str) -> None:
    """Whatever the text: applied again it is unchanged, created again it is the same."""
    texts = [
        "5e10",
        "08",
        "y",
        "0o17",
        "1_000",
        "~",
        ".inf",
        "2001-01-01",
        "12:30:45",
        "<<",
        "",
        " a ",
        "a \nb\t\n\n",
        "a\r\nb",
        "\ta\nb",
    ]
    texts += [
        "é 漢字 \U0001f600 \u2028\u0085",
        "\ufeffa",
        "\0\x1b[0m\x7f",
        "k: v\n- x\n",
        "12e45678",
        "Off",
        "0x_1",
        "null",
        "!t",
        "# c\n",
    ]
    data = {f"k{n}": text for n, text in enumerate(texts)} | {"y": "n", "1e3": "1", "0777": "2"}
    value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "all", "annotations": data}, "data": data}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"on": "0777"}}}
    pod["spec"] = {
        "containers": [
            {"name": "c", "image": "busybox", "env": [{"name": f"A{n}", "value": text} for n, text in enumerate(texts)]}
        ]
    }
    assert alone.kctl("apply", "-f", "-", stdin=json.dumps(value) + json.dumps(pod)).stdout.count("created") == 2
    printed = alone.kctl("get", "cm/all", "pod/p", "-o", format_).stdout
    assert "é 漢字 \U0001f600" in printed
    assert yaml.safe_load(printed)["items"][0]["data"] == data
    if verb == "create":
        alone.kctl("delete", "cm/all", "pod/p", "--force")
    done = alone.kctl(verb, "-f", "-", stdin=printed)
    word = "unchanged" if verb == "apply" else "created"
    assert (done.stderr, done.stdout) == ("", f"configmap/all {word}\npod/p {word}\n")
    again = json.loads(alone.kctl("get", "cm", "all", "-o", "json").stdout)
    assert (again["data"], again["metadata"]["annotations"]) == (data, data)


def test_an_old_copy_is_a_conflict(alone: Alone) -> None:
    """As in kubectl, nothing is overwritten; the other objects of the file are applied."""
    alone.kctl("apply", "-f", "-", stdin=config("a", data={"n": "1"}))
    printed = alone.kctl("get", "cm", "a", "-o", "yaml").stdout
    alone.kctl("apply", "-f", "-", stdin=config("a", data={"n": "2"}))
    done = alone.kctl("apply", "-f", "-", stdin=printed + "---\n" + config("b"))
    assert (done.returncode, done.stdout) == (1, "configmap/b created\n")
    assert done.stderr.startswith(
        'Error from server (Conflict): stdin:1: Operation cannot be fulfilled on configmaps "a": the object has been modified; '
    )
    assert alone.kctl("get", "cm", "a", "-o", "jsonpath={.data.n}").stdout == "2"


def test_replace_puts_the_whole_object_in_place(alone: Alone) -> None:
    """What a file lacks goes; an old copy is a conflict, and an object that does not exist an error, for it alone."""
    alone.kctl("create", "-f", "-", stdin=config("a", data={"k": "1", "l": "1"}))
    printed = alone.kctl("get", "cm", "a", "-o", "yaml").stdout
    done = alone.kctl("replace", "-f", "-", stdin=config("missing") + config("a", data={"k": "2"}))
    assert (done.returncode, done.stdout) == (1, "configmap/a replaced\n")
    assert done.stderr == 'Error from server (NotFound): stdin:1: configmaps "missing" not found\n'
    assert alone.kctl("get", "cm", "a", "-o", "jsonpath={.data}").stdout == '{"k":"2"}'
    assert "(Conflict)" in alone.kctl("replace", "-f", "-", stdin=printed).stderr
    for managed in ((), ("--show-managed-fields",)):
        printed = alone.kctl("get", "cm", "a", "-o", "yaml", *managed).stdout
        for verb in ("replace", "apply"):
            assert alone.kctl(verb, "-f", "-", stdin=printed).stderr == ""
            printed = alone.kctl("get", "cm", "a", "-o", "yaml", *managed).stdout


def test_created_objects_are_printed_as_one_stream(alone: Alone) -> None:
    """Which kctl reads again."""
    done = alone.kctl("create", "-f", "-", "-o", "yaml", stdin=config("a") + config("b"))
    assert done.stdout.count("---\n") == 1
    assert alone.kctl("apply", "-f", "-", stdin=done.stdout).stdout == "configmap/a unchanged\nconfigmap/b unchanged\n"


def test_output_is_utf8_in_every_locale(alone: Alone) -> None:
    """As the manifests are."""
    alone.kctl("apply", "-f", "-", stdin=config("a", data={"k": "é"}))
    alone.environment["LC_ALL"] = alone.environment["PYTHONIOENCODING"] = "latin-1"
    try:
        assert "k: é\n" in alone.kctl("get", "cm", "a", "-o", "yaml").stdout
    finally:
        del alone.environment["LC_ALL"], alone.environment["PYTHONIOENCODING"]
