"""What an image's documents may hold: refused where they come, at the place that is wrong, or good for all that follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace.oci import BadImage, documents, manifest

DIGEST = "sha256:" + "a" * 64


def config(**run: Any) -> bytes:
    return json.dumps({"config": run, "rootfs": {"diff_ids": [DIGEST]}}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        manifest.config(data, 1, "the config of app:1")
    return str(caught.value)


SURROGATES = {
    "in a variable": (config(Env=["A=b", "C=\ud800"]), "config.Env[1] is not Unicode text: 'C=\\ud800'"),
    "in an argument": (config(Cmd=["sh", "-c", "\udfff x"]), "config.Cmd[2] is not Unicode text"),
    "in a user": (config(User="\ud83d"), "config.User is not Unicode text"),
    "in a key": (config(Labels={"\udc00": "x"}), "a key of config.Labels is not Unicode text"),
    "in what nothing reads": (
        json.dumps({"rootfs": {"diff_ids": [DIGEST]}, "history": [{"comment": "\udead"}]}).encode(),
        "history[0].comment is not Unicode text",
    ),
    "in capitals": (config(User="x").replace(b'"x"', b'"\\uD800"'), "config.User is not Unicode text"),
}


@pytest.mark.parametrize("name", SURROGATES)
def test_half_a_character_is_refused_at_its_place(name: str) -> None:
    """No file, message or environment could hold it."""
    data, said = SURROGATES[name]
    assert f"the config of app:1: {said}" in refused(data)


def test_a_whole_pair_is_a_character() -> None:
    """As JSON writes what is beyond 16 bits."""
    found = manifest.config(config(Env=["A=\U0001f600 \\ud800"]), 1, "it")
    assert found.run["Env"] == ["A=\U0001f600 \\ud800"]


ODD = {
    "a list that is none": (config(Env="A=b"), "config: Env is not a list"),
    "a variable that is a number": (config(Env=["A=b", 5]), "config: Env is not a list of strings without NUL: [1] is 5"),
    "a NUL in an argument": (config(Entrypoint=["a\0b"]), "config: Entrypoint is not a list of strings without NUL: [0] is 'a\\x00b'"),
    "a NUL in a user": (config(User="a\0"), "config: User is not a string without NUL of at most 256 characters: 'a\\x00'"),
    "a user of five thousand digits": (config(User="9" * 5000), "config: User is not a string without NUL of at most 256"),
    "a directory that is a list": (config(WorkingDir=["/"]), "config: WorkingDir is not a string"),
    "a directory that is false": (config(WorkingDir=False), "config: WorkingDir is not a string"),
    "a very long directory": (config(WorkingDir="/" * 5000), "config: WorkingDir is not a string"),
    "a signal of digits": (config(StopSignal="1" * 5000), "config: StopSignal is not a string"),
    "labels in a list": (config(Labels=["a"]), "config: Labels is not an object"),
    "a label that is a number": (config(Labels={"a": 1}), "config: Labels['a'] is not a string"),
    "a volume that is text": (config(Volumes={"/a": "b"}), "config: Volumes['/a'] is not an object"),
    "ports in a list": (config(ExposedPorts=[80]), "config: ExposedPorts is not an object"),
    "a config that is text": (b'{"config": "x", "rootfs": {"diff_ids": []}}', "names 0 layers"),
    "a number that is none": (config(Memory=float("nan")), "is not JSON"),
    "UTF-16": (config().decode().encode("utf-16"), "is not JSON in UTF-8 (byte 0)"),
    "half a byte sequence": (b'{"a": "\xed\xa0\x80"}', "is not JSON in UTF-8 (byte 7)"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "is not JSON"),
    "nested too deep": (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "is nested more than 32 deep"),
    "nested without end": (b'{"a":' + b"[" * 100_000, "is not JSON"),
    "a million values": (b'{"a":[' + b"[],"[:3] * 300_000 + b"0]}", "has more than 200000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_values_are_refused_at_their_place(name: str) -> None:
    """Each would have failed later, in a worker that then tries again."""
    data, said = ODD[name]
    assert said in refused(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_one_error(data: bytes) -> None:
    """A value that can be written again, or BadImage."""
    try:
        found = documents.document(data, "it")
    except BadImage:
        return
    json.dumps(found, ensure_ascii=False).encode()
