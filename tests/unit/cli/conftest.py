"""The parsers of all commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest

from cli import main


class Parsed(Exception):
    """The parser of a command, before it reads its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, argparse.ArgumentParser]:
    """Of every command and of every verb, by name."""

    def stop(self: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise Parsed(self)

    for method in ("parse_args", "parse_known_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, stop)
    found: dict[str, argparse.ArgumentParser] = {}
    for command in main.COMMANDS:
        with pytest.raises(Parsed) as caught:
            main.run([command])
        found |= dict(_with_verbs(command, caught.value.parser))
    return found


def _with_verbs(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield from _with_verbs(f"{name} {verb}", below)
