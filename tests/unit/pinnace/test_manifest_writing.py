"""What kctl prints as YAML is read back as the same data, by kctl and by other readers of YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pinnace import codec, kinds, manifest
from pinnace.manifest.writing import dump

# Texts that some reader of YAML takes for something else, and parts of such.
TRICKY = [
    "5e10", "08", "y", "0o17", "1_000", ".5", "+1", "0x1F", "1e3", ".inf", "~", "null", "2001-01-01", "12:30:45", "=", "<<", "", " a",
    "a ", "-", "- a", "--- a", "...", "? a", "a: b", "a #b", "{}", "[a]", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "'a'", '"a"', "\\n",
    "12e45678", "1e400", "0777", "0b11", "-0", "1.", "0x_1", "Off", "No", "12e03", "1:2:3.5", "2001-12-14 21:59:43", "0x", "1__0", "._",
    "\n", "\n\n", "a\n", "a\n\n", "\na", " a\nb", "a\n b", "\ta\nb", "a\n\tb\n", "a \nb", "a\r\nb\r\n", "# a\n", "a\n---\nb\n", "a\n...\n",
    "\u0085", "a\u2028b", "a\u2029b\nc", "\ufeffa", "a\ufeff", "\0", "\x1b[31m", "\x7f", "\x9f", "\ufffe", "\U0001f600", "é\u00a0",
    "\t", "a\tb", "k" * 1_100, "a:", ":a", "a#", "#a", "-a", "--a", "---a", "/a", "$(A)", "10.1.2.3/24", "100m", "a,b", "x" * 300 + " y",
]  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(TRICKY),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("ab 1:-#\n\t'\"\\{}[],&*!|>%@`?=~<.\r\u0085\u2028\ufeff\0é", max_size=8),
    st.text("0123456789.:_-+eExXoObBtTzZ ", max_size=10),
)
DATA = st.dictionaries(TEXT, TEXT, max_size=4)
VALUES = st.recursive(
    st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)


def read(text: str) -> Any:
    [document] = manifest.load(text.encode(), "f")
    return document.value


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4))
@example({text: text for text in TRICKY})
@example({"a": [[[1], {"b": []}], {}, [{"c": {"d": "e\nf"}}], ["g\n"]]})
def test_any_document_is_read_back(value: dict[str, Any]) -> None:
    """By kctl's reader, and by one of YAML 1.1; also with another document behind it."""
    text = dump(value) + "\n"
    assert read(text) == value
    assert yaml.load(text, Loader=yaml.CSafeLoader) == value
    assert [document.value for document in manifest.load(f"{text}---\n{text}".encode(), "f")] == [value, value]


@given(DATA, DATA, TEXT)
def test_any_object_is_read_back(data: dict[str, str], annotations: dict[str, str], value: str) -> None:
    """From a message to YAML and back to the same message: data, annotations, the value of a variable."""
    config = kinds.CONFIG_MAP.cls(data=data, metadata={"name": "a", "annotations": annotations})
    pod = kinds.POD.cls(spec={"containers": [{"name": "a", "env": [{"name": "A", "value": value}], "command": [value]}]})
    for message in (config, pod):
        assert codec.decode(type(message), read(dump(codec.encode(message)) or "{}")) == message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "é 漢字 \U0001f600"}, "a: é 漢字 \U0001f600"),
        ({"a": "b\n\n  c: d # e\n"}, "a: |\n  b\n\n    c: d # e"),
        ({"a": ["b\nc", "-d", "--e"]}, "a:\n- |-\n  b\n  c\n- -d\n- --e"),
        ({"y": "no"}, "'y': 'no'"),
        ({"a": "it's: {}"}, "a: 'it''s: {}'"),
        ({"a": "x\t\ry\u2028\x1b\ufeff"}, 'a: "x\\t\\ry\\u2028\\e\\ufeff"'),
        ({"a": {"b": [{"c": 1, "d": None}, []], "e": {}}}, "a:\n  b:\n  - c: 1\n    d: null\n  - []\n  e: {}"),
        ({"a": "10.88.0.1", "b": "100m", "c": "nginx:1.25"}, "a: 10.88.0.1\nb: 100m\nc: nginx:1.25"),
        ([], "[]"),
    ],
)  # fmt: skip
def test_text_is_written_as_people_would_write_it(value: Any, text: str) -> None:
    """Every script as it is, blocks for several lines, quotes where they are needed."""
    assert dump(value) == text
