"""`kctl drain`: cordon nodes, evict their pods, and wait until those are gone.

Source: kubectl's pkg/cmd/drain and pkg/drain (drain.go).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from cli import cordoning, draining, flags
from cli.commands import delete
from cli.complaints import report
from cli.progress import Progress
from pinnace import kinds, selectors
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout, TooManyRequests, Unavailable

# Seconds between attempts at an eviction that a disruption budget refuses.
RETRY = 5.0


def run(arguments: list[str]) -> int:
    parser = flags.Parser("drain", "Cordon nodes and evict their pods: kctl drain NODE...")
    cordoning.add_flags(parser)
    parser.add_argument("--force", action="store_true", help="delete pods that have no controller, too")
    parser.add_argument("--ignore-daemonsets", action="store_true", help="leave the pods of DaemonSets")
    parser.add_argument("--delete-emptydir-data", action="store_true", help="delete pods that use emptyDir, too")
    parser.add_argument("--disable-eviction", action="store_true", help="delete pods instead of evicting them")
    parser.add_argument(
        "--grace-period",
        type=flags.between(),
        default=-1,
        metavar="SECONDS",
        help="time to stop; negative: the pod's own (default: -1)",
    )
    parser.add_argument("--timeout", type=flags.seconds, default=0.0, help="maximum time to wait (default: no limit)")
    parser.add_argument("--pod-selector", default="", help="label selector of the pods to evict")
    parser.add_argument(
        "--skip-wait-for-delete-timeout", type=flags.between(), default=0, metavar="SECONDS",
        help="ignore pods that are terminating for longer (default: none)",
    )  # fmt: skip
    args = parser.parse_intermixed_args(arguments)
    cordoning.check(args)
    selectors.parse_labels(args.pod_selector)
    client = flags.client(args)
    nodes = cordoning.nodes(client, args)
    cordoning.set_all(client, nodes, args, unschedulable=True)
    return _drain_all(client, [node.metadata.name for node in nodes], args)


class _Display:
    """kubectl's line for each step; on a terminal one line that changes, of all pods of a node, and warnings."""

    def __init__(self, node: str, pods: list[Any], done: str, suffix: str) -> None:
        self._node, self._total, self._gone, self._done = node, len(pods), 0, done
        self._line = Progress() if not suffix and sys.stdout.isatty() and sys.stderr.isatty() else None
        if self._line is None:
            for pod in pods:
                print(f"evicting pod {pod.metadata.namespace}/{pod.metadata.name}{suffix}", flush=True)

    def refused(self, pod: Any, error: ApiError) -> None:
        """An eviction has to be tried again."""
        meta = pod.metadata
        if self._line is None:
            where = f'pods/"{meta.name}" -n "{meta.namespace}"'
            report(f"error when evicting {where} (will retry after {RETRY:.0f}s): {error.message}")
        else:
            self._show(f"cannot evict {meta.namespace}/{meta.name} yet: {error.message}")

    def waits(self, pod: Any) -> None:
        if self._line is not None:
            self._show(f"waiting for {pod.metadata.namespace}/{pod.metadata.name}")

    def gone(self, pod: Any) -> None:
        self._gone += 1
        if self._line is None:
            print(f"pod/{pod.metadata.name} {self._done}", flush=True)

    def clear(self) -> None:
        if self._line is not None:
            self._line.clear()

    def _show(self, text: str) -> None:
        assert self._line is not None
        self._line.show(f"draining node/{self._node}: {self._gone} of {self._total} pods {self._done}; {text}")


def _drain_all(client: Any, names: list[str], args: Any) -> int:
    failed: dict[str, ApiError] = {}
    deadline = time.monotonic() + args.timeout if args.timeout else None
    for name in names:
        try:
            _drain(client, name, args, deadline)
        except Unavailable:
            raise
        except ApiError as error:
            failed[name] = error
            report(f'error: unable to drain node "{name}" due to error: {error.message}, continuing command...')
            continue
        print(f"node/{name} drained{flags.DRY_RUN_SUFFIX[args.dry_run]}", flush=True)
    if failed:
        report("There are pending nodes to be drained:\n" + "\n".join(f" {name}" for name in failed))
    return 1 if failed else 0


