"""`kctl lab clock`: the time of a lab, shown or advanced."""

from __future__ import annotations

from typing import Any

from cli import contexts, flags
from cli.commands.labshared import add_name, exclusive, warn
from cli.lab import layout, naming
from pinnace.errors import BadRequest

ADVANCE, SHOW = "advance", "show"


def add(verbs: Any) -> None:
    """The parser of this command."""
    parser = verbs.add_parser("clock", help="show the lab's time, or advance it")
    parser.add_argument("action", nargs="?", choices=(SHOW, ADVANCE), default=SHOW, metavar="ACTION",
                        help="advance; default: show the time")  # fmt: skip
    parser.add_argument("by", nargs="?", type=flags.seconds, default=None, metavar="DURATION", help="such as 90s or 1h30m")
    add_name(parser)


def run(args: Any) -> int:
    """Raises ApiError."""
    from cli.lab import clock

    if (args.action == ADVANCE) is not (args.by is not None):
        raise BadRequest("specify a duration, such as `kctl lab clock advance 1h`, or `kctl lab clock` alone to show the time")
    config = contexts.path(args.config)
    if args.action == SHOW:
        print(clock.show(layout.load(naming.chosen(args)), config))
        return 0
    with exclusive(args) as lab:
        shown, silent = clock.advance(lab, config, args.by)
    print(shown)
    warn([f"the agent of node {node} is connected and gave no sign of life" for node in silent])
    return 0
