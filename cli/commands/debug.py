"""`kctl debug`: a container of another image beside those of a running pod, to look around in it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Any

from cli import carry, flags, output
from cli.commands.attach import attach
from cli.loglines import Printer, Source
from cli.logreader import LogReader
from cli.pods import pod_name
from pinnace import kinds, podspec
from pinnace.errors import ApiError, BadRequest, Conflict, NotFound, Timeout

# Seconds for the container to start: its image may have to be pulled.
START_WITHIN = 300.0
# Kubernetes' alphabet for generated names.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("debug", "Debug a running pod: kctl debug -it web --image=busybox --target=main -- sh")
    parser.add_argument("pod", help="name, or pod/name")
    parser.add_argument("--image", required=True, help="image of the debugging container")
    parser.add_argument("--target", default="", help="container whose processes it sees")
    parser.add_argument("-c", "--container", default="", help="its name (default: debugger- and five characters)")
    parser.add_argument("--image-pull-policy", default="", choices=("", "Always", "IfNotPresent", "Never"))
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--arguments-only", action="store_true", help="what follows -- are arguments of the image's command")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input, and attach")
    parser.add_argument("-t", "--tty", action="store_true", help="with a terminal")
    parser.add_argument("--attach", action="store_true", help="attach without standard input too")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the container's own words")
    own, command = carry.split_command(arguments)
    args = parser.parse_args(own)
    if args.pod.startswith("node/"):
        raise BadRequest("only pods can be debugged; a node is a host that you can log in to")
    client = flags.client(args)
    name = args.container or "debugger-" + "".join(secrets.choice(_ALPHABET) for _ in range(5))
    pod = _add(client, pod_name(args.pod), container(name, command, args))
    if not args.container and not args.quiet:
        print(f"Defaulting debug container name to {name}.", file=sys.stderr)
    if not args.stdin and not args.attach:
        shown = pod.metadata.name
        print(f"kctl attach {shown} -c {name} goes there, kctl logs {shown} -c {name} shows what it says.")
        return 0
    return _join(client, pod, name, args)


def container(name: str, command: list[str], args: Any) -> dict[str, Any]:
    """The ephemeral container, as in a manifest. Raises BadRequest."""
    value: dict[str, Any] = {"name": name, "image": args.image, "stdin": args.stdin, "tty": args.tty}
    # A terminal can be come back to; what is piped in is piped in once, and its end must reach the program.
    value["stdinOnce"] = args.stdin and not args.tty
    if command:
        value["args" if args.arguments_only else "command"] = command
    if args.target:
        value["targetContainerName"] = args.target
    if args.image_pull_policy:
        value["imagePullPolicy"] = args.image_pull_policy
    pairs = [item.partition("=") for item in args.env]
    if not all(equals and key for key, equals, _ in pairs):
        raise BadRequest("--env wants NAME=VALUE")
    if pairs:
        value["env"] = [{"name": key, "value": text} for key, _, text in pairs]
    return value


def _add(client: Any, name: str, value: dict[str, Any]) -> Any:
    """The pod with the container. Raises ApiError."""
    from cli.client import MANAGER, ref
    from pinnace.api.v1 import objects_pb2

    pod = client.get(kinds.POD, client.context.namespace, name)
    if value["name"] in podspec.names(pod):
        raise Conflict(f"pod {name} has a container named {value['name']} already")
    request = objects_pb2.PatchRequest(
        ref=ref(kinds.POD, client.context.namespace, name), type="STRATEGIC", fieldManager=MANAGER,
        patch=json.dumps({"spec": {"ephemeralContainers": [value]}}).encode(),
    )  # fmt: skip
    return kinds.POD.cls.FromString(client.call(client.objects.Patch, request).protobuf)


def _join(client: Any, pod: Any, name: str, args: Any) -> int:
    """Attach once it runs. Without input its log is followed instead, which has what it said before, too."""
    state = _started(client, pod, name)
    if args.stdin and not state.HasField("terminated"):
        try:
            found = next(item for item in podspec.ephemeral(pod) if item.name == name)
            return attach(client, pod, found, stdin=True, tty=args.tty, quiet=args.quiet)
        except BadRequest:
            # It ended in between, or cannot be attached to.
            state = _state(client.get(kinds.POD, pod.metadata.namespace, pod.metadata.name), name)
            if state is None or not state.HasField("terminated"):
                raise
    from pinnace.api.v1 import streams_pb2

    source = Source(pod.metadata.namespace, pod.metadata.name, name)
    LogReader(client, streams_pb2.LogOptions(follow=True), Printer(prefix=False)).read(source)
    return int(_awaited(client, pod, name, "terminated").terminated.exitCode)


def _started(client: Any, pod: Any, name: str) -> Any:
    """The container's state once it runs or has ended. Raises Timeout saying what it waits for."""
    return _awaited(client, pod, name, "running", "terminated")


def _awaited(client: Any, pod: Any, name: str, *wanted: str) -> Any:
    progress, reason = output.Progress(), "its node has not begun"
    deadline = time.monotonic() + START_WITHIN
    meta = pod.metadata
    try:
        for type_, found in client.watch(kinds.POD, meta.namespace, name=meta.name, timeout=START_WITHIN):
            if type_ == "DELETED":
                raise NotFound(f"pod {meta.name} was deleted")
            state = _state(found, name) if found is not None else None
            if state is not None and any(state.HasField(field) for field in wanted):
                return state
            if state is not None and state.HasField("waiting"):
                reason = f"{state.waiting.reason}: {state.waiting.message}".strip(": ")
            progress.show(f"waiting for container {name}: {reason}")
    except ApiError:
        if time.monotonic() < deadline:
            raise
    finally:
        progress.clear()
    raise Timeout(f"container {name} is not {wanted[0]} within {START_WITHIN:.0f} s ({reason}); it stays in the pod")


def _state(pod: Any, name: str) -> Any | None:
    return next((item.state for item in pod.status.ephemeralContainerStatuses if item.name == name), None)
