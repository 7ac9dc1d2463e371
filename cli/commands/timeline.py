"""`kctl timeline`: what happened to an object and to those that it owns, in order: who changed what, events, attempts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from cli import flags, output
from cli.complaints import report
from pinnace import humantime
from pinnace.errors import BadRequest

_FORMATS = ("", "wide", "json", "yaml")
_TYPES = ("created", "changed", "status", "deleted", "event", "attempt")
# Most records that may be asked for, as the server gives at most.
MAX_LIMIT = 50_000


def run(arguments: list[str]) -> int:
    args = _parser().parse_intermixed_args(arguments)
    if args.output not in _FORMATS:
        raise BadRequest(f'unknown output format "{args.output}": use wide, json or yaml')
    client = flags.client(args)
    targets = flags.targets(args.what)
    if len(targets) != 1 or not targets[0][1]:
        raise BadRequest("specify one object, TYPE NAME or TYPE/NAME: kctl timeline deployment/web")
    from pinnace.api.v1 import timeline_pb2_grpc

    request = _request(client, args, *targets[0])
    responses = client.stream(timeline_pb2_grpc.TimelineStub(client.channel).Read, request)
    try:
        _structured(args, responses) if args.output in ("json", "yaml") else _text(client, args, responses, targets[0])
    except KeyboardInterrupt:
        if not args.watch:
            raise
    return 0


def _parser() -> flags.Parser:
    parser = flags.Parser(
        "timeline",
        "Show every change, event and scheduling attempt of an object and its dependents, in order, with their authors: "
        "kctl timeline deployment/web",
    )
    add = parser.add_argument
    add("what", nargs="+", help="TYPE NAME or TYPE/NAME; also of an object that was deleted")
    add("--since", type=flags.seconds, default=0.0, help="only records of this last time, such as 10m (default: all)")
    add("--limit", type=_limit, default=0, help=f"the newest N records (default: all, up to {MAX_LIMIT})")
    add("--only", default="", metavar="TYPES", help="only objects of these types, such as pods,replicasets")
    add("--types", default="", help=f"only records of these types: {', '.join(_TYPES)} (default: all)")
    add("--no-status", action="store_true", help="leave out changes of the status")
    add("--no-events", action="store_true", help="leave out events")
    add("--no-owned", action="store_true", help="without the dependents of the object")
    add("--uid", default="", help="uid of one of several objects that have had the name")
    add("-w", "--watch", action="store_true", help="then show new records as they are made")
    add("-o", "--output", default="", help="wide (all changes, revisions, verbs), json or yaml")
    return parser


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_LIMIT}, not {text[:20]}")
    return int(text)


def _request(client: Any, args: Any, kind: Any, name: str) -> Any:
    """Raises BadRequest, NotFound."""
    from cli import discovery
    from cli.client import ref
    from pinnace.api.v1.timeline_pb2 import TimelineRequest

    if args.since < 0:
        raise BadRequest("--since must not be negative")
    words = [word.strip().lower() for word in args.types.split(",") if word.strip()]
    unknown = [word for word in words if word not in _TYPES]
    if unknown:
        raise BadRequest(f'--types: "{unknown[0]}" is not one of {", ".join(_TYPES)}')
    left_out = {"status"} if args.no_status else set()
    left_out |= {"event"} if args.no_events else set()
    types = [word for word in words or (_TYPES if left_out else ()) if word not in left_out]
    if (words or left_out) and not types:
        raise BadRequest("nothing is left of the types to show")
    only = [item.kind for word in args.only.split(",") if word.strip() for item in discovery.meant(word.strip())]
    # Of the control plane's time, which records have.
    since = max(int((client.now() - args.since) * 1e6), 1) if args.since else 0
    return TimelineRequest(
        ref=ref(kind, client.context.namespace, name), uid=args.uid, sinceMicros=since, limit=args.limit,
        types=[word.upper() for word in types], kinds=only, alone=args.no_owned, watch=args.watch,
    )  # fmt: skip


def _text(client: Any, args: Any, responses: Iterator[Any], target: tuple[Any, str]) -> None:
    from cli.timelines.layout import Layout

    terminal = sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    layout = Layout(wide=args.output == "wide", width=os.get_terminal_size(1).columns if terminal else 0, colours=colours)
    pages, head = list[Any](), None
    for response in responses:
        if response.HasField("head"):
            head = response.head
            _notes(client, head, *target)
        # The widths of columns are those of the first page, and grow.
        lines = layout.lines(response.records)
        if lines:
            print("\n".join(lines), flush=True)
        pages.append(len(lines))
    if not any(pages) and head is not None:
        report("No records found.")


def _notes(client: Any, head: Any, kind: Any, name: str) -> None:
    """On stderr: what is not in the answer, and why."""

    def ago(micros: int) -> str:
        return f"{humantime.duration(client.now() - micros / 1e6)} ago" if micros else "at an unknown time"

    others = [life for life in head.lives if life.uid != head.uid]
    for life in others:
        gone = f", deleted {ago(life.deletedMicros)}" if life.deletedMicros else ""
        report(f"Note: another {kind.kind} was named {name}: --uid {life.uid} (created {ago(life.createdMicros)}{gone})")
    shown = next((life for life in head.lives if life.uid == head.uid), None)
    if shown is None or not shown.createdMicros:
        report(f"Note: created before the timeline begins, {ago(head.beginMicros)}")
    if head.truncated:
        report("Note: older records are left out: use --since, --only or --types")
    if head.hiddenRecords:
        of = f" of {head.hiddenObjects} objects" if head.hiddenObjects else ""
        report(f"Note: {head.hiddenRecords} records{of} are hidden: you may not get or list them")
    if head.late:
        report("Note: the newest changes may be missing: the control plane has not written them yet")


def _structured(args: Any, responses: Iterator[Any]) -> None:
    """One document; with --watch one for each record, as they come."""
    from cli.timelines import documents

    text = output.to_json if args.output == "json" else output.to_yaml
    records, head = list[Any](), dict[str, Any]()
    for response in responses:
        if response.HasField("head"):
            head = documents.head(response.head)
        found = list(map(documents.record, response.records))
        for document in found if args.watch else ():
            print(text(document) if args.output == "json" else f"---\n{text(document)}", flush=True)
        records += () if args.watch else found
    if not args.watch:
        print(text({"kind": "Timeline", **head, "records": records}))
