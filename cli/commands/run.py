"""`kctl run`: a pod of one container from arguments, attached to if asked, with a Service if asked.

Source: kubectl's pkg/cmd/run.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

from cli import carry, flags, output, runpods
from pinnace import kinds
from pinnace.errors import BadRequest
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("run", "Run a pod of one container: kctl run -it --rm shell --image=busybox -- sh")
    _add_flags(parser)
    own, command = carry.split_command(arguments)
    args, more = parser.parse_known_args(own)
    command = [*_checked(parser, args, more), *command]
    output.check(args.output)
    args.attach = args.stdin if args.attach is None else args.attach
    _check(args)
    value = runpods.manifest(args, command)
    service = runpods.service(args) if args.expose else None
    if args.dry_run == "client":
        _print_service({"apiVersion": "v1", "kind": "Service", **service} if service else {}, args)
        print(_shown(kinds.POD, {"apiVersion": "v1", "kind": "Pod", **value}, args), end="")
        return 0
    client = flags.client(args)
    created: list[tuple[Kind, str, str]] = []
    try:
        return _run(client, value, service, args, created=created)
    finally:
        if args.rm and created:
            _remove(client, created, args)


def _run(client: Any, value: dict[str, Any], service: dict[str, Any] | None, args: Any, *, created: list[Any]) -> int:
    """Appends to `created` for each object (kind, namespace, name). Raises ApiError."""
    pod = _create(client, kinds.POD, value, args)
    created.append((kinds.POD, pod.metadata.namespace, pod.metadata.name))
    try:
        if service:
            made = _create(client, kinds.SERVICE, service, args)
            created.append((kinds.SERVICE, made.metadata.namespace, made.metadata.name))
            _print_service(output.document(kinds.SERVICE, made), args)
    finally:
        # The pod stays when its Service is rejected.
        if not args.attach:
            print(_shown(kinds.POD, output.document(kinds.POD, pod), args), end="", flush=True)
    return _attach(client, pod, args) if args.attach else 0


def _add_flags(parser: flags.Parser) -> None:
    add = parser.add_argument
    parser.usage = "kctl run NAME --image=IMAGE [FLAGS] [--command] [-- WORD...]"
    add("name", help="name of the pod and its container")
    add("--image", default="", help="image of the container")
    add("--command", action="store_true", help="use the words after -- as the command instead of its arguments")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable (repeatable)")
    add("--port", default=None, help="port that the container listens on")
    add("--expose", action="store_true", help="create a Service of the pod too (needs --port)")
    add("-l", "--labels", default="", metavar="KEY=VALUE,...", help="labels of the pod (default: run=NAME)")
    add("--annotations", action="append", default=[], metavar="KEY=VALUE", help="annotation of the pod (repeatable)")
    add("--restart", default="Always", choices=("Always", "OnFailure", "Never"), help="restart policy (default: %(default)s)")
    add("--image-pull-policy", default="", choices=("", "Always", "IfNotPresent", "Never"), help="when to pull the image")
    add("--privileged", action="store_true", help="run the container with all privileges")
    add("--overrides", default="", metavar="JSON", help="JSON merge patch of the pod")
    add("-i", "--stdin", action="store_true", help="attach, and pass standard input to the container")
    add("-t", "--tty", action="store_true", help="allocate a terminal")
    add("--attach", action="store_true", default=None, help="attach to the container (default: with --stdin)")
    add("--leave-stdin-open", action="store_true", help="keep standard input open after the first attach")
    add("--rm", action="store_true", help="delete the pod after the attach")
    add("--pod-running-timeout", type=flags.seconds, default=60.0, help="time to wait for the container to run (default: 1m)")
    add("-q", "--quiet", action="store_true", help="print only the container's output")
    add("--field-manager", default="", help="owner of the created fields (default: kctl-run)")
    add("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    add("-o", "--output", default="", help=output.FORMATS)


def _checked(parser: flags.Parser, args: Any, more: list[str]) -> list[str]:
    """The words behind the name, which are the container's; flags that are not known end kctl."""
    unknown = [word for word in more if word.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)} (words for the container stand behind --)")
    return more


def _check(args: Any) -> None:
    """Raises BadRequest for flags that exclude each other."""
    if not args.image:
        raise BadRequest('required flag(s) "image" not set')
    if args.tty and not args.stdin:
        raise BadRequest("-i/--stdin is required for containers with -t/--tty=true")
    if args.attach and args.dry_run != "none":
        raise BadRequest(
            f"--dry-run={args.dry_run} can't be used with attached containers options (--attach, --stdin, or --tty)"
        )
    if args.expose and args.port is None:
        raise BadRequest("--port must be set when exposing a service")
    if args.expose and args.overrides:
        raise BadRequest("--overrides can't be used with --expose: create the Service with kctl expose pod NAME")
    if args.rm and not args.attach:
        raise BadRequest("--rm should only be used for attached containers")


def _create(client: Any, kind: Kind, value: dict[str, Any], args: Any) -> Any:
    """Raises ApiError."""
    from cli.client import manager, opened
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.WriteRequest(
        object=objects_pb2.Object(apiVersion="v1", kind=kind.kind, json=json.dumps(value).encode()),
        namespace=client.context.namespace, fieldManager=args.field_manager or manager("run"), dryRun=args.dry_run == "server",
    )  # fmt: skip
    return opened(kind, client.call(client.objects.Create, request).protobuf)


def _print_service(document: dict[str, Any], args: Any) -> None:
    """Before the pod, as kubectl does; empty: there is none."""
    if document and not args.quiet:
        print(_shown(kinds.SERVICE, document, args), end="---\n" if args.output == "yaml" else "", flush=True)


def _shown(kind: Kind, document: dict[str, Any], args: Any) -> str:
    word = f"{kind.singular}/{document.get('metadata', {}).get('name', '')}"
    if args.output in ("", "wide"):
        return f"{word} created{flags.DRY_RUN_SUFFIX[args.dry_run]}\n"
    return f"{word}\n" if args.output == "name" else output.structured(args.output, [document], single=True)


def _attach(client: Any, pod: Any, args: Any) -> int:
    """Until the container ends, or we do; returns its exit code. Raises ApiError."""
    from cli import joining, pods

    name = pods.container_of(pod, "").name
    tty = carry.usable_tty(asked=args.tty)
    code = joining.join(
        client, pod, name, stdin=args.stdin, tty=tty, quiet=args.quiet, within=args.pod_running_timeout
    )  # fmt: skip
    if code and pod.spec.restartPolicy == "Never" and not args.quiet:
        print(f"pod {pod.metadata.namespace}/{pod.metadata.name} terminated (Error)", file=sys.stderr)
    return code


def _remove(client: Any, created: list[tuple[Kind, str, str]], args: Any) -> None:
    """Delete what was created, and wait until it is gone; what another client deleted is gone already."""
    from cli.commands import delete

    options = SimpleNamespace(
        force=False, now=False, grace_period=None, dry_run="none", ignore_not_found=True, cascade="background", wait=True,
        timeout=0.0, output="", namespace=client.context.namespace,
    )  # fmt: skip
    delete.delete(client, created, options, quiet=args.quiet)
