"""`kctl set`: images, environment, resources and service account of pod templates, and selectors of Services.

Source: kubectl's pkg/cmd/set.
"""

from __future__ import annotations

import copy
from typing import Any

from cli import changing, flags, output
from cli.changing import Target
from cli.setting import parts, podspecs
from cli.setting.parts import Change
from pinnace import codec, kinds
from pinnace.errors import ApiError, BadRequest
from pinnace.kinds import Kind

_ONE_OR_MORE = "one or more resources must be specified as <resource> <name> or <resource>/<name>"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("set", "Change pod templates: kctl set image deployment/web main=app:2")
    verbs = parser.verbs()
    _add_verbs(verbs)
    args = parser.parse_verb(verbs, arguments)
    output.check(args.output)
    _check(args)
    words, change = parts.PARTS[args.verb](args)
    if not words and not args.filename:
        raise BadRequest(_ONE_OR_MORE)
    if args.local:
        return _change_local(args, words, change)
    client = flags.client(args)
    args.client = client
    return changing.each(client, args, words, lambda target, single: _one(client, args, target, change))


def _add_verbs(verbs: Any) -> None:
    image = verbs.add_parser("image", help="change images of containers")
    image.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME..., then CONTAINER=IMAGE..., or *=IMAGE for all")
    env = verbs.add_parser("env", help="change environment variables of containers")
    env.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME..., then KEY=VALUE to set or KEY- to remove")
    _add_env_flags(env)
    resources = verbs.add_parser("resources", help="change resource requests and limits of containers")
    resources.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME...")
    resources.add_argument("--limits", default="", help="limits, such as cpu=200m,memory=512Mi")
    resources.add_argument("--requests", default="", help="requests, such as cpu=100m,memory=256Mi")
    account = verbs.add_parser("serviceaccount", aliases=["sa"], help="change the service account of pods")
    account.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME..., then the name of the service account")
    selector = verbs.add_parser("selector", help="change the selector of Services")
    selector.add_argument(
        "what", nargs="*", help="service NAME..., or service/NAME..., then KEY=VALUE,... of the whole selector"
    )
    selector.add_argument("--resource-version", default="", help="change only if this is the object's current resourceVersion")
    for verb in (env, resources):
        verb.add_argument("-c", "--containers", default="*", help="names of containers, with * for any characters (default: *)")
    for verb in (image, env, resources, account, selector):
        flags.add_files(verb)
        verb.add_argument("-l", "--selector", default="", help="label selector, such as app=web,tier!=cache")
        verb.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
        verb.add_argument("--local", action="store_true", help="print changed objects of files, without a control plane")
        changing.add_writing(verb, "set")
        verb.set_defaults(field_selector="", all_namespaces=False)


def _add_env_flags(env: Any) -> None:
    env.add_argument("-e", "--env", action="append", default=[], help="KEY=VALUE, or - for lines of stdin (repeatable)")
    env.add_argument("--from", dest="source", default="", metavar="TYPE/NAME", help="config map or secret with the values")
    env.add_argument("--keys", action="append", default=[], help="comma-separated keys of --from (default: all)")
    env.add_argument("--prefix", default="", help="prefix of the variables' names")
    env.add_argument("--list", action="store_true", help="print the variables and change nothing")
    env.add_argument("--resolve", action="store_true", help="with --list: print values of config maps and secrets")
    env.add_argument("--overwrite", action="store_true", default=True, help="replace existing values (default: true)")


def _check(args: Any) -> None:
    """Raises BadRequest."""
    if args.local and args.dry_run == "server":
        raise BadRequest("cannot specify --local and --dry-run=server - did you mean --dry-run=client?")
    if args.all and args.selector:
        raise BadRequest("cannot set --all and --selector at the same time")
    if args.local and not args.filename:
        raise BadRequest("you must specify resources by --filename when --local is set")


_DONE = {
    "image": "image updated", "env": "env updated", "resources": "resource requirements updated",
    "serviceaccount": "serviceaccount updated", "sa": "serviceaccount updated", "selector": "selector updated",
}  # fmt: skip


def _one(client: Any, args: Any, target: Target, change: Change) -> None:
    """Nothing is printed of an object without a difference, as by kubectl. Raises ApiError."""
    steps = _path(args, target.kind, target.name)
    item = client.get(*target)
    value = codec.encode(item)
    before = copy.deepcopy(podspecs.at(value, steps))
    change(target, podspecs.at(value, steps))
    body = _patch(args, before, podspecs.at(value, steps))
    if not body or getattr(args, "list", False):
        return
    if args.dry_run == "client":
        item = codec.decode(target.kind.cls, value)
    else:
        body = podspecs.below(steps, body)
        if version := getattr(args, "resource_version", ""):
            body["metadata"] = {"resourceVersion": version}
        item = changing.patch(client, target, body, "set", args, type_="STRATEGIC")
    changing.show(target.kind, item, _DONE[args.verb], args)


def _path(args: Any, kind: Kind, name: str) -> tuple[str, ...]:
    """Where the changed part of an object is. Raises BadRequest."""
    if args.verb != "selector":
        return podspecs.path(kind, name)
    if kind is not kinds.SERVICE:
        raise BadRequest("setting a selector is only supported for Services")
    return ("spec",)


def _patch(args: Any, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    if args.verb != "selector":
        return podspecs.patch(before, after)
    old, new = before.get("selector", {}), after.get("selector", {})
    return {"selector": {**dict.fromkeys(old.keys() - new.keys()), **new}} if old != new else {}


def _change_local(args: Any, words: list[str], change: Change) -> int:
    """Objects of files, as they would be."""
    from cli import files

    if words:
        raise BadRequest("cannot specify resources by name when --local is set")
    manifests = files.Manifests(args)
    try:
        for item in manifests:
            try:
                steps = _path(args, item.kind, item.name)
                value = {key: part for key, part in item.value.items() if key not in ("apiVersion", "kind")}
                before = copy.deepcopy(value)
                change(Target(item.kind, item.namespace or "default", item.name), podspecs.at(value, steps))
                # As kubectl, which prints an object that has the service account already.
                changed = value != before or args.verb in ("serviceaccount", "sa")
                if changed and not getattr(args, "list", False):
                    changing.show(item.kind, codec.decode(item.kind.cls, value), _DONE[args.verb], args)
            except ApiError as error:
                manifests.fail(item.explain(error))
    finally:
        failed = manifests.report()
    return 1 if failed else 0