def _drain(client: Any, name: str, args: Any, deadline: float | None) -> None:
    """Raises BadRequest when there are pods that may not be removed, Timeout, and other ApiErrors."""
    policy = draining.Policy(args.force, args.ignore_daemonsets, args.delete_emptydir_data, args.skip_wait_for_delete_timeout)
    pods = client.list(kinds.POD, "", labels=args.pod_selector, fields=f"spec.nodeName={name}")
    plan = draining.plan(pods, policy, time.time())
    if plan.errors:
        raise BadRequest(plan.error())
    if plan.warnings:
        report(f"Warning: {plan.warning()}")
    done = "deleted" if args.disable_eviction else "evicted"
    display = _Display(name, plan.pods, done, flags.DRY_RUN_SUFFIX[args.dry_run])
    try:
        if args.dry_run != "client":
            _evict_all(client, plan.pods, args, deadline=deadline, display=display)
        if args.dry_run == "none":
            _wait(client, plan.pods, args, deadline=deadline, display=display)
    finally:
        display.clear()


def _evict_all(client: Any, pods: list[Any], args: Any, *, deadline: float | None, display: _Display) -> None:
    """Until each eviction was accepted. Raises Timeout, ApiError."""
    while pods:
        refused = [pod for pod in pods if not _evict(client, pod, args, display)]
        if refused:
            _pause(deadline)
        pods = refused


def _pause(deadline: float | None) -> None:
    """Raises Timeout when there is no time for one."""
    if deadline is not None and time.monotonic() + RETRY > deadline:
        raise Timeout("global timeout reached before every pod was evicted")
    time.sleep(RETRY)


def _evict(client: Any, pod: Any, args: Any, display: _Display) -> bool:
    """False when the eviction has to be tried again. Raises ApiError."""
    try:
        if args.disable_eviction:
            client.call(client.objects.Delete, _deletion(pod, args))
        else:
            client.call(client.objects.Create, _eviction(pod, args))
    except NotFound:
        return True
    except TooManyRequests as error:
        display.refused(pod, error)
        return False
    return True


def _deletion(pod: Any, args: Any) -> Any:
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    meta = pod.metadata
    grace = args.grace_period if args.grace_period >= 0 else None
    return objects_pb2.DeleteRequest(
        ref=ref(kinds.POD, meta.namespace, meta.name), uid=meta.uid, gracePeriodSeconds=grace, dryRun=args.dry_run != "none"
    )


def _eviction(pod: Any, args: Any) -> Any:
    from cli.client import manager, ref
    from pinnace.api.v1 import objects_pb2

    meta = pod.metadata
    options: dict[str, Any] = {"preconditions": {"uid": meta.uid}}
    if args.grace_period >= 0:
        options["gracePeriodSeconds"] = args.grace_period
    body = {"metadata": {"name": meta.name, "namespace": meta.namespace}, "deleteOptions": options}
    kind = kinds.EVICTION
    return objects_pb2.WriteRequest(
        object=objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=json.dumps(body).encode()),
        ref=ref(kinds.POD, meta.namespace, meta.name), subresource="eviction", fieldManager=manager("drain"),
        dryRun=args.dry_run != "none",
    )  # fmt: skip


def _wait(client: Any, pods: list[Any], args: Any, *, deadline: float | None, display: _Display) -> None:
    """Until every pod is gone. Raises Timeout."""
    for pod in pods:
        meta = pod.metadata
        display.waits(pod)
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        try:
            delete.until_gone(client, kinds.POD, meta.namespace, meta.name, uid=meta.uid, timeout=left)
        except Timeout:
            raise Timeout(f'error when waiting for pod "{meta.name}" in namespace "{meta.namespace}" to terminate: '
                          f"global timeout reached: {args.timeout:.0f}s") from None  # fmt: skip
        display.gone(pod)
