"""Help texts: every flag of every command has one, which stands alone and uses the field's words."""

from __future__ import annotations

import argparse
import re
from types import SimpleNamespace

import pytest

from cli import main

# Words that the style guide replaces (say, mend, folder, ...), in what users read.
BANNED = re.compile(
    r"\b(says?|said|tells?|mend|folders?|beside|forgets?|goes|go on|what to|whose it is|nobody|whoever|people|ours)\b",
    re.IGNORECASE,
)


def test_every_flag_and_argument_has_a_help_text(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """None is left to be guessed from its name."""
    assert len(parsers) > len(main.COMMANDS)
    missing = [
        f"{name}: {action.option_strings or action.dest}"
        for name, parser in parsers.items()
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert not missing


def test_help_uses_the_words_of_the_field(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Files are in directories, errors have fixes, and flags do things instead of saying them."""
    texts = {name: text for name, (_, text) in main.COMMANDS.items()}
    for name, parser in parsers.items():
        texts[f"kctl {name}"] = parser.description or ""
        for action in parser._actions:
            texts[f"kctl {name} {action.option_strings or action.dest}"] = str(action.help or "")
    assert {place: text for place, text in texts.items() if BANNED.search(text)} == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "error: specify -f FILE, or KIND NAME (kctl create --help)\n"),
        (["get"], "error: specify TYPE [NAME] or TYPE/NAME (types: kctl api-resources)\n"),
        (["delete", "pod", "x", "--grace-period=0"], "error: --grace-period=0 does not wait for the node to stop the pod: add --force\n"),
        (["logs"], "error: specify a pod NAME, or -l SELECTOR\n"),
        (["patch", "pod"], "error: specify TYPE NAME or TYPE/NAME: kctl patch pod web -p PATCH\n"),
        (["cp", "a", "b"], "error: exactly one of source and destination must be in a pod (POD:PATH)\n"),
        (["doctor", "--cluster-cidr", "x"], "error: argument --cluster-cidr: "),
    ],
)  # fmt: skip
def test_a_missing_argument_is_named_with_its_fix(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any server is asked."""
    monkeypatch.setattr("cli.flags.client", lambda args: SimpleNamespace(context=SimpleNamespace(namespace="default")))
    assert main._exit_code(words) == 1
    assert capsys.readouterr().err.startswith(said)
