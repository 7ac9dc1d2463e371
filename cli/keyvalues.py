"""Labels and annotations from a command line: what `kctl label` and `kctl annotate` have in common.

Source: kubectl's pkg/cmd/label and pkg/cmd/annotate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli import changing, flags, output
from cli.changing import Target
from pinnace import formats
from pinnace.errors import BadRequest

# An annotation that may be overwritten in any case.
CHANGE_CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys with their new values, and keys to remove."""

    put: dict[str, str]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One of the two: its name, the field of the metadata, and what the command has done to an object that it changed."""

    name: str
    noun: str
    field: str
    done: str

    def parse(self, pairs: list[str]) -> Changes:
        """`KEY=VALUE` and `KEY-`. Raises BadRequest."""
        changes = Changes(
            {key: value for key, sign, value in (pair.partition("=") for pair in pairs) if sign},
            tuple(pair[:-1] for pair in pairs if "=" not in pair),
        )
        for key, value in changes.put.items():
            self._check(key, value)
        if any(key in changes.put for key in changes.remove):
            raise BadRequest(f"can not both modify and remove {_article(self.noun)} in the same command")
        return changes

    def _check(self, key: str, value: str) -> None:
        if self.noun == "label" and (details := list(formats.label_value(value))):
            raise BadRequest(f'invalid label value: "{key}={value}": {";".join(details)}')
        if details := list(formats.qualified_name(key)):
            raise BadRequest(f'invalid {self.noun} key: "{key}": {";".join(details)}')

    def refusal(self, present: Mapping[str, str], changes: Changes) -> str:
        """Why the values must not be changed without --overwrite; empty if they may be."""
        there = [
            (key, present[key])
            for key, value in changes.put.items()
            if present.get(key, value) != value and key != CHANGE_CAUSE
        ]
        if self.noun == "label":
            return "; ".join(f"'{key}' already has a value ({value}), and --overwrite is false" for key, value in there)
        found = "; ".join(f"'{key}' already has a value ({value})" for key, value in there)
        return f"--overwrite is false but found the following declared annotation(s): {found}" if found else ""


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def changed(present: Mapping[str, str], changes: Changes) -> dict[str, str]:
    """The labels or annotations that an object will have."""
    return {key: value for key, value in {**present, **changes.put}.items() if key not in changes.remove}


def run(command: Command, arguments: list[str]) -> int:
    parser = flags.Parser(command.name, f"Change {command.noun}s of objects: kctl {command.name} pod web KEY=VALUE OTHER-")
    parser.add_argument("what", nargs="*", help="TYPE NAME... or TYPE/NAME..., then KEY=VALUE to set or KEY- to remove")
    changing.add_flags(parser, command.name)
    parser.add_argument("--overwrite", action="store_true", help="replace existing values")
    parser.add_argument("--list", action="store_true", help=f"print the {command.noun}s")
    parser.add_argument("--resource-version", default="", help="change only if this is the object's current resourceVersion")
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    words, pairs = changing.words_and_pairs(args.what, command.noun)
    changes = command.parse(pairs)
    if args.list and args.output:
        raise BadRequest("--list and --output may not be specified together")
    if not pairs and not args.list:
        raise BadRequest(f"at least one {command.noun} update is required")
    client = flags.client(args)
    return changing.each(
        client, args, words, lambda target, single: _one(client, command, target, changes, args, single=single)
    )


def _one(client: Any, command: Command, target: Target, changes: Changes, args: Any, *, single: bool) -> None:
    """Raises ApiError."""
    if args.resource_version and not single:
        raise BadRequest("--resource-version may only be used with a single resource")
    item = client.get(*target)
    present = dict(getattr(item.metadata, command.field))
    if changes.put or changes.remove:
        if not args.overwrite and (refusal := command.refusal(present, changes)):
            raise BadRequest(refusal)
        item = _write(client, command, target, item, changes, args)
    after = dict(getattr(item.metadata, command.field))
    if args.list:
        _list(command, target, after, single=single)
        return
    if command.noun == "label":
        for key in changes.remove:
            if key not in present:
                print(f'label "{key}" not found.')
    changing.show(target.kind, item, _done(command, present, after, overwrite=args.overwrite), args)


def _write(client: Any, command: Command, target: Target, item: Any, changes: Changes, args: Any) -> Any:
    """The object with the changes. Nothing is sent for a dry run of the client's, or for --list, which prints what would be."""
    present = dict(getattr(item.metadata, command.field))
    if args.list or args.dry_run == "client":
        field = getattr(item.metadata, command.field)
        field.clear()
        field.update(changed(present, changes))
        return item
    meta: dict[str, Any] = {command.field: {**changes.put, **dict.fromkeys(changes.remove)}}
    if args.resource_version:
        meta["resourceVersion"] = args.resource_version
    return changing.patch(client, target, {"metadata": meta}, command.name, args)


def _list(command: Command, target: Target, values: Mapping[str, str], *, single: bool) -> None:
    if not single:
        print(f"Listing {command.noun}s for {target.kind.kind}.{target.kind.group}/{target.name}:")
    for key, value in sorted(values.items()):
        print(f"{'' if single else ' '}{key}={value}")


def _done(command: Command, before: Mapping[str, str], after: Mapping[str, str], *, overwrite: bool) -> str:
    """kubectl says of labels whether there were any to change, and calls a pure removal `unlabeled`."""
    if command.noun != "label":
        return command.done
    if before == after:
        return f"not {command.done}"
    return f"un{command.done}" if not overwrite and len(after) < len(before) else command.done
