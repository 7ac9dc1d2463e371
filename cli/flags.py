"""Arguments that many commands share, and what they mean."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from pinnace.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    # Kinds have all messages, which take longer to import than everything else of a command that does without.
    from cli.client import Client
    from pinnace.kinds import Kind


# A hundred years; more is a slip of the pen, and too much for a socket's deadline.
MAX_SECONDS = 36_500 * 86_400
MAX_INT64, MAX_UINT32, MAX_PORT = (1 << 63) - 1, (1 << 32) - 1, (1 << 16) - 1
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DRY_RUNS = ("none", "client", "server")
DRY_RUN = "none, client or server: change nothing; client skips the server's checks (default: none; alone: server)"
DRY_RUN_SUFFIX = {"none": "", "client": " (dry run)", "server": " (server dry run)"}
NO_NAME = "resource(s) were provided, but no name was specified: name them, or use -l or --all"


# Go's spellings of booleans, which kubectl takes.
_BOOLEANS = {"store_true": ("true", "1", "t", "T", "TRUE", "True"), "store_false": ("false", "0", "f", "F", "FALSE", "False")}


class Kustomization(str):
    """A directory with a kustomization, among the names of files."""

    __slots__ = ()


class _Help(argparse.HelpFormatter):
    """As wide as the terminal. argparse makes one for every argument, and asks shutil, whose import takes milliseconds."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


@functools.cache
def _columns() -> int:
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class _Manners(argparse.ArgumentParser):
    """Errors in one line on stderr, exit code 1, no abbreviated flags, `--flag=true` and `--flag=false` of every boolean."""

    def add_argument(self, *names: Any, **how: Any) -> argparse.Action:
        """A boolean's values are flags of their own, which no help shows: argparse gives a flag without a value none."""
        made = super().add_argument(*names, **how)
        if how.get("action") == "store_true":
            for action, values in _BOOLEANS.items():
                spelled = [f"{name}={value}" for name in names for value in values]
                super().add_argument(
                    *spelled, action=action, dest=made.dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS
                )  # fmt: skip
        return made

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own ignores a full disk and a reader that has gone."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "not true or false:")
        self.exit(1, f"error: {message}\nSee '{self.prog} --help' for usage.\n")


class Parser(_Manners):
    """argparse with kubectl's manners; the global flags may stand anywhere."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"kctl {command}", description=description, allow_abbrev=False, formatter_class=_Help)
        self.set_defaults(kctl_command=command)
        _add_globals(self, default="")

    def verbs(self) -> Any:
        """For commands of commands, such as `lab up`."""
        return self.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=_Verb)

    def parse_verb(self, verbs: Any, arguments: list[str]) -> Any:
        """As parse_args, but flags may stand among the arguments of a verb; argparse itself ends at the first flag."""
        from cli.main import split

        before, word, rest = split(arguments)
        if word not in verbs.choices:
            return self.parse_args(arguments)
        shared = argparse.Namespace(namespace="", context="", config="", kctl_command=self.get_default("kctl_command"))
        shared.verb = word
        return verbs.choices[word].parse_intermixed_args([*before, *rest], shared)


class _Verb(_Manners):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more, allow_abbrev=False, formatter_class=_Help)
        # Absent here must not undo what stood before the verb.
        _add_globals(self, default=argparse.SUPPRESS)


def _add_globals(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument("-n", "--namespace", default=default, help="namespace (default: the context's)")
    parser.add_argument("--context", default=default, help="name of the context to use")
    parser.add_argument("--config", default=default, help="configuration file (default: ~/.pinnace/config)")


def client(args: Any) -> Client:
    """A client of the chosen context. Raises BadRequest, Unavailable."""
    from cli import contexts, discovery, renewal
    from cli.client import Client

    renewed = renewal.Renewed(contexts.current(args), contexts.path(args.config))
    made = Client(renewed.context(), renewed.context)
    discovery.connect(made)
    return made


def add_selectors(parser: Parser) -> None:
    parser.add_argument("-l", "--selector", default="", help="label selector, such as app=web,tier!=cache")
    parser.add_argument("--field-selector", default="", help="field selector, such as status.phase=Running")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="use all namespaces")


def add_files(parser: Parser) -> None:
    parser.add_argument(
        "-f", "--filename", action="append", default=[], help="file, directory, pattern, https URL, or - for standard input"
    )
    parser.add_argument(
        "-k", "--kustomize", dest="filename", action="append", type=Kustomization, metavar="DIRECTORY",
        help="directory with a kustomization, which an installed kustomize or kubectl builds",
    )  # fmt: skip
    parser.add_argument("-R", "--recursive", action="store_true", help="read directories recursively")


def targets(words: list[str]) -> list[tuple[Kind, str]]:
    """(kind, name) of `pod web db`, `pod/web node/n1`, `pods,nodes`, `all`; an empty name means all.

    Raises NotFound, BadRequest."""
    from cli import discovery

    if not words:
        raise BadRequest("specify TYPE [NAME] or TYPE/NAME (types: kctl api-resources)")
    if "/" in words[0]:
        pairs = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name or "/" in name:
                raise BadRequest(f'"{word}" is not TYPE/NAME; TYPE/NAME and plain names cannot be mixed')
            pairs.append((discovery.by_word(kind), name))
        return pairs
    found = dict.fromkeys(kind for word in words[0].split(",") for kind in discovery.meant(word))
    return [(kind, name) for kind in found for name in (words[1:] or [""])]


def between(least: int = -MAX_INT64, most: int = MAX_INT64) -> Callable[[str], int]:
    """The type of a flag with a whole number in this range: int alone takes any, which the field of a message may not. What it
    returns raises argparse.ArgumentTypeError, to which argparse adds the flag."""

    def number(text: str) -> int:
        digits = text.removeprefix("-")
        if not (text.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_INT64)) and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a number from {least} to {most}')
        return int(text)

    return number


def seconds(text: str) -> float:
    """`90`, `90s`, `5m`, `1h30m`, `-1s`. Raises argparse.ArgumentTypeError."""
    import re

    problem = argparse.ArgumentTypeError(f'"{text[:40]}" is not a duration such as 30s or 5m')
    if len(text) > 40:
        raise problem
    if re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII):
        total = float(text)
    else:
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)", digits, re.ASCII)
        if not parts or "".join(number + unit for number, unit in parts) != digits:
            raise problem
        total = sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    if abs(total) > MAX_SECONDS:
        raise argparse.ArgumentTypeError(f'"{text}" is longer than {MAX_SECONDS // 86_400} days')
    return total
