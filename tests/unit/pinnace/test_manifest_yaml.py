"""YAML text and the JSON that kubectl makes of it, as a table.

The right-hand sides were taken from kubectl's own reader (apimachinery 0.37's YAMLOrJSONDecoder over sigs.k8s.io/yaml 1.6).
"""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from pinnace import manifest, schema
from pinnace.core.v1.pod_pb2 import Pod

SCALARS: dict[str, Any] = {
    # Null and booleans: YAML 1.1's, and only in these spellings.
    "": None, "~": None, "null": None, "NULL": None, "nULL": "nULL", "~x": "~x",
    "y": True, "Y": True, "yes": True, "On": True, "TRUE": True, "n": False, "No": False, "off": False, "yES": "yES",
    # Integers, with underscores anywhere.
    "0": 0, "-0": 0, "+1": 1, "-5": -5, "1_000": 1000, "1__0": 10, "+_1": 1, "0644": 420, "0o17": 15, "0O7": 7,
    "0_7": 7, "00": 0, "0x1F": 31, "0X1f": 31, "0x_1": 1, "-0x1F": -31, "0b11": 3, "-0b11": -3, "0B1": 1,
    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63), "18446744073709551615": 2**64 - 1,
    "99999999999999999999": 10**20, "0777777777777777777777777777777": 7.777777777777778e29,
    "0" * 60 + "1": 1, "0xFFFFFFFFFFFFFFFFFF": "0xFFFFFFFFFFFFFFFFFF", "0x": "0x", "0b2": "0b2", "1_a": "1_a",
    # Floats; what is whole is an integer in JSON.
    "1.5": 1.5, "1.": 1, "1.0": 1, ".5": 0.5, "+.5": 0.5, "-.5e-3": -0.0005, ".5_0": 0.5, "1e3": 1000, "5e10": 50000000000,
    "1E5": 100000, "08": 8, "0899": 899, "12e45678": "12e45678", "1e400": "1e400", "1e21": 1e21, "1e-7": 1e-7, "-0.0": 0,
    "1e": "1e", ".": ".", "._1": "._1", "1.5.2": "1.5.2", "0x1p-2": "0x1p-2",
    # Text.
    "12:30:45": "12:30:45", "2001-01-01": "2001-01-01", "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "=": "=", "<<": "<<", "a:b": "a:b", "a#b": "a#b", "a # b": "a", "-x": "-x", "?x": "?x", ":x": ":x", "b\t": "b",
    "é\u00a0": "é\u00a0", "\U0001f600": "\U0001f600", "x\ufeffy": "x\ufeffy",
    # Quotes and tags.
    "'1'": "1", '"yes"': "yes", "'it''s'": "it's", '"\\x41\\u00e9\\U0001F600\\e\\N\\_\\L\\P\\0"': "Aé\U0001f600\x1b\x85\xa0\u2028\u2029\0",
    "'a\n\n  b'": "a\nb", '"a\\\n  b"': "ab", "'x\u2028y'": "x\u2028y", "'x\u0085y'": "x y", "! 5": "5",
    "!!str 5": "5", "!!int '5'": 5, "!!float 1": 1, "!!bool 'on'": True, "!!null ''": None, "!!timestamp 2001-01-01": "2001-01-01",
    "!!binary aGk=": "hi", "!!binary |\n  aG\n  k=": "hi", "!!set {a, b}": {"a": None, "b": None}, "!!foo 5": "5",
    # Blocks; the last line ends even where the file does not.
    "|\n  x": "x\n", "|-\n  x": "x", "|+\n  x\n": "x\n\n", ">\n  x\n  y": "x y\n", "|2\n   x": " x\n", "|2-\n    x": "  x",
    # Collections.
    "[a, 1, y,]": ["a", 1, True], "{a: b, c}": {"a": "b", "c": None}, "{a:1}": {"a:1": None}, '{"a":1}': {"a": 1},
    "[1.2.3.4, fd00::, x:]": ["1.2.3.4", "fd00::", "x:"], "{it's:, b: [c:]}": {"it's:": None, "b": ["c:"]}, "\n- b\n- - c": ["b", ["c"]], "{? k : v}": {"k": "v"}, "[a: b]": [{"a": "b"}], "[\n\tb,\n\tc]": ["b", "c"], "{}": {},
}  # fmt: skip


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_is_what_kubectl_makes_of_it(text: str) -> None:
    """And JSON writes it in the same way."""
    [document] = manifest.load(f"a: {text}\n".encode(), "f")
    value = document.value["a"]
    assert (value, type(value)) == (SCALARS[text], type(SCALARS[text]))
    assert json.dumps(value) == json.dumps(SCALARS[text])


