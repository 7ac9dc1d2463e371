"""`kctl expose`: a Service for the pods of a workload, of a pod or of another Service.

Source: kubectl's pkg/cmd/expose.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from cli import changing, exposing, flags, output, runpods
from cli.changing import Target
from pinnace import codec, kinds
from pinnace.errors import ApiError, BadRequest
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser(
        "expose", "Create a Service of an object's pods: kctl expose deployment/web --port=80 --target-port=8080"
    )
    _add_flags(parser)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if not args.what and not args.filename:
        raise BadRequest("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    client = flags.client(args)
    if args.filename:
        return _expose_files(client, args)

    def expose(target: Target, single: bool) -> None:
        if target.kind not in exposing.KINDS:
            raise BadRequest(f"cannot expose a {target.kind.group_kind}")
        _expose(client, args, target.kind, client.get(*target), target.namespace)

    # Objects are named: the flag --selector is the Service's.
    named = SimpleNamespace(filename=[], selector="", field_selector="", all=False, all_namespaces=False)
    return changing.each(client, named, args.what, expose)


def _add_flags(parser: flags.Parser) -> None:
    add = parser.add_argument
    add("what", nargs="*", help="TYPE NAME..., or TYPE/NAME..., of a deployment, replicaset, rc, pod or service")
    flags.add_files(parser)
    add("--port", default="", help="port of the Service (default: those of the object's containers)")
    add("--target-port", default="", help="number or name of the containers' port (default: as --port)")
    add("--protocol", default="", help="TCP, UDP or SCTP (default: that of the object's ports)")
    add("--name", default="", help="name of the Service (default: that of the object)")
    add("--type", default="", help="ClusterIP, NodePort, LoadBalancer or ExternalName (default: ClusterIP)")
    add("--cluster-ip", default="", help="cluster IP, or None for a headless Service (default: an unused one)")
    add("--external-ip", default="", help="further address for which nodes accept traffic of the Service")
    add("--load-balancer-ip", default="", help="wanted address of the load balancer, with --type=LoadBalancer")
    add("--selector", default="", metavar="KEY=VALUE,...", help="labels of the pods (default: the selector of the object)")
    add("-l", "--labels", default="", metavar="KEY=VALUE,...", help="labels of the Service (default: those of the object)")
    add("--session-affinity", default="", help="None or ClientIP (default: None)")
    add("--overrides", default="", metavar="JSON", help="JSON merge patch of the Service")
    changing.add_writing(parser, "expose")


def _expose_files(client: Any, args: Any) -> int:
    """Objects of files, which need not exist."""
    from cli import files

    if args.what:
        raise BadRequest("when paths or standard input are given with -f, no resource may be named as well")
    manifests = files.Manifests(args)
    try:
        for item in manifests:
            try:
                message = codec.decode(item.kind.cls, {k: v for k, v in item.value.items() if k not in ("apiVersion", "kind")})
                _expose(client, args, item.kind, message, item.namespace or client.context.namespace)
            except ApiError as error:
                manifests.fail(item.explain(error))
    finally:
        failed = manifests.report()
    return 1 if failed else 0


def _expose(client: Any, args: Any, kind: Kind, item: Any, namespace: str) -> None:
    """Raises ApiError."""
    from cli.client import manager, opened
    from pinnace.api.v1 import objects_pb2

    value = exposing.manifest(kind, item, args)
    if args.overrides:
        value = runpods.merged(value, runpods.overrides(args.overrides, kinds.SERVICE.kind))
    if args.dry_run == "client":
        changing.show(kinds.SERVICE, codec.decode(kinds.SERVICE.cls, value), "exposed", args)
        return
    request = objects_pb2.WriteRequest(
        object=objects_pb2.Object(apiVersion="v1", kind=kinds.SERVICE.kind, json=json.dumps(value).encode()),
        namespace=namespace, fieldManager=args.field_manager or manager("expose"), dryRun=args.dry_run == "server",
    )  # fmt: skip
    made = opened(kinds.SERVICE, client.call(client.objects.Create, request).protobuf)
    changing.show(kinds.SERVICE, made, "exposed", args)
