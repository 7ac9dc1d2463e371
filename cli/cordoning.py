"""The nodes that `cordon`, `uncordon` and `drain` name, and whether they are schedulable.

Source: kubectl's pkg/cmd/drain and pkg/drain (cordon.go).
"""

from __future__ import annotations

from typing import Any

from cli import changing, flags
from cli.changing import Target
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Unavailable


def add_flags(parser: flags.Parser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="name of a node (repeatable)")
    parser.add_argument("-l", "--selector", default="", help="label selector of nodes, such as zone=a")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)


def run(command: str, arguments: list[str]) -> int:
    """`kctl cordon` and `kctl uncordon`."""
    what = "Mark nodes as unschedulable" if command == "cordon" else "Mark nodes as schedulable"
    parser = flags.Parser(command, f"{what}: kctl {command} NODE...")
    add_flags(parser)
    args = parser.parse_intermixed_args(arguments)
    check(args)
    client = flags.client(args)
    return 1 if set_all(client, nodes(client, args), args, unschedulable=command == "cordon") else 0


def check(args: Any) -> None:
    """Raises BadRequest unless nodes are named in one of the two ways."""
    if bool(args.nodes) == bool(args.selector):
        raise BadRequest(
            "cannot specify both a node name and a --selector option" if args.nodes else "specify NODE..., or -l SELECTOR"
        )


def nodes(client: Any, args: Any) -> list[Any]:
    """The nodes that a command line names, in its order. Raises BadRequest, NotFound."""
    if args.selector:
        return list(client.list(kinds.NODE, "", labels=args.selector))
    return [client.get(kinds.NODE, "", name) for name in dict.fromkeys(map(_name, args.nodes))]


def _name(word: str) -> str:
    """The name in `n` or `node/n`. Raises BadRequest for another kind, NotFound for a word that is none."""
    kind, slash, name = word.rpartition("/")
    if slash and kinds.by_word(kind) is not kinds.NODE:
        raise BadRequest(f"{word}: expected a node")
    return name


def set_all(client: Any, found: list[Any], args: Any, *, unschedulable: bool) -> int:
    """Cordon or uncordon, printing a line for each node; returns how many nodes failed. Raises Unavailable."""
    from cli import complaints

    verb, failed = "cordon" if unschedulable else "uncordon", 0
    for node in found:
        name, done = node.metadata.name, f"{verb}ed"
        try:
            if node.spec.unschedulable == unschedulable:
                done = f"already {done}"
            elif args.dry_run != "client":
                _set(client, name, args, unschedulable=unschedulable)
        except Unavailable:
            raise
        except ApiError as error:
            failed += 1
            complaints.report(f'error: unable to {verb} node "{name}": {error.message}')
            continue
        print(f"node/{name} {done}{flags.DRY_RUN_SUFFIX[args.dry_run]}", flush=True)
    return failed


def _set(client: Any, name: str, args: Any, *, unschedulable: bool) -> None:
    # As kubectl, which removes the field instead of writing its default.
    body = {"spec": {"unschedulable": True if unschedulable else None}}
    changing.patch(client, Target(kinds.NODE, "", name), body, "cordon", args)
