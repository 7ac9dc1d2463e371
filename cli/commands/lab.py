"""`kctl lab`: clusters of several nodes on this machine. `cli.lab` does the work; here are the arguments and the output."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli import contexts, flags, kubeconfig, tables
from cli.commands import labclock, labfaults
from cli.commands.labshared import add_name, exclusive, progress, warn
from cli.counts import count
from cli.lab import encryption, faultrecord, layout, lifecycle, links, naming, processes, removal, uplink
from cli.lab.layout import CONTROL, SWITCH, Lab
from pinnace.errors import BadRequest

DEFAULT = "default"
ISOLATED = "PINNACE_LAB_ISOLATED"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("lab", "Clusters of several nodes on this machine")
    verbs = parser.verbs()
    _add_up(verbs.add_parser("up", help="make a lab and wait until its nodes are Ready"))
    for name, text in (
        ("start", "resume a lab: start what does not run, after a reboot, a crash or `lab stop`"),
        ("stop", "end all processes of a lab and keep its state"),
        ("down", "remove a lab, and show that nothing is left"),
        ("status", "list hosts, their processes and memory, and faults in effect"),
    ):
        verb = verbs.add_parser(name, help=text)
        add_name(verb)
        if name == "down":
            verb.add_argument("--all", action="store_true", help="remove every lab of this machine")
    verbs.add_parser("list", help="list the labs of this machine")
    labfaults.add(verbs)
    labclock.add(verbs)
    args = parser.parse_verb(verbs, arguments)
    if args.verb not in ("list", "status"):
        # A configuration that cannot be read would be found out after the work, and could not be written.
        contexts.load(contexts.path(args.config))
    actions: dict[str, Callable[[Any], int]] = {
        "up": _up, "start": _start, "stop": _stop, "down": _down, "status": _status, "list": _list,
        "clock": labclock.run,
    }  # fmt: skip
    return actions[args.verb](args) if args.verb in actions else labfaults.run(args)


def _add_up(parser: Any) -> None:
    parser.add_argument("--name", default=DEFAULT, help="name of the lab (default: %(default)s)")
    parser.add_argument("--nodes", type=flags.between(), default=3, help="number of nodes (default: %(default)s)")
    parser.add_argument("--isolated", action=argparse.BooleanOptionalAction, default=None,
                        help=f"make no uplink to this machine's network (default: if {ISOLATED}=1)")  # fmt: skip
    parser.add_argument("--uplink-cidr", type=_range, default="", metavar="CIDR",
                        help=f"range for the uplink's /30 (default: the first free of {', '.join(links.RANGES)})")  # fmt: skip
    parser.add_argument("--reach", action="store_true",
                        help="this machine reaches pods and Services at their addresses (needs the uplink)")  # fmt: skip
    parser.add_argument("--no-fast-path", dest="fast_path", action="store_false",
                        help="all packets between pods pass bridge, routes and rules of their nodes")  # fmt: skip
    parser.add_argument("--encrypt", action="store_true", help="nodes encrypt what they send to each other's pods (WireGuard)")
    parser.add_argument("--kubeconfig", default=None, metavar="FILE",
                        help="kubeconfig for the lab's context; '': none (default: $KUBECONFIG, ~/.kube/config)")  # fmt: skip
    parser.add_argument("--disk-size", default="", metavar="SIZE",
                        help="size of a disk of each node's own, such as 2Gi (default: none of its own)")  # fmt: skip
    parser.add_argument("--ip-family", default=layout.IPV4, choices=(layout.IPV4, layout.IPV6, layout.DUAL),
                        help="IP family of nodes, pods and Services (default: %(default)s)")  # fmt: skip
    parser.add_argument("--control-arg", action="append", default=[], metavar="ARG", help="argument of pinnace-controlplane")
    parser.add_argument("--agent-arg", action="append", default=[], metavar="ARG", help="argument of pinnace-nodeagent")


def _range(text: str) -> str:
    try:
        return links.parse_range(text) if text else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    """Bytes; 0 for an empty text. Raises BadRequest."""
    from pinnace import podresources

    try:
        return podresources.amount(podresources.STORAGE, text) if text else 0
    except ValueError:
        raise BadRequest(f'--disk-size: "{text[:40]}" is not a size such as 2Gi') from None


def _isolated(args: Any) -> bool:
    """The flag, else the variable, in which anything but a clear no means yes."""
    if args.isolated is not None:
        return bool(args.isolated)
    return os.environ.get(ISOLATED, "").lower() not in ("", "0", "false", "no")


def _up(args: Any) -> int:
    begun = time.monotonic()
    file = "" if args.kubeconfig == "" else str(kubeconfig.path(args.kubeconfig or "").absolute())
    if file:
        contexts.load(Path(file))
    isolated = _isolated(args)
    if args.reach and isolated:
        raise BadRequest("--reach needs the uplink: add --no-isolated")
    # First: without root the checks of this machine's kernel fail too, by other names.
    removal.check_root()
    if args.encrypt:
        encryption.check()
        args.control_arg.append(encryption.FLAG)
    if not args.fast_path:
        args.agent_arg.append("--no-fast-path")
    options = lifecycle.Options(
        args.nodes, not isolated, args.uplink_cidr, args.control_arg, args.agent_arg, kubeconfig=file,
        disk_size=_size(args.disk_size), reach=args.reach, ip_family=args.ip_family,
    )  # fmt: skip
    with layout.exclusive(args.name), progress() as say:
        lab, warnings = lifecycle.up(args.name, options, config=contexts.path(args.config), say=say)
    warn(warnings)
    took = time.monotonic() - begun
    print(f'lab "{lab.name}" is up: {count(len(lab.nodes), "node")} Ready in {took:.1f} s, context {lab.context}')
    return 0


def _start(args: Any) -> int:
    begun = time.monotonic()
    with exclusive(args) as lab, progress() as say:
        labfaults.end_all(lab, contexts.path(args.config), say)
        started, warnings = lifecycle.start(lab, config=contexts.path(args.config), say=say)
    warn(warnings)
    done = f"started {', '.join(started)}" if started else "everything ran already"
    took = time.monotonic() - begun
    print(f'lab "{lab.name}" is up: {done}; {count(len(lab.nodes), "node")} Ready in {took:.1f} s, context {lab.context}')
    return 0


def _stop(args: Any) -> int:
    with exclusive(args) as lab:
        removal.stop(lab)
    print(f'lab "{lab.name}" is stopped; `{naming.command("start", lab.name)}` resumes it')
    return 0


def _down(args: Any) -> int:
    names = layout.names() if args.all else [naming.chosen(args)]
    if not names:
        print("there is no lab")
    failed = 0
    for name in names:
        _end_watchdogs(name)
        with layout.exclusive(name):
            try:
                left = _remove(name, args)
            finally:
                if name not in layout.names():
                    layout.lock(name).unlink(missing_ok=True)
        failed += bool(left)
        print(f'lab "{name}" is down: ' + ("nothing is left of it" if not left else "STILL THERE: " + ", ".join(left)))
    return 1 if failed else 0


def _end_watchdogs(name: str) -> None:
    """Before the lock: one of them may hold it, for as long as a node takes to start."""
    with contextlib.suppress(BadRequest):
        faultrecord.end_watchdogs(layout.load(name))


def _remove(name: str, args: Any) -> list[str]:
    """Also a lab whose record is lost or unreadable; returns what is left. Raises BadRequest when there is nothing."""
    try:
        lab = layout.load(name)
    except BadRequest:
        if not removal.remove_remains(name) and not (layout.STATE / name).exists():
            raise
        shutil.rmtree(layout.STATE / name, ignore_errors=True)
        return removal.leftovers(Lab(name))
    return removal.down(lab, config=contexts.path(args.config))


def _status(args: Any) -> int:
    from cli.lab import clock

    lab = layout.load(naming.chosen(args))
    rows = [["HOST", "ADDRESS", "STATE", "PID", "PROCESSES", "MEMORY"]]
    for host in (CONTROL, *lab.nodes, *([SWITCH] if lab.uplink else [])):
        main = lab.processes.get(host)
        pids = processes.of_host(lab, host)
        memory = sum(processes.memory(pid) for pid in pids)
        state = _host_state(lab, host)
        rows.append(
            [host, ",".join(lab.addresses(host)), state, str(main.pid) if main else "-", str(len(pids)), f"{memory >> 20}MiB"]
        )
    print(tables.render(rows))
    if lab.faults:
        print("\n" + tables.render([["FAULT", "HOSTS", "REVERTED", "BY HAND"], *labfaults.rows(lab)]))
    print(f"\nuplink: {uplink.describe(lab)}\nclock: {clock.recorded(lab)}\nlogs: {lab.state_dir}/logs")
    return 0


def _host_state(lab: Lab, host: str) -> str:
    if not processes.alive(lab.processes.get(host)):
        return "stopped"
    return "frozen" if faultrecord.of(lab, faultrecord.FREEZE, (host,)) else "running"


def _list(args: Any) -> int:
    rows = [["NAME", "NODES", "STATE", "CONTEXT", "CREATED", "UPLINK"]]
    for name in layout.names():
        try:
            lab = layout.load(name)
        except BadRequest:
            rows.append([name, "?", "Unreadable", "?", "<unknown>", "?"])
            continue
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(lab.created)) if lab.created else "<unknown>"
        rows.append([name, str(len(lab.nodes)), _state(lab), lab.context, created, uplink.describe(lab)])
    print(tables.render(rows) if len(rows) > 1 else "there is no lab: `kctl lab up` makes one")
    return 0


def _state(lab: Lab) -> str:
    running = [host for host in (CONTROL, *lab.nodes) if processes.alive(lab.processes.get(host))]
    if len(running) == len(lab.nodes) + 1 and not lab.faults:
        return "Running"
    return "Degraded" if running else "Stopped"
