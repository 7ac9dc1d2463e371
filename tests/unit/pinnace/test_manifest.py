"""Manifests: YAML as Kubernetes reads it, lines that are right, and files that want to do harm."""

from __future__ import annotations

import pytest

from pinnace import manifest
from pinnace.errors import Cause, Invalid

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels:
    app.kubernetes.io/name: web
spec:
  containers:
  - name: a
    image: b
  - name: c
    env: [{name: X,
      value: y}]
"""


def one(text: str) -> manifest.Document:
    [document] = manifest.load(text.encode(), "pod.yaml")
    return document


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("metadata.name", 4), ("metadata.labels[app.kubernetes.io/name]", 6), ("spec.containers[0].image", 10),
        ("spec.containers[1].env[0].value", 13), ("spec.containers[1].env", 12), ("spec.containers[1].ports[0].x", 11),
        ("spec.restartPolicy", 7), ("nowhere", 1),
    ],
)  # fmt: skip
def test_paths_know_their_line(path: str, line: int) -> None:
    """A path that is not there takes its nearest parent's."""
    assert one(POD).locate(Cause(path, "x")) == f"pod.yaml:{line}: {path}: x"


def test_documents_anchors_and_json() -> None:
    """Several documents, empty ones left out; aliases repeat; JSON is YAML."""
    found = manifest.load(b"---\n---\na: &x [1, 2]\nb: *x\n---\n# nothing\n---\n" + b'{"c": {"d": [true]}}\n', "f")
    assert [item.value for item in found] == [{"a": [1, 2], "b": [1, 2]}, {"c": {"d": [True]}}]
    assert [item.line for item in found] == [3, 8]


def bomb() -> bytes:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(rows).encode()


def merge_bomb() -> bytes:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    return f"a: &a {{{keys}}}\nb:\n".encode() + b"".join(b"- <<: *a\n" for _ in range(1100))


HOSTILE = {
    "duplicate key": (b"a: 1\nb:\n  c: 1\n  c: 2\n", "f:4: b.c: duplicate key (first on line 3)"),
    "duplicate after quoting": (b"a: 1\n'a': 2\n", "f:2: a: duplicate key (first on line 1)"),
    "alias bomb": (bomb(), "values once aliases are expanded"),
    # libyaml has a bound of its own since 0.2.6, and looks ahead to the end of a flow.
    "deep JSON": (b'{"a":' * (1 << 20), "nested deeper than 64 levels"),
    "long number": (b'{"a": ' + b"9" * 100_000 + b"}", "inf is not a JSON number"),
    "deep flow": (b"[" * (10 << 20), "nest"),
    "deep block": (b"".join(b" " * n + b"a:\n" for n in range(200)), "nested deeper than 64 levels"),
    "self reference": (b"a: &a [*a]\n", "names no finished anchor"),
    "unknown alias": (b"a: *b\n", "f:1:"),
    "alias bomb of text": (b"a: &a " + b"x" * 100_000 + b"\nb:\n" + b"- *a\n" * 1_000, "values once aliases are expanded"),
    "merge bomb": (merge_bomb(), "values once aliases are expanded"),
    "merge of itself": (b"a: &a\n  <<: *a\n", "names no finished anchor"),
    "list as key": (b"? [1, 2]\n: 3\n", "f:1: a key must be a string"),
    "python tag": (b"a: !!python/object/apply:os.system [ls]\n", ""),
    "own tag": (b"a: !secret x\n", "f:1: tag !secret is not supported"),
    "tab": (b"a:\n\tb: 1\n", "f:2: not valid YAML"),
    "unclosed": (b"a: [1, 2\n", "not valid YAML"),
    "too large": (b"a: " + b"x" * (17 << 20), "larger than 16 MiB"),
    "control character": (b"a: \x00\n", "not valid YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_harmful_files_get_one_error_with_a_line(name: str) -> None:
    """Invalid, and never anything else."""
    content, said = HOSTILE[name]
    with pytest.raises(Invalid) as caught:
        for document in manifest.load(content, "f"):
            if name == "python tag" and not isinstance(document.value["a"], str):
                raise Invalid("only data was made")
    assert said in caught.value.message
