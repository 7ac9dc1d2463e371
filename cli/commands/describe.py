"""`kctl describe`: an object in detail, with its events."""

from __future__ import annotations

from typing import Any

from cli import flags, output
from cli.complaints import complain, shown
from cli.describing import autoscalers, bounds, budgets, jobs, nodes, pods, storage, tabbed, workloads
from cli.describing.lines import event_rows, events, head, labels, line, when
from pinnace.errors import NotFound
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("describe", "Show objects in detail: kctl describe pod web")
    parser.add_argument("what", nargs="*", help="TYPE [NAME...], or TYPE/NAME...")
    flags.add_selectors(parser)
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    namespace = "" if args.all_namespaces else client.context.namespace
    blocks, failed = [], 0
    for kind, name in flags.targets(args.what):
        try:
            found = (
                [client.get(kind, namespace, name)]
                if name
                else client.list(kind, namespace, labels=args.selector, fields=args.field_selector)
            )
        except NotFound as error:
            failed += 1
            complain(error)
            continue
        blocks += [describe(client, kind, item) for item in found]
    print(shown("\n\n".join(blocks))) if blocks else None
    return 1 if failed else 0


def describe(client: Any, kind: Kind, item: Any) -> str:
    if kind.kind in _TABBED:
        lines = [*_TABBED[kind.kind](client, kind, item), *_tabbed_events(client, kind, item)]
        return "\n".join(tabbed.align(lines))
    lines = _DESCRIBERS.get(kind.kind, _any)(client, kind, item)
    return "\n".join([*lines, *events(client, kind, item)])


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
    "PersistentVolume": storage.volume, "PersistentVolumeClaim": storage.claim, "StorageClass": storage.storage_class,
}  # fmt: skip