KEYS = {
    "y": "true", "off": "false", "0x1F": "31", "012": "10", "1.10": "1.1", "1e3": "1000", "1000000.0": "1e+06", "999999.0": "999999",
    "1234567.0": "1.234567e+06", "1.23456789": "1.2345679", "0.0001": "0.0001", "0.00001": "1e-05", "-0.0": "-0", "1e40": ".inf",
    "-.inf": "-.inf", ".nan": ".nan", "2001-01-01": "2001-01-01", "99999999999999999999": "1e+20", "'y'": "y", "!!str 1": "1", "=": "=",
    "9223372036854775807": "9223372036854775807", "a b": "a b", "-": "-", "'<<'": "<<", '"\\u00e9"': "é", "? a\n": "a",
}  # fmt: skip


@pytest.mark.parametrize("text", KEYS)
def test_a_key_is_what_kubectl_makes_of_it(text: str) -> None:
    """Numbers and booleans become text; floats as 32-bit Go prints them."""
    [document] = manifest.load(f"{text}: x\n".encode(), "f")
    assert document.value == {KEYS[text]: "x"}


BASE = "base: &x {a: 1, b: 2}\nmore: &z {b: 3, c: 4}\n"
MERGES: dict[str, dict[str, Any]] = {
    "t:\n  <<: *x": {"a": 1, "b": 2},
    "t:\n  <<: *x\n  a: 9": {"a": 9, "b": 2},
    # Like kubectl, and unlike YAML: in the order of the text.
    "t:\n  a: 9\n  <<: *x": {"a": 1, "b": 2},
    "t:\n  <<: [*x, *z]": {"a": 1, "b": 2, "c": 4},
    "t:\n  <<: [*z, {b: 5, d: 6}]\n  c: 0": {"b": 3, "c": 0, "d": 6},
    "t:\n  <<: {q: 1}\n  q: 2": {"q": 2},
    "t:\n  <<: *x\n  <<: *z": {"a": 1, "b": 3, "c": 4},
    "t: {<<: *x, e: {<<: *z}}": {"a": 1, "b": 2, "e": {"b": 3, "c": 4}},
    "t:\n  !!merge <<: *x": {"a": 1, "b": 2},
    "t:\n  '<<': *x": {"<<": {"a": 1, "b": 2}},
    "u: &u\n  <<: *x\n  d: 1\nt:\n  <<: *u": {"a": 1, "b": 2, "d": 1},
}


@pytest.mark.parametrize("text", MERGES)
def test_merge_keys_merge(text: str) -> None:
    """Of mappings, lists of them and aliases; the merged mapping stays as it was."""
    [document] = manifest.load((BASE + text).encode(), "f")
    assert (document.value["t"], document.value["base"]) == (MERGES[text], {"a": 1, "b": 2})


STREAMS: dict[str, list[Any]] = {
    "a: 1\n---\nb: 2": [{"a": 1}, {"b": 2}],
    "--- # x\na: 1\n---  \n--- #y\nb: 2\n---": [{"a": 1}, {"b": 2}],
    "---\t\na: 1\n---#z\nb: 2\n...\n": [{"a": 1}, {"b": 2}],
    "a: 1\r\n---\r\nb: |\r\n  x\r\n": [{"a": 1}, {"b": "x\n"}],
    "a: 1\r\r\nb: 2\r\r\n": [{"a": 1, "b": 2}],
    "# only\n---\n\n---\nnull\n---\n# comments\n": [],
    "%YAML 1.1\n---\na: 1\n": [{"a": 1}],
    "a: |\n  ---\n  x\n": [{"a": "---\nx\n"}],
    "\ufeffa: 1\n---\n\ufeffb: 2\n": [{"a": 1}, {"b": 2}],
    "a: 1\n\ufeff---\nb: 2\n": [{"a": 1}, {"b": 2}],
    '{"a": 1}{"b": 2}\n{"c": 3}\n\n {"d": 4}': [{"a": 1}, {"b": 2}, {"c": 3}, {"d": 4}],
    '{"a": 1}\n---\nb: 2\n---\n{"c": "\\ud83d\\ude00\\/"}': [{"a": 1}, {"b": 2}, {"c": "\U0001f600/"}],
    '{"a": 1}\nb: 2': [{"a": 1}, {"b": 2}],
    '{"a": "x\u2028y\u0085z\x7f"}': [{"a": "x\u2028y\u0085z\x7f"}],
    '{"a": "\\ud800x", "b": "\\u0000"}': [{"a": "\ufffdx", "b": "\0"}],
    '{"' + "k" * 1100 + '": [1e5, 1.0, -0, {}, [], [[1], {"x": null}], true]}': [{"k" * 1100: [100000, 1, 0, {}, [], [[1], {"x": None}], True]}],
    "{'a': 1, b: [2,],}": [{"a": 1, "b": [2]}],
    '{\n\t"a": [\n\t\t1\n\t]\n}\n': [{"a": [1]}],
    '{"a": 0123}': [{"a": 83}],
    "  a: 1\n  b: 2": [{"a": 1, "b": 2}],
}  # fmt: skip


