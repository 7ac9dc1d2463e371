"""Arguments that many commands share, and what they mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from cli import contexts
from pinnace import kinds
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

if TYPE_CHECKING:
    from cli.client import Client


class _Manners(argparse.ArgumentParser):
    """Errors in one line on stderr, exit code 1, no abbreviated flags."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}\nSee '{self.prog} --help' for usage.\n")


class Parser(_Manners):
    """argparse with kubectl's manners; the global flags may stand anywhere."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"kctl {command}", description=description, allow_abbrev=False)
        _add_globals(self, default="")

    def verbs(self) -> Any:
        """For commands of commands, such as `lab up`."""
        return self.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=_Verb)


class _Verb(_Manners):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more, allow_abbrev=False)
        # Absent here must not undo what stood before the verb.
        _add_globals(self, default=argparse.SUPPRESS)


def _add_globals(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument("-n", "--namespace", default=default, help="namespace (default: the context's)")
    parser.add_argument("--context", default=default, help="name of the context to use")
    parser.add_argument("--config", default=default, help="configuration file (default: ~/.pinnace/config)")


def client(args: Any) -> Client:
    """A client of the chosen context. Raises BadRequest, Unavailable."""
    from cli.client import Client

    return Client(contexts.current(args))


def add_selectors(parser: Parser) -> None:
    parser.add_argument("-l", "--selector", default="", help="label selector, such as app=web,tier!=cache")
    parser.add_argument("--field-selector", default="", help="field selector, such as status.phase=Running")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")


def add_files(parser: Parser) -> None:
    parser.add_argument("-f", "--filename", action="append", default=[], help="file, folder, or - for standard input")
    parser.add_argument("-R", "--recursive", action="store_true", help="folders with all below them")


def targets(words: list[str]) -> list[tuple[Kind, str]]:
    """(kind, name) of `pod web db`, `pod/web node/n1`, `pods,nodes`; an empty name means all. Raises NotFound, BadRequest."""
    if not words:
        raise BadRequest("say what: a kind such as `pods`, or kind/name (kctl api-resources lists the kinds)")
    if "/" in words[0]:
        pairs = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name or "/" in name:
                raise BadRequest(f'"{word}" is not kind/name; kind/name and plain names cannot be mixed')
            pairs.append((kinds.by_word(kind), name))
        return pairs
    found = [kinds.POD] if words[0] == "all" else [kinds.by_word(word) for word in words[0].split(",")]
    return [(kind, name) for kind in found for name in (words[1:] or [""])]


def seconds(text: str) -> float:
    """`90`, `90s`, `5m`, `1h30m`. Raises argparse.ArgumentTypeError."""
    import re

    if len(text) > 20:
        raise argparse.ArgumentTypeError(f'"{text[:20]}..." is not a duration such as 30s or 5m')
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f'"{text}" is not a duration such as 30s or 5m')
    return sum(float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
