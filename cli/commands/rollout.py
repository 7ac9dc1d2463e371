"""`kctl rollout`: state, history and control of the rollouts of workloads.

Source: kubectl's pkg/cmd/rollout.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from cli import changing, flags, output
from cli.changing import Target
from cli.complaints import report
from cli.rollouts import table, waiting
from pinnace.errors import BadRequest

RESTARTED = "kubectl.kubernetes.io/restartedAt"
_MAX_REVISION = (1 << 63) - 1
Verb = Callable[[Any, Any, Target], None]


def run(arguments: list[str]) -> int:
    parser = flags.Parser("rollout", "Follow and control rollouts: kctl rollout status deployment/web")
    verbs = parser.verbs()
    _add_verbs(verbs)
    args = parser.parse_verb(verbs, arguments)
    output.check(getattr(args, "output", ""))
    if not args.what and not args.filename:
        raise BadRequest("required resource not specified")
    client, done = flags.client(args), [0]

    def one(target: Target, single: bool) -> None:
        done[0] += 1
        _VERBS[args.verb](client, args, target)

    code = changing.each(client, args, args.what, one, every=True)
    if not done[0] and not code:
        report(f"No resources found in {client.context.namespace} namespace.")
    return code


def _add_verbs(verbs: Any) -> None:
    status = verbs.add_parser("status", help="show the state of a rollout, until it is complete")
    status.add_argument("-w", "--watch", action="store_true", default=True, help="wait until complete (default: true)")
    status.add_argument("--revision", type=_revision, default=0, help="revision that must be the current one (default: any)")
    status.add_argument("--timeout", type=flags.seconds, default=0.0, help="time to wait (default: 0, no limit)")
    history = verbs.add_parser("history", help="list revisions, or show one")
    history.add_argument("--revision", type=_revision, default=0, help="revision to show in detail")
    undo = verbs.add_parser("undo", help="return to an earlier revision")
    undo.add_argument("--to-revision", type=_revision, default=0, help="revision to return to (default: 0, the one before)")
    undo.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    added = [status, history, undo]
    for name, text in (("restart", "replace all pods"), ("pause", "stop rollouts"), ("resume", "continue rollouts")):
        verb = verbs.add_parser(name, help=f"{text} of a workload")
        verb.add_argument("--field-manager", default="", help="owner of the changed fields (default: kctl-rollout)")
        added.append(verb)
    for verb in added:
        _add_shared(verb, printing=verb is not status)


def _add_shared(verb: Any, *, printing: bool) -> None:
    verb.add_argument("what", nargs="*", help="TYPE NAME..., TYPE/NAME..., or TYPE for all objects of the namespace")
    flags.add_files(verb)
    verb.add_argument("-l", "--selector", default="", help="label selector, such as app=web,tier!=cache")
    if printing:
        verb.add_argument("-o", "--output", default="", help=output.FORMATS)
    verb.set_defaults(field_selector="", all_namespaces=False, all=False)


def _revision(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text[:20]) > _MAX_REVISION:
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a revision: it must be a positive integer')
    return int(text)


def _status(client: Any, args: Any, target: Target) -> None:
    waiting.wait(client, target, args)


def _history(client: Any, args: Any, target: Target) -> None:
    rollout = table.of_kind(target.kind, f'no history viewer has been implemented for "{target.kind.group_kind}"')
    item = client.get(*target)
    found = rollout.history(client, item)
    if args.revision and found and args.revision not in found:
        raise BadRequest("unable to find the specified revision")
    if args.output not in ("", "wide"):
        for number in [args.revision] if args.revision else sorted(found):
            _print(found[number].kind, found[number].source, "", args)
        return
    from cli.rollouts import histories

    numbered = f"with revision #{args.revision}" if args.revision else ""
    text = histories.details(found[args.revision]) if args.revision and found else histories.overview(found)
    print(f"{changing.word_of(target.kind, target.name)} {numbered}\n{text}", flush=True)


def _undo(client: Any, args: Any, target: Target) -> None:
    rollout = table.of_kind(target.kind, f'no rollbacker has been implemented for "{target.kind.group_kind}"')
    item = client.get(*target)
    revision = rollout.chosen(item, rollout.history(client, item), args.to_revision)
    if args.dry_run == "client":
        from cli.rollouts import histories

        _print(target.kind, item, histories.details(revision), args)
        return
    change = rollout.undoing(item, revision)
    if change is None:
        skipped = f"skipped rollback (current template already matches revision {args.to_revision})"
        _print(target.kind, item, skipped, args)
        return
    patched = changing.patch(client, target, change.body, "rollout", args, type_=change.type_)
    _print(target.kind, patched, "rolled back", args)


def _restart(client: Any, args: Any, target: Target) -> None:
    """The present time in the template makes another version of it."""
    item = client.get(*target)
    _named(target, lambda: table.of_kind(target.kind, "restarting is not supported").check_restart(item))
    now = datetime.now().astimezone().isoformat(timespec="seconds").replace("+00:00", "Z")
    if item.spec.template.metadata.annotations.get(RESTARTED) == now:
        raise BadRequest(
            f"failed to create patch for {target.name}: if restart has already been triggered within the past second, "
            "please wait before attempting to trigger another"
        )
    _change(client, args, target, {"spec": {"template": {"metadata": {"annotations": {RESTARTED: now}}}}}, "restarted")


def _pause(client: Any, args: Any, target: Target, *, paused: bool) -> None:
    item, word = client.get(*target), "pausing" if paused else "resuming"
    body = _named(target, lambda: table.of_kind(target.kind, f"{word} is not supported").pausing(item, paused=paused))
    _change(client, args, target, body, "paused" if paused else "resumed")


def _named(target: Target, action: Callable[[], Any]) -> Any:
    """Errors of the action, with the object's name before them."""
    try:
        return action()
    except BadRequest as error:
        raise BadRequest(f'{target.kind.resource} "{target.name}" {error.message}') from None


def _change(client: Any, args: Any, target: Target, body: dict[str, Any], done: str) -> None:
    args.dry_run = "none"
    _print(target.kind, changing.patch(client, target, body, "rollout", args), done, args)


def _print(kind: Any, item: Any, done: str, args: Any) -> None:
    args.dry_run = getattr(args, "dry_run", "none")
    changing.show(kind, item, done, args)


_VERBS: dict[str, Verb] = {
    "status": _status, "history": _history, "undo": _undo, "restart": _restart,
    "pause": partial(_pause, paused=True), "resume": partial(_pause, paused=False),
}  # fmt: skip