@pytest.mark.parametrize("text", STREAMS)
def test_a_stream_is_cut_as_kubectl_cuts_it(text: str) -> None:
    """Separators, byte order marks, line ends, JSON objects one after another."""
    assert [document.value for document in manifest.load(text.encode(), "f")] == STREAMS[text]


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF16_LE + "a: é\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "a: é\n".encode("utf-16-be"),
        codecs.BOM_UTF8 + "a: é\n".encode(),
    ],
)
def test_a_byte_order_mark_tells_the_encoding(data: bytes) -> None:
    """As PowerShell writes files."""
    assert [document.value for document in manifest.load(data, "f")] == [{"a": "é"}]


def test_bytes_that_are_not_utf8_are_replaced_with_a_warning() -> None:
    """Most are in comments, and kubectl reads them; here the first one is named."""
    [first, second] = manifest.load(b"a: 1\n# caf\xe9\nb: caf\xe9\n---\nc: 1\n", "f")
    assert first.value == {"a": 1, "b": "caf\ufffd"}
    assert first.warnings == ("f:2: not valid UTF-8: such bytes are read as U+FFFD (save the file as UTF-8)",)
    assert second.warnings == ()


def test_single_letters_are_text_in_fields_of_text() -> None:
    """Where kubectl would refuse them; in fields of booleans, and as keys, they are what it takes them for."""
    text = """
base: &base {name: y, value: 'y'}
spec:
  hostNetwork: y
  nodeName: N
  shareProcessNamespace: n
  nodeSelector: {y: Y, zone: n}
  containers:
  - {name: Y, args: [y, N, 'n', yes], env: [{<<: *base, value: n}], stdin: Y}
"""
    [document] = manifest.load(text.encode(), "f")
    document.restore_letters(schema.of(Pod), document.value)
    assert document.value["spec"] == {
        "hostNetwork": True, "nodeName": "N", "shareProcessNamespace": False, "nodeSelector": {"true": "Y", "zone": "n"},
        "containers": [{"name": "Y", "args": ["y", "N", "n", True], "env": [{"name": "y", "value": "n"}], "stdin": True}],
    }  # fmt: skip


BROKEN = {
    "a: .inf": ["f:1: a: inf is not a JSON number (quote it for a string)"],
    '{"a": [1, 1e400]}': ["f:1: a[1]: inf is not a JSON number (quote it for a string)"],
    "~: 1\na: 2": ["f:1: a key must be a string (put it in quotes)"],
    "a: !!int x\nb: !!null z": ["f:1: cannot decode !!str `x` as a !!int", "f:2: cannot decode !!str `z` as a !!null"],
    "a: !!binary x": ["f:1: !!binary value contains invalid base64 data"],
    "a: !!binary /w==": ["f:1: !!binary value is not UTF-8: write it as base64 text, without the tag"],
    "a: 1\na: 2\nb:\n  c: 1\n  'c': 2\n1: x\n'1': y": [
        "f:2: a: duplicate key (first on line 1)", "f:5: b.c: duplicate key (first on line 4)", "f:7: 1: duplicate key (first on line 6)",
    ],
    '{"a": 1,\n"a": 2}': ["f:2: a: duplicate key (first on line 1)"],
    "b: 1\n<<: [1]": ["f:2: map merge requires map or sequence of maps as the value"],
    "a: 1\n...\nb: 2": ["f:3: not valid YAML: did not find expected <document start>"],
    "--- {a: b}\nc: d": ["f:1: invalid document separator: --- {a: b}"],
    "a: 1\n----\nc: d": ["f:2: invalid document separator: ----"],
    "{{ .Values.x }}": ["f:1: a key must be a string (a template such as {{ .Values.x }} must be rendered first)"],
    "a: \x7f": ["f:1: not valid YAML: unacceptable character #x007f: control characters are not allowed"],
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_every_error_of_a_document_has_its_line(text: str) -> None:
    """Not only the first."""
    [document] = [document for document in manifest.read(text.encode(), "f") if document.errors]
    assert list(document.errors) == BROKEN[text]


def test_an_error_in_one_document_leaves_the_others() -> None:
    """Lines are counted through the whole file."""
    text = "a: [1\n---\nb: 2\n---\nc: 1\nc: 2\n---\n\td: 1\n---x\ne: 1\n---\nf: 1\n"
    found = [(document.line, document.value, document.errors) for document in manifest.read(text.encode(), "f")]
    assert [value for _, value, errors in found if not errors] == [{"b": 2}, {"f": 1}]
    said = "\n".join(error for _, _, errors in found for error in errors)
    assert said == (
        "f:2: not valid YAML: did not find expected ',' or ']'\n"
        "f:6: c: duplicate key (first on line 5)\n"
        "f:8: not valid YAML: found character that cannot start any token (a tab: indent with spaces)\n"
        "f:9: invalid document separator: ---x"
    )


def test_many_errors_are_counted() -> None:
    """A hundred are listed."""
    [document] = manifest.read(b"a: 1\n" * 301, "f")
    assert len(document.errors) == 101
    assert document.errors[-1] == "f:101: 200 more errors"
