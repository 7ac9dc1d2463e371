"""`kctl autoscale`: create HorizontalPodAutoscalers of workloads.

Source: kubectl's pkg/cmd/autoscale.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from cli import changing, discovery, flags, output
from cli.changing import Target
from cli.complaints import report
from pinnace import codec, kinds, quantity
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

MAX_INT32 = (1 << 31) - 1
_UNITS = {"cpu": "m", "memory": "Mi"}
_PLAIN = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_PERCENT = re.compile(r"[0-9]{1,9}%", re.ASCII)
_DEPRECATED = (
    "Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format "
    "(e.g., '70%' for utilization or '500m' for milliCPU)."
)


def run(arguments: list[str]) -> int:
    parser = flags.Parser("autoscale", "Create an autoscaler: kctl autoscale deployment/web --min=2 --max=10 --cpu=70%")
    parser.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME...")
    flags.add_files(parser)
    parser.add_argument("--min", type=_count, default=-1, help="minimum number of pods (default: 1)")
    parser.add_argument("--max", type=_count, help="maximum number of pods (required)")
    parser.add_argument(
        "--cpu", default="", help="average CPU usage: 70%% of the requests, or 500m (default: 80%% of the requests)"
    )
    parser.add_argument(
        "--cpu-percent", type=_count, default=-1, help="average CPU usage in percent of the requests (use --cpu)"
    )
    parser.add_argument("--memory", default="", help="average memory usage: 60%% of the requests, or 200Mi")
    parser.add_argument("--name", default="", help="name of the autoscaler (default: that of the object)")
    changing.add_writing(parser, "autoscale")
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if args.cpu_percent >= 0:
        report(_DEPRECATED)
    metrics = _checked(args)
    if not args.what and not args.filename:
        raise BadRequest("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    args.selector, args.field_selector, args.all, args.all_namespaces = "", "", False, False
    client = flags.client(args)
    return changing.each(client, args, args.what, lambda target, single: _create(client, args, target, metrics))


def _count(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"-?[0-9]{1,10}", text, re.ASCII) or abs(int(text)) > MAX_INT32:
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a number up to {MAX_INT32}')
    return int(text)


def _checked(args: Any) -> list[dict[str, Any]]:
    """The metrics that flags ask for, none for the default. Raises BadRequest."""
    if args.max is None:
        raise BadRequest('required flag(s) "max" not set')
    if args.max < 1:
        raise BadRequest(f"--max=MAXPODS is required and must be at least 1, max: {args.max}")
    if args.max < args.min:
        raise BadRequest(f"--max=MAXPODS must be larger or equal to --min=MINPODS, max: {args.max}, min: {args.min}")
    if args.cpu_percent > 0 and args.cpu:
        raise BadRequest("--cpu-percent and --cpu are mutually exclusive")
    cpu = f"{args.cpu_percent}%" if args.cpu_percent > 0 else args.cpu
    return [
        {"type": "Resource", "resource": {"name": name, "target": _target(name, text.strip())}}
        for name, text in (("cpu", cpu), ("memory", args.memory))
        if text
    ]


def _target(name: str, text: str) -> dict[str, Any]:
    """`70%`, an amount such as `500m`, or a number in the resource's own unit. Raises BadRequest."""
    if text.endswith("%"):
        if not _PERCENT.fullmatch(text):
            raise BadRequest(f"invalid percentage value: {text[:-1][:80]}")
        return {"type": "Utilization", "averageUtilization": int(text[:-1])}
    amount = f"{text}{_UNITS[name]}" if _PLAIN.fullmatch(text) else text
    try:
        quantity.parse(amount)
    except ValueError:
        raise BadRequest(f"invalid resource {name} value: {text[:80]}") from None
    return {"type": "AverageValue", "averageValue": amount}


def _create(client: Any, args: Any, target: Target, metrics: list[dict[str, Any]]) -> None:
    """Raises ApiError."""
    from cli.client import manager, opened
    from pinnace.api.v1 import objects_pb2

    # The object has to be there.
    client.get(target.kind, target.namespace, target.name)
    _check_scale(target.kind)
    kind, value = kinds.HORIZONTAL_POD_AUTOSCALER, _manifest(args, target, metrics)
    if args.dry_run == "client":
        item = codec.decode(kind.cls, value)
        changing.show(kind, item, "created", args)
        return
    body = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=json.dumps(value).encode())
    request = objects_pb2.WriteRequest(
        object=body, namespace=target.namespace, fieldManager=args.field_manager or manager("autoscale"),
        dryRun=args.dry_run == "server",
    )  # fmt: skip
    item = opened(kind, client.call(client.objects.Create, request).protobuf)
    changing.show(kind, item, "autoscaled", args)


def _check_scale(kind: Kind) -> None:
    """Raises BadRequest for a kind that cannot be scaled."""
    served = next((item for item in discovery.served() if item.kind is kind), None)
    if served is None or "scale" not in served.subresources:
        where = f"{kind.api_version}, Resource={kind.plural}"
        text = f"could not find scale subresource for {where} in discovery information"
        raise BadRequest(f"cannot autoscale a {kind.kind}: {text}")


def _manifest(args: Any, target: Target, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    reference = {"apiVersion": target.kind.api_version, "kind": target.kind.kind, "name": target.name}
    spec: dict[str, Any] = {"scaleTargetRef": reference, "maxReplicas": args.max}
    if args.min > 0:
        spec["minReplicas"] = args.min
    if metrics:
        spec["metrics"] = metrics
    return {"metadata": {"name": args.name or target.name, "namespace": target.namespace}, "spec": spec}
