"""`kctl describe`: an object in detail, with its events."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cli import flags, output
from cli.complaints import complain, shown
from cli.describing import autoscalers, bounds, budgets, jobs, networking, nodes, pods, services, storage, tabbed, workloads
from cli.describing.lines import event_rows, events, head, labels, line, when
from pinnace.errors import BadRequest, NotFound
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("describe", "Show objects in detail: kctl describe pod web")
    parser.add_argument("what", nargs="*", help="TYPE [NAME...], or TYPE/NAME...; a NAME may be the beginning of names")
    parser.add_argument("-f", "--filename", action="append", default=[], help="file that names the objects (repeatable)")
    parser.add_argument("-R", "--recursive", action="store_true", help="read directories of -f recursively")
    parser.add_argument(
        "--show-events", action="store_true", default=None, help="show the objects' events (default: of a single object alone)"
    )
    flags.add_selectors(parser)
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    found, errors = _found(client, args)
    with_events = args.show_events if args.show_events is not None else found.exact and len(found.objects) == 1
    blocks = [describe(client, kind, item, with_events=with_events) for kind, item in found.objects]
    print(shown("\n\n\n".join(blocks))) if blocks else None
    if not blocks and not errors:
        where = "" if args.all_namespaces else f" in {client.context.namespace} namespace."
        print(f"No resources found{where}", file=sys.stderr)
    return 1 if errors else 0


@dataclass
class _Found:
    """Objects to describe; `exact`: all were named in full, and exist."""

    objects: list[tuple[Kind, Any]] = field(default_factory=list)
    exact: bool = True


def _found(client: Any, args: Any) -> tuple[_Found, int]:
    """And the number of failures, which are reported already. Raises ApiError."""
    namespace, found, errors = "" if args.all_namespaces else client.context.namespace, _Found(), 0
    if not args.filename:
        targets = flags.targets(args.what)
        for kind, name in targets:
            errors += _find(client, args, _Named(kind, name, namespace, alone=len(targets) == 1), found)
        return found, errors
    from cli import files

    manifests = files.Manifests(args)
    try:
        for item in manifests:
            named = _Named(item.kind, item.name, item.namespace or namespace, alone=False)
            errors += _find(client, args, named, found)
    finally:
        errors += bool(manifests.report())
    return found, errors


class _Named(NamedTuple):
    """What a user names; an empty name stands for all. `alone`: nothing else is named."""

    kind: Kind
    name: str
    namespace: str
    alone: bool


def _find(client: Any, args: Any, named: _Named, found: _Found) -> int:
    """Add the objects; returns the number of failures. As by kubectl, a single name that no object has is a beginning.

    Raises BadRequest."""
    kind = named.kind
    if not named.name:
        items = client.list(kind, named.namespace, labels=args.selector, fields=args.field_selector)
        found.objects += [(kind, item) for item in items]
        return 0
    if args.all_namespaces and not args.filename:
        raise BadRequest("a resource cannot be retrieved by name across all namespaces")
    try:
        found.objects.append((kind, client.get(kind, named.namespace, named.name)))
        return 0
    except NotFound as error:
        found.exact = False
        listed = client.list(kind, named.namespace) if named.alone else ()
        matching = [(kind, item) for item in listed if item.metadata.name.startswith(named.name)]
        found.objects += matching
        if not matching:
            complain(error)
        return not matching


def describe(client: Any, kind: Kind, item: Any, *, with_events: bool = True) -> str:
    if kind.kind in _TABBED:
        lines = _TABBED[kind.kind](client, kind, item)
        lines += _tabbed_events(client, kind, item) if with_events and kind.kind not in _WITHOUT_EVENTS else []
        return "\n".join(tabbed.align(lines))
    lines = _DESCRIBERS.get(kind.kind, _any)(client, kind, item)
    return "\n".join([*lines, *(events(client, kind, item) if with_events else ())])


def _tabbed_events(client: Any, kind: Kind, item: Any) -> list[str]:
    rows = event_rows(client, kind, item)
    return ["Events:", *("  " + "\t".join(row).replace("\n", " ") for row in rows)] if rows else ["Events:\t<none>"]


def _any(client: Any, kind: Kind, item: Any) -> list[str]:
    document = output.document(kind, item)
    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    text = output.to_yaml(body).splitlines() if body else []
    return [*head(kind, item), *labels(item), line("Created", when(item.metadata.creationTimestamp)), *text]


def _secret(client: Any, kind: Kind, item: Any) -> list[str]:
    sizes = [f"{key}:  {len(value)} bytes" for key, value in sorted(item.data.items())]
    return [*head(kind, item), *labels(item), "", line("Type", item.type), "", "Data", "====", *sizes]


def _config_map(client: Any, kind: Kind, item: Any) -> list[str]:
    lines = [*head(kind, item), *labels(item), "", "Data", "===="]
    for key, value in sorted(item.data.items()):
        lines += [f"{key}:", "----", value.rstrip("\n"), ""]
    if item.binaryData:
        lines += [
            "BinaryData",
            "====",
            *(f"{key}: {len(value)} bytes" for key, value in sorted(item.binaryData.items())),
        ]
    return lines


_DESCRIBERS = {
    "Pod": pods.describe, "Node": nodes.describe, "Secret": _secret, "ConfigMap": _config_map,
    "LimitRange": bounds.limit_range, "ResourceQuota": bounds.resource_quota,
}  # fmt: skip
# Lines with tabs, which are aligned together with the events.
_TABBED = {
    "Deployment": workloads.deployment, "ReplicaSet": workloads.replica_set, "DaemonSet": workloads.daemon_set,
    "StatefulSet": workloads.stateful_set, "ReplicationController": workloads.replication_controller, "Job": jobs.job,
    "CronJob": jobs.cron_job, "PodDisruptionBudget": budgets.disruption_budget,
    "HorizontalPodAutoscaler": autoscalers.autoscaler,
    "NetworkPolicy": networking.network_policy, "Ingress": networking.ingress, "IngressClass": networking.ingress_class,
    "Service": services.service, "Endpoints": services.endpoints, "EndpointSlice": services.endpoint_slice,
    "PersistentVolume": storage.volume, "PersistentVolumeClaim": storage.claim, "StorageClass": storage.storage_class,
}  # fmt: skip
# As by kubectl.
_WITHOUT_EVENTS = frozenset(("NetworkPolicy",))
