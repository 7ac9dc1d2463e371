"""`kctl taint`: set and remove taints of nodes."""

from __future__ import annotations

from typing import Any

from cli import changing, discovery, flags, output, tainting
from cli.changing import Target
from pinnace import codec, kinds
from pinnace.errors import BadRequest, Conflict

# Attempts to write taints that the control plane or another client changed in between.
TRIES = 5


def run(arguments: list[str]) -> int:
    parser = flags.Parser("taint", "Change taints of nodes: kctl taint nodes NAME KEY=VALUE:NoSchedule OTHER-")
    parser.add_argument(
        "what", nargs="*", help="node NAME..., then KEY=VALUE:EFFECT or KEY:EFFECT to set, KEY:EFFECT- or KEY- to remove"
    )
    parser.add_argument("-l", "--selector", default="", help="label selector of nodes, such as zone=a")
    parser.add_argument("--all", action="store_true", help="all nodes")
    parser.add_argument("--overwrite", action="store_true", help="replace taints of the same key and effect")
    changing.add_writing(parser, "taint")
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    words, specs = changing.words_and_pairs(args.what, "taint", marks="=:")
    if not words:
        raise BadRequest("one or more resources must be specified as <resource> <name>")
    if not specs:
        raise BadRequest("at least one taint update is required")
    if discovery.by_word(words[0].partition("/")[0]) is not kinds.NODE:
        raise BadRequest(f"invalid resource type {words[0].partition('/')[0]}, only node types are supported")
    changes = tainting.parse(specs)
    args.filename, args.field_selector, args.all_namespaces = [], "", False
    client = flags.client(args)
    return changing.each(client, args, words, lambda target, single: _one(client, target, changes, args))


def _one(client: Any, target: Target, changes: tainting.Changes, args: Any) -> None:
    """Raises ApiError."""
    for left in reversed(range(TRIES)):
        try:
            node = _taint(client, target, changes, args)
        except Conflict:
            if not left:
                raise
            continue
        changing.show(target.kind, node, tainting.done(changes, overwrite=args.overwrite), args)
        return


def _taint(client: Any, target: Target, changes: tainting.Changes, args: Any) -> Any:
    """The node as it is then. Raises BadRequest, Conflict when it was changed in between."""
    node = client.get(*target)
    old = codec.encode(node).get("spec", {}).get("taints", [])
    there = "" if args.overwrite else tainting.present(old, changes)
    if there:
        raise BadRequest(f"node {target.name} already has {there} taint(s) with same effect(s) and --overwrite is false")
    new = tainting.changed(old, changes)
    if args.dry_run == "client":
        return node
    body = {"metadata": {"resourceVersion": node.metadata.resourceVersion}, "spec": {"taints": new}}
    return changing.patch(client, target, body, "taint", args)
