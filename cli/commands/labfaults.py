"""`kctl lab node`, `cut`, `heal`, `fill` and `free`: nodes of a lab that come and go, and faults."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli import contexts, flags
from cli.commands.labshared import add_name, exclusive, progress, warn
from cli.lab import cuts, faultrecord, layout, naming
from cli.lab.faultrecord import CUT, FILL, FREEZE, STOP
from cli.lab.layout import Fault, Lab
from cli.progress import Say
from pinnace.errors import BadRequest, Internal

_ACTIONS = (
    "add; remove; stop (as in a power cut) and start; freeze (stop the execution of every process) and thaw; cut (off from all "
    "other hosts) and heal"
)
_LIMITED = (STOP, FREEZE, CUT)
_BEGUN = {STOP: "stopped", FREEZE: "frozen", CUT: "cut off", FILL: "filled"}
_ENDED = {STOP: "started", FREEZE: "thawed", CUT: "healed", FILL: "freed"}
# The action that reverts a fault of a node, and the kind of that fault.
_REVERTS = {"start": STOP, "thaw": FREEZE}
_BY_HAND = {STOP: "node start", FREEZE: "node thaw", CUT: "heal", FILL: "free"}
# Seconds for a watchdog to revert a fault, a node's start included.
REVERTED_WITHIN = 300.0
INTERRUPTED = 130


def add(verbs: Any) -> None:
    """The parsers of these commands."""
    node = verbs.add_parser("node", help="add, remove, stop, start, freeze, thaw, cut, heal")
    node.add_argument("action", choices=("add", "remove", "stop", "start", "freeze", "thaw", "cut", "heal"), metavar="ACTION",
                      help=_ACTIONS)  # fmt: skip
    node.add_argument("node", nargs="?", default="", metavar="NODE", help="such as node-1; for add a free one is chosen")
    cut = verbs.add_parser("cut", help="drop all packets between two hosts, or of one host")
    cut.add_argument("hosts", nargs="+", metavar="HOST", help="NODE or control-plane; two, or one to cut it off from all")
    heal = verbs.add_parser("heal", help="end cuts")
    heal.add_argument("hosts", nargs="*", metavar="HOST", help="the ends of a cut; one: all its cuts; none: all cuts")
    for name, text in ((FILL, "fill a node's disk (of a lab with --disk-size)"), ("free", "end a fill: make room again")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("node", metavar="NODE", help="such as node-1")
        add_name(verb)
        if name == FILL:
            _add_for(verb)
    for verb in (node, cut, heal):
        add_name(verb)
    for verb in (node, cut):
        _add_for(verb)


def _add_for(parser: Any) -> None:
    parser.add_argument("--for", dest="seconds", type=flags.seconds, default=None, metavar="DURATION",
                        help="wait, then revert, such as 30s; also when interrupted (default: it stays)")  # fmt: skip


def run(args: Any) -> int:
    verbs: dict[str, Callable[[Any], int]] = {"node": _node, "cut": _cut, "heal": _heal, "fill": _fill, "free": _free}
    return verbs[args.verb](args)


def _node(args: Any) -> int:
    action = args.action
    if args.seconds is not None and action not in _LIMITED:
        raise BadRequest(f"--for is for {', '.join(_LIMITED)}, not for {action}")
    if action in _LIMITED:
        return _inject(args, action, lambda lab: (args.node,))
    if action in _REVERTS:
        return _revert_node(args, _REVERTS[action])
    if action == "heal":
        args.hosts = [args.node]
        return _heal(args)
    return _add_node(args) if action == "add" else _remove_node(args)


def _add_node(args: Any) -> int:
    from cli.lab import nodes

    with exclusive(args) as lab, progress() as say:
        added = nodes.add_node(lab, args.node, config=contexts.path(args.config), say=say)
    with_images = f" with {', '.join(added.images)}" if added.images else ""
    print(f"node/{added.name} added{with_images}")
    for text in added.failed:
        print(f"error: not copied to {added.name}: {text}", file=sys.stderr)
    return 1 if added.failed else 0


def _remove_node(args: Any) -> int:
    from cli.lab import nodes

    with exclusive(args) as lab:
        nodes.remove_node(lab, args.node, config=contexts.path(args.config))
    print(f"node/{args.node} removed")
    return 0


def _cut(args: Any) -> int:
    if len(args.hosts) > 2:
        raise BadRequest("cut takes two hosts, or one to cut it off from all others")
    return _inject(args, CUT, lambda lab: tuple(cuts.host_of(lab, name) for name in args.hosts))


def _fill(args: Any) -> int:
    return _inject(args, FILL, lambda lab: (args.node,))


def _inject(args: Any, kind: str, hosts_of: Callable[[Lab], tuple[str, ...]]) -> int:
    from cli.lab import faults

    config = contexts.path(args.config)
    if args.seconds is not None and args.seconds <= 0:
        raise BadRequest("--for must be more than 0s")
    with exclusive(args) as lab:
        _revert_overdue(lab, config)
        fault = faults.inject(lab, kind, hosts_of(lab), seconds=args.seconds or 0.0, config=config)
    print(_begun(fault), flush=True)
    return _until_reverted(lab.name, fault, config) if args.seconds else 0


def _title(host: str) -> str:
    name = cuts.name_of(host)
    return name if name == cuts.CONTROL_PLANE else f"node/{name}"


def _begun(fault: Fault) -> str:
    """The line that tells the user."""
    end = f" from {_title(fault.hosts[1])}" if len(fault.hosts) == 2 else ""
    return f"{_title(fault.hosts[0])} {_BEGUN[fault.kind]}{end}"


def _ended(fault: Fault) -> str:
    if len(fault.hosts) == 2:
        return f"{_title(fault.hosts[0])} reconnected with {_title(fault.hosts[1])}"
    return f"{_title(fault.hosts[0])} {_ENDED[fault.kind]}"


def _until_reverted(name: str, fault: Fault, config: Path) -> int:
    """Wait for the watchdog, or revert the fault when interrupted."""
    code = 0
    try:
        with progress() as say:
            while (left := fault.until + REVERTED_WITHIN - time.time()) > 0 and _in_effect(name, fault):
                rest = fault.until - time.time()
                say(f"reverted in {rest:.0f} s; Ctrl-C reverts it now" if rest > 0 else "reverting")
                time.sleep(min(0.2, left))
    except KeyboardInterrupt:
        code = INTERRUPTED
    if _in_effect(name, fault):
        if not code:
            raise Internal(f"{fault.kind} of {', '.join(fault.hosts)} was not reverted; see {Lab(name).log('faults')}")
        _revert(name, fault, config)
    if name not in layout.names():
        raise BadRequest(f'lab "{name}" was removed meanwhile')
    print(_ended(fault))
    return code


def _in_effect(name: str, fault: Fault) -> bool:
    """Whether the lab's record has the fault; not of a lab that was removed meanwhile."""
    try:
        return fault in layout.load(name).faults
    except BadRequest:
        return False


