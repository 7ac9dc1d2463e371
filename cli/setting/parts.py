"""The parts of an object that `kctl set` changes, from its arguments: the objects' words, and the change of a pod spec or of
the spec of a Service.

Source: kubectl's pkg/cmd/set (set_image.go, set_env.go, set_resources.go, set_serviceaccount.go,
set_selector.go).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cli import changing, flags
from cli.changing import Target
from cli.complaints import report
from cli.setting import env, podspecs
from pinnace import kinds, quantity, selectors
from pinnace.errors import BadRequest

# Changes the pod spec of an object. Raises BadRequest.
Change = Callable[[Target, podspecs.Spec], None]


def image(args: Any) -> tuple[list[str], Change]:
    words, pairs = changing.words_and_pairs(args.what, "image")
    images = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    wrong = next((pair for pair in pairs if "=" not in pair or not all(pair.split("=", 1))), None)
    if wrong is not None:
        raise BadRequest(f"invalid image format: {wrong[:80]}: expected CONTAINER=IMAGE")
    if not images:
        raise BadRequest("at least one image update is required")
    if "*" in images and len(images) > 1:
        raise BadRequest(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs"
        )

    def change(target: Target, spec: podspecs.Spec) -> None:
        for name, image in images.items():
            for container in _containers(spec, name, f'"{name}"'):
                container["image"] = image

    return words, change


def resources(args: Any) -> tuple[list[str], Change]:
    amounts = {"limits": _amounts(args.limits), "requests": _amounts(args.requests)}
    if not any(amounts.values()):
        raise BadRequest("you must specify an update to requests or limits (in the form of --requests/--limits)")

    def change(target: Target, spec: podspecs.Spec) -> None:
        for container in _containers(spec, args.containers, args.containers):
            for key, values in amounts.items():
                if values:
                    container.setdefault("resources", {}).setdefault(key, {}).update(values)

    return args.what, change


def _amounts(text: str) -> dict[str, str]:
    """Of `cpu=100m,memory=1Gi`. Raises BadRequest."""
    found = {}
    for statement in text.split(",") if text else ():
        name, sign, amount = statement.partition("=")
        if not sign or not name or "=" in amount:
            raise BadRequest(f"invalid argument syntax {statement[:80]}, expected <resource>=<value>")
        try:
            quantity.parse(amount)
        except ValueError as error:
            raise BadRequest(f"{name[:80]}: {error}") from None
        found[name] = amount
    return found


def _containers(spec: podspecs.Spec, pattern: str, shown: str) -> list[podspecs.Spec]:
    """At least one. Raises BadRequest."""
    found = podspecs.containers(spec, pattern)
    if not found:
        raise BadRequest(f"unable to find container named {shown}")
    return found


def account(args: Any) -> tuple[list[str], Change]:
    if not args.what:
        raise BadRequest("serviceaccount is required")
    *words, name = args.what

    def change(target: Target, spec: podspecs.Spec) -> None:
        spec["serviceAccountName"] = name
        # The older name of the same field.
        spec.pop("serviceAccount", None)

    return words, change


def environment(args: Any) -> tuple[list[str], Change]:
    if args.list and args.output:
        raise BadRequest("--list and --output may not be specified together")
    if args.keys and not args.source:
        raise BadRequest("when specifying --keys, a configmap or secret must be provided with --from")
    words, pairs = changing.words_and_pairs([word for word in args.what if word != "-"], "environment")
    changes = env.parse([*args.env, *pairs, *(["-"] if "-" in args.what else [])])
    if not (changes.put or changes.remove or args.source or args.list):
        raise BadRequest("at least one environment variable must be provided")
    return words, partial(_change_env, args, changes, [])


def _change_env(args: Any, changes: Any, done: list[bool], target: Target, spec: podspecs.Spec) -> None:
    """`done` has an entry after the values of --from and the prefix were taken."""
    if not done:
        if args.source:
            changes.put += _from(args)
        changes.put = [{**item, "name": args.prefix + item["name"]} for item in changes.put]
        done.append(True)
    found = podspecs.containers(spec, args.containers)
    if not found:
        report(f'Warning: {target.kind.kind}/{target.name} does not have any containers matching "{args.containers}"')
    resolve = env.resolver(args.client, target.namespace) if args.list and args.resolve and not args.local else None
    for container in found:
        env.change(container, changes, overwrite=args.overwrite)
        if args.list:
            print(f"# {target.kind.kind} {target.name}, container {container['name']}")
            print("".join(f"{line}\n" for line in env.listing(container, resolve)), end="")


def _from(args: Any) -> list[dict[str, Any]]:
    """Raises BadRequest, NotFound."""
    found = []
    for kind, name in flags.targets([args.source]):
        if kind not in (kinds.SECRET, kinds.CONFIG_MAP) or not name or args.local:
            raise BadRequest(
                "unsupported resource specified in --from: expected configmap/NAME or secret/NAME, without --local"
            )
        source = args.client.get(kind, args.client.context.namespace, name)
        found += env.references(source, kind, [key for word in args.keys for key in word.split(",")])
    return found


def selector(args: Any) -> tuple[list[str], Change]:
    """The whole selector of a Service. Raises BadRequest."""
    if not args.what:
        raise BadRequest("one selector is required")
    *words, text = args.what
    found = {}
    for item in selectors.parse_labels(text):
        if item.operator != "In" or len(item.values) != 1:
            raise BadRequest(f"match expression {text[:80]} not supported on this object")
        found[item.key] = item.values[0]

    def change(target: Target, spec: podspecs.Spec) -> None:
        spec["selector"] = found

    return words, change


PARTS: dict[str, Callable[[Any], tuple[list[str], Change]]] = {
    "image": image, "env": environment, "resources": resources, "serviceaccount": account, "sa": account,
    "selector": selector,
}  # fmt: skip
