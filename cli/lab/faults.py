"""Faults of a lab: nodes that are stopped or frozen, links that are cut, disks that are full. Injected, listed, reverted.

A fault is in the lab's record before it takes effect, so whatever ends kctl meanwhile, it is listed and can be reverted. One
that is limited in time has a process of its own that reverts it (`watchdog`): kctl may be killed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from cli.lab import cuts, disks, freezing, nodes, processes, uplink, waiting
from cli.lab.faultrecord import CUT, FILL, FREEZE, STOP, drop, of
from cli.lab.layout import CONTROL, Fault, Lab, Process
from cli.progress import Say
from pinnace.errors import ApiError, BadRequest, Internal

# Seconds in which a node that thaws is to reconcile with the control plane before its containers thaw.
RECONCILED_WITHIN = 30.0
# A year; more is a typing error.
MAX_SECONDS = 366 * 86_400.0


def inject(lab: Lab, kind: str, hosts: tuple[str, ...], *, seconds: float, config: Path) -> Fault:
    """`seconds`: reverted after so many, 0 for never. Raises BadRequest when the fault is there already or cannot be."""
    _check(lab, kind, hosts)
    if seconds and not 0 < seconds <= MAX_SECONDS:
        raise BadRequest("--for must be more than 0s and at most 366 days")
    fault = Fault(kind, hosts, time.time() + seconds if seconds else 0.0)
    if seconds:
        fault = Fault(kind, hosts, fault.until, _start_watchdog(lab, fault, seconds, config))
    lab.faults.append(fault)
    lab.save()
    try:
        _apply(lab, fault)
    except BaseException as error:
        drop(lab, fault)
        if kind == CUT:
            _withdraw_cut(lab, error)
        raise
    return fault


def _withdraw_cut(lab: Lab, cause: BaseException) -> None:
    """Its rules may be in effect, as the route to Services is changed after them; without a record they could not be reverted.
    Raises Internal with both errors."""
    try:
        cuts.apply(lab)
    except ApiError as error:
        text = f"the rules of the cut may be in effect until the next `kctl lab cut`: {error}"
        raise Internal(f"{str(cause) or type(cause).__name__}; {text}") from cause


def _check(lab: Lab, kind: str, hosts: tuple[str, ...]) -> None:
    """Raises BadRequest."""
    host = hosts[0]
    if of(lab, kind, hosts) is not None:
        names = " and ".join(cuts.name_of(host) for host in hosts)
        done = {STOP: "is stopped", FREEZE: "is frozen", FILL: "is filled"}
        raise BadRequest(f"{names} are cut off from each other already" if len(hosts) == 2 else
                         f'node "{names}" {done.get(kind, "is cut off")} already')  # fmt: skip
    if kind == CUT:
        if len(set(hosts)) != len(hosts):
            raise BadRequest("a host cannot be cut off from itself: name two hosts, or one to cut it off from all others")
        if not processes.alive(lab.processes.get(CONTROL)):
            raise BadRequest(f'lab "{lab.name}" is stopped')
        return
    nodes.check_node(lab, host)
    if not processes.alive(lab.processes.get(host)):
        raise BadRequest(f'node "{host}" is stopped already' if kind == STOP else f'node "{host}" is stopped')
    if kind == FILL:
        disks.check(lab)


def _apply(lab: Lab, fault: Fault) -> None:
    match fault.kind:
        case "stop":
            _thawed(lab, fault.hosts[0])
            nodes.stop_node(lab, fault.hosts[0])
        case "freeze":
            freezing.freeze(lab, fault.hosts[0])
        case "cut":
            _cut(lab)
        case "fill":
            disks.fill(lab, fault.hosts[0])


def _thawed(lab: Lab, node: str) -> None:
    """A node that is switched off is not frozen any more."""
    if (frozen := of(lab, FREEZE, (node,))) is not None:
        drop(lab, frozen)


def revert(lab: Lab, fault: Fault, *, config: Path, say: Say) -> list[str]:
    """Returns warnings. A failure leaves the fault in the record."""
    warnings: list[str] = []
    match fault.kind:
        case "stop":
            nodes.start_node(lab, fault.hosts[0], config=config, say=say)
        case "freeze":
            warnings = thaw(lab, fault.hosts[0], config=config, say=say)
        case "fill":
            disks.free(lab, fault.hosts[0])
    drop(lab, fault)
    if fault.kind == CUT:
        _cut(lab)
    return warnings


def _cut(lab: Lab) -> None:
    """The node that leads this machine to Services is another one when it is cut off."""
    cuts.apply(lab)
    uplink.lead_services(lab)


def thaw(lab: Lab, node: str, *, config: Path, say: Say) -> list[str]:
    """The agent first. The containers follow once it has killed those that are no longer the node's; returns warnings.

    Otherwise a pod that was replaced elsewhere meanwhile would run again until its agent has heard of it."""
    freezing.thaw_agent(lab, node)
    try:
        if not processes.alive(lab.processes.get(node)):
            return []
        if cuts.parts(lab, node) or not processes.alive(lab.processes.get(CONTROL)):
            return [f"{node} cannot reach the control plane: its pods run again, also those that were replaced meanwhile"]
        say(f"waiting for the agent of {node}, before its pods run again")
        if not waiting.for_reconciled(lab, config, node, RECONCILED_WITHIN):
            return [f"the agent of {node} did not reconcile with the control plane within {RECONCILED_WITHIN:.0f} s: its pods "
                    "run again, also those that were replaced meanwhile"]  # fmt: skip
        return []
    finally:
        freezing.thaw_containers(lab, node)


def _start_watchdog(lab: Lab, fault: Fault, seconds: float, config: Path) -> Process:
    log = lab.log("faults")
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [lab.name, fault.kind, ",".join(fault.hosts), repr(fault.until), repr(seconds), str(config)]
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.lab.watchdog", *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True, cwd="/",
        )  # fmt: skip
    return Process(process.pid, processes.start_time(process.pid))