def _revert(name: str, fault: Fault, config: Path) -> None:
    from cli.lab import faults

    with layout.exclusive(name), progress() as say:
        lab = layout.load(name)
        warnings = faults.revert(lab, fault, config=config, say=say) if fault in lab.faults else []
    warn(warnings)


def _revert_overdue(lab: Lab, config: Path) -> None:
    from cli.lab import faults

    for fault in faultrecord.overdue(lab):
        warn(faults.revert(lab, fault, config=config, say=lambda text: None))


def end_all(lab: Lab, config: Path, say: Say) -> None:
    """Before a lab is started: nothing is frozen, cut or filled any more. What is stopped is started with the rest."""
    from cli.lab import faults

    for fault in list(lab.faults):
        if fault.kind == STOP:
            faultrecord.drop(lab, fault)
        else:
            warn(faults.revert(lab, fault, config=config, say=say))


def _revert_node(args: Any, kind: str) -> int:
    from cli.lab import faults, nodes

    config = contexts.path(args.config)
    with exclusive(args) as lab, progress() as say:
        nodes.check_node(lab, args.node)
        fault = faultrecord.of(lab, kind, (args.node,))
        if fault is None and kind == FREEZE:
            raise BadRequest(f'node "{args.node}" is not frozen')
        if kind == STOP and (frozen := faultrecord.of(lab, FREEZE, (args.node,))) is not None:
            raise BadRequest(f'node "{frozen.hosts[0]}" is frozen: thaw it with `kctl lab node thaw {frozen.hosts[0]}`')
        # A node may also have ended without a fault in the record.
        warnings = faults.revert(lab, fault or Fault(kind, (args.node,)), config=config, say=say)
    warn(warnings)
    print(f"node/{args.node} {_ENDED[kind]}")
    return 0


def _heal(args: Any) -> int:
    from cli.lab import faults

    if len(args.hosts) > 2:
        raise BadRequest("heal takes the two ends of a cut, one host, or none for all cuts")
    with exclusive(args) as lab:
        hosts = {cuts.host_of(lab, name) for name in args.hosts}
        found = [fault for fault in lab.faults if fault.kind == CUT and _concerns(fault, hosts)]
        if not found and hosts:
            names = " and ".join(args.hosts)
            raise BadRequest(f"{names} are not cut off from each other" if len(hosts) == 2 else f"{names} is not cut off")
        for fault in found:
            faults.revert(lab, fault, config=contexts.path(args.config), say=lambda text: None)
    for fault in found:
        print(_ended(fault))
    if not found:
        print("no cuts are in effect")
    return 0


def _concerns(fault: Fault, hosts: set[str]) -> bool:
    """Both ends: that cut. One host: each of its cuts. None: every cut."""
    return set(fault.hosts) == hosts if len(hosts) == 2 else hosts <= set(fault.hosts)


def _free(args: Any) -> int:
    from cli.lab import faults, nodes

    with exclusive(args) as lab:
        nodes.check_node(lab, args.node)
        fault = faultrecord.of(lab, FILL, (args.node,))
        if fault is None:
            raise BadRequest(f'the disk of node "{args.node}" is not filled')
        faults.revert(lab, fault, config=contexts.path(args.config), say=lambda text: None)
    print(f"node/{args.node} {_ENDED[FILL]}")
    return 0


def rows(lab: Lab) -> list[list[str]]:
    """Of a table: each fault in effect, when it is reverted, and the command that reverts it."""
    found = []
    for fault in lab.faults:
        names = [cuts.name_of(host) for host in fault.hosts]
        rest = f"in {max(fault.until - time.time(), 0):.0f}s" if fault.until else "<never>"
        found.append([fault.kind, ",".join(names), rest, f"{naming.command(_BY_HAND[fault.kind], lab.name)} {' '.join(names)}"])
    return found
