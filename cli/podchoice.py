"""The pod that a workload stands for on a command line: `deployment/web` is its best pod.

Source: AttachablePodForObject and logsForObject of kubectl's pkg/polymorphichelpers; ActivePods of pkg/util/podutils.
"""

from __future__ import annotations

from typing import Any

from cli.complaints import report
from cli.pods import pod_name
from pinnace import kinds, labelselectors
from pinnace.errors import BadRequest, Timeout

# Seconds to wait for a pod of a workload that has none yet: of a stream to a container, and of a log.
STREAM_WITHIN, LOG_WITHIN = 60.0, 20.0
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def name_of(client: Any, word: str, *, within: float = STREAM_WITHIN, tell: bool = False) -> str:
    """The name of the pod in `web` or `pod/web`, or of one of the pods of a workload or a Service, as in `svc/web`.

    `tell`: report which of several pods was taken. Raises BadRequest, NotFound, Timeout."""
    kind, slash, _ = word.rpartition("/")
    if not slash or kind.lower() in kinds.POD.words:
        return pod_name(word)
    selector = selector_of(client, word)
    namespace = client.context.namespace
    found = client.list(kinds.POD, namespace, labels=selector)
    if tell and len(found) > 1:
        report(f"Found {len(found)} pods, using pod/{best(found).metadata.name}")
    chosen = best(found) if found else _first(client, namespace, selector, within)
    return str(chosen.metadata.name)


def selector_of(client: Any, word: str) -> str:
    """The label selector of the pods of a workload or a Service TYPE/NAME. Raises BadRequest, NotFound."""
    from cli import flags

    [(kind, name)] = flags.targets([word])
    spec = kind.cls.DESCRIPTOR.fields_by_name.get("spec")
    fields = spec.message_type.fields_by_name if spec is not None and spec.message_type is not None else {}
    if "selector" not in fields or ("template" not in fields and kind is not kinds.SERVICE):
        raise BadRequest(f"{word}: neither a pod nor a workload with pods: selector for {kind.kind} not implemented")
    selector = client.get(kind, client.context.namespace, name).spec.selector
    if kind is kinds.SERVICE and not selector:
        raise BadRequest(f"invalid service '{name}': Service is defined without a selector")
    # That of a ReplicationController or a Service is a map of labels.
    plain = fields["selector"].message_type.GetOptions().map_entry
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) if plain else labelselectors.text(selector)


def best(pods: list[Any]) -> Any:
    """On a node before on none, running, ready, not terminating, ready for the longest time, fewest restarts, oldest."""
    return max(pods, key=_rank)


def _rank(pod: Any) -> tuple[Any, ...]:
    meta, status = pod.metadata, pod.status
    ready_since = [
        item.lastTransitionTime.seconds for item in status.conditions if item.type == "Ready" and item.status == "True"
    ]
    restarts = max((item.restartCount for item in status.containerStatuses), default=0)
    # A time that is not known counts as the latest.
    ready = -(ready_since[0] or 1 << 62) if ready_since else 0
    ending = meta.deletionTimestamp.seconds
    return (
        bool(pod.spec.nodeName), _PHASES.get(status.phase, 0), bool(ready_since), not ending, ending, ready,
        -restarts, -(meta.creationTimestamp.seconds or 1 << 62),
    )  # fmt: skip


def _first(client: Any, namespace: str, selector: str, within: float) -> Any:
    """The first pod that comes. Raises Timeout."""
    try:
        for type_, pod in client.watch(kinds.POD, namespace, labels=selector, timeout=within):
            if pod is not None and type_ != "DELETED":
                return pod
    except Timeout:
        pass
    raise Timeout("timed out waiting for the condition")
