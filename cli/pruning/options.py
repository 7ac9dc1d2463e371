"""The flags of apply that prune, and their valid combinations. Source: Validate of kubectl's pkg/cmd/apply."""

from __future__ import annotations

from typing import Any

from pinnace.errors import BadRequest

ALL_SELECTED = (
    "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all flag. If you "
    "did not mean to prune all resources, specify a label selector"
)


def add(parser: Any) -> None:
    parser.add_argument("-l", "--selector", default="", help="apply objects of files that match this label selector")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete objects that were applied before and are in no file; with --applyset, -l or --all",
    )
    parser.add_argument(
        "--applyset", default="", metavar="[RESOURCE[.GROUP]/]NAME",
        help="object that tracks a set of applied objects (default: a Secret); with --prune",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="with --prune: select objects regardless of their labels")
    parser.add_argument(
        "--prune-allowlist", action="append", default=[], metavar="GROUP/VERSION/KIND",
        help="kinds that --prune deletes without --applyset, such as core/v1/ConfigMap; repeatable",
    )  # fmt: skip


def check(args: Any) -> None:
    """Raises BadRequest."""
    if args.all and args.selector:
        raise BadRequest("cannot set --all and --selector at the same time")
    if args.applyset and not args.prune:
        raise BadRequest("--applyset requires --prune")
    if args.prune:
        _check_pruning(args)
    elif args.prune_allowlist:
        raise BadRequest("--prune-allowlist requires --prune")


def _check_pruning(args: Any) -> None:
    if args.subresource:
        raise BadRequest("--subresource cannot be used with --prune")
    if args.dry_run == "client":
        raise BadRequest("--dry-run=client doesn't work with --prune (did you mean --dry-run=server instead?)")
    if not args.applyset:
        if not args.all and not args.selector:
            raise BadRequest(ALL_SELECTED)
        return
    for flag, given in (("all", args.all), ("selector", args.selector), ("prune-allowlist", args.prune_allowlist)):
        if given:
            raise BadRequest(f"--{flag} is incompatible with --applyset")
