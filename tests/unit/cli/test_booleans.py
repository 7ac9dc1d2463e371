"""Boolean flags of every command take the values that Go's, and so kubectl's, take."""

from __future__ import annotations

import pytest

from cli import flags


def parser() -> flags.Parser:
    made = flags.Parser("x", "A command")
    made.add_argument("what", nargs="*", help="words")
    made.add_argument("-A", "--all-namespaces", action="store_true", help="all")
    made.add_argument("--wait", action="store_true", default=True, help="wait")
    return made


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], (False, True)),
        (["--all-namespaces=true", "--wait=false"], (True, False)),
        (["-A=1", "--wait=F"], (True, False)),
        (["--all-namespaces", "--all-namespaces=false"], (False, True)),
        (["--wait=FALSE", "--wait"], (False, True)),
    ],
)
def test_the_last_value_of_a_flag_holds(words: list[str], found: tuple[bool, bool]) -> None:
    """And a flag without a value takes no word from the arguments."""
    args = parser().parse_intermixed_args([*words, "pods"])
    assert (args.all_namespaces, args.wait, args.what) == (*found, ["pods"])


def test_other_values_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with exit code 1; no help text shows the values."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["--wait=maybe"])
    assert (caught.value.code, capsys.readouterr().err.splitlines()[0]) == (
        1, "error: argument --wait: not true or false: 'maybe'"
    )  # fmt: skip
    assert "=" not in parser().format_help()
