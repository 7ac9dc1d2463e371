"""Flags with numbers: one that a message cannot have is an error of the flag, and none of kctl."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from cli import flags, main

WORDS = (
    "0",
    "-1",
    "-5",
    "65536",
    "4294967296",
    "9" * 19,
    "-" + "9" * 19,
    "9" * 30,
    "nan",
    "1e400",
    "1_000",
    "",
    "1h",
    "876000h",
)


def typed(parsers: dict[str, argparse.ArgumentParser]) -> list[tuple[str, Any]]:
    return [
        (f"{name} {' '.join(action.option_strings) or action.dest}", action.type)
        for name, parser in parsers.items()
        for action in parser._actions
        if action.type is not None
    ]


def test_no_flag_takes_any_number(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Each has a type with a range."""
    found = typed(parsers)
    assert len(found) > 30
    assert [name for name, of in found if of in (int, float)] == []


def test_numbers_fit_messages(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Of 64 bits, whatever is typed; the rest are errors that argparse names the flag with."""
    for name, of in typed(parsers):
        for word in WORDS:
            try:
                value = of(word)
            except (argparse.ArgumentTypeError, ValueError, TypeError):
                continue
            assert not isinstance(value, int | float) or abs(value) < 1 << 63, (name, word)


@pytest.mark.parametrize(
    "arguments",
    [
        ["net", "capture", "web", "-c", "-1"], ["net", "capture", "web", "--count", "4294967296"],
        ["net", "capture", "web", "--port", "-5"], ["net", "capture", "web", "--port", "65536"],
        ["net", "capture", "web", "--max-bytes", "-1"], ["net", "capture", "web", "-s", "-1"],
        ["net", "capture", "web", "--duration=-1s"], ["proxy", "--port", "65536"], ["logs", "web", "--limit-bytes", "-1"],
        ["logs", "web", "--tail", "9" * 30], ["delete", "pod", "web", "--grace-period", "9" * 30],
        ["drain", "n1", "--skip-wait-for-delete-timeout", "9" * 30],
    ],
)  # fmt: skip
def test_an_error_names_the_flag_and_its_range(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """As errors of use do."""
    assert main._exit_code(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: argument ")
    flag = next(word for word in arguments if word.startswith("-"))
    assert flag.partition("=")[0] in said
    assert "is not a number from" in said or "is negative" in said
    assert "--help" in said


@pytest.mark.parametrize(("text", "expected"), [("-3", -3), ("0", 0), ("7", 7)])
def test_a_number_within_its_range(text: str, expected: int) -> None:
    """The bounds included."""
    assert flags.between(-3, 7)(text) == expected


@pytest.mark.parametrize("text", ["-4", "8", "--1", "+1", "1.0", "", "-", "٣"])
def test_all_else_is_refused(text: str) -> None:
    """Python's own spellings of numbers, too."""
    with pytest.raises(argparse.ArgumentTypeError, match="from -3 to 7"):
        flags.between(-3, 7)(text)
