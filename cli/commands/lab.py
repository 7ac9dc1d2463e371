"""`kctl lab`: clusters of several nodes on this machine. `cli.lab` does the work; here are the arguments and the output."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli import contexts, flags, kubeconfig, tables
from cli.lab import hosts, layout, lifecycle, links, naming, processes, removal, uplink
from cli.lab.layout import CONTROL, SWITCH, Lab
from cli.progress import Progress
from pinnace.errors import BadRequest

DEFAULT = "default"
ISOLATED = "PINNACE_LAB_ISOLATED"
_ACTIONS = "add; stop (pull its plug) and start; remove; cut (its network) and heal"
_DONE = {"add": "added", "start": "started", "stop": "stopped", "remove": "removed", "cut": "cut off", "heal": "healed"}


def run(arguments: list[str]) -> int:
    parser = flags.Parser("lab", "Clusters of several nodes on this machine")
    verbs = parser.verbs()
    _add_up(verbs.add_parser("up", help="make a lab and wait until its nodes are Ready"))
    for name, text in (
        ("start", "resume a lab: start what does not run, after a reboot, a crash or `lab stop`"),
        ("stop", "end all processes of a lab and keep its state"),
        ("down", "remove a lab, and show that nothing is left"),
        ("status", "list hosts, processes and their memory"),
    ):
        verb = verbs.add_parser(name, help=text)
        _add_name(verb)
        if name == "down":
            verb.add_argument("--all", action="store_true", help="remove every lab of this machine")
    verbs.add_parser("list", help="list the labs of this machine")
    node = verbs.add_parser("node", help="add, stop, start, remove, cut, heal")
    node.add_argument("action", choices=tuple(_DONE), metavar="ACTION", help=_ACTIONS)
    node.add_argument("node", nargs="?", default="", metavar="NODE", help="such as node-1; for add a free one is chosen")
    _add_name(node)
    args = parser.parse_args(arguments)
    if args.verb not in ("list", "status"):
        # A configuration that cannot be read would be found out after the work, and could not be written.
        contexts.load(contexts.path(args.config))
    actions: dict[str, Callable[[Any], int]] = {
        "up": _up, "start": _start, "stop": _stop, "down": _down, "status": _status, "list": _list, "node": _node,
    }  # fmt: skip
    return actions[args.verb](args)


def _add_name(parser: Any) -> None:
    parser.add_argument("--name", default="", help="name of the lab (default: the current context's, or the only one)")


def _add_up(parser: Any) -> None:
    parser.add_argument("--name", default=DEFAULT, help="name of the lab (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="number of nodes (default: %(default)s)")
    parser.add_argument("--isolated", action=argparse.BooleanOptionalAction, default=None,
                        help=f"make no uplink to this machine's network (default: if {ISOLATED}=1)")  # fmt: skip
    parser.add_argument("--uplink-cidr", type=_range, default="", metavar="CIDR",
                        help=f"range for the uplink's /30 (default: the first free of {', '.join(links.RANGES)})")  # fmt: skip
    parser.add_argument("--kubeconfig", default=None, metavar="FILE",
                        help="kubeconfig for the lab's context; '': none (default: $KUBECONFIG, ~/.kube/config)")  # fmt: skip
    parser.add_argument("--control-arg", action="append", default=[], metavar="ARG", help="argument of pinnace-controlplane")
    parser.add_argument("--agent-arg", action="append", default=[], metavar="ARG", help="argument of pinnace-nodeagent")


def _range(text: str) -> str:
    try:
        return links.parse_range(text) if text else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _isolated(args: Any) -> bool:
    """The flag, else the variable, in which anything but a clear no means yes."""
    if args.isolated is not None:
        return bool(args.isolated)
    return os.environ.get(ISOLATED, "").lower() not in ("", "0", "false", "no")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    progress = Progress()
    try:
        yield progress.show
    finally:
        progress.clear()


def _warn(warnings: list[str]) -> None:
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)


@contextmanager
def _exclusive(args: Any) -> Iterator[Lab]:
    """The chosen lab, which no other kctl changes meanwhile."""
    # Loaded before too: what does not exist leaves no lock.
    name = layout.load(naming.chosen(args)).name
    with layout.exclusive(name):
        yield layout.load(name)


def _up(args: Any) -> int:
    begun = time.monotonic()
    file = "" if args.kubeconfig == "" else str(kubeconfig.path(args.kubeconfig or "").absolute())
    if file:
        contexts.load(Path(file))
    options = lifecycle.Options(
        args.nodes, not _isolated(args), args.uplink_cidr, args.control_arg, args.agent_arg, kubeconfig=file
    )  # fmt: skip
    with layout.exclusive(args.name), _progress() as say:
        lab, warnings = lifecycle.up(args.name, options, config=contexts.path(args.config), say=say)
    _warn(warnings)
    took = time.monotonic() - begun
    print(f'lab "{lab.name}" is up: {len(lab.nodes)} nodes Ready in {took:.1f} s, context {lab.context}')
    return 0


def _start(args: Any) -> int:
    begun = time.monotonic()
    with _exclusive(args) as lab, _progress() as say:
        started, warnings = lifecycle.start(lab, config=contexts.path(args.config), say=say)
    _warn(warnings)
    done = f"started {', '.join(started)}" if started else "everything ran already"
    took = time.monotonic() - begun
    print(f'lab "{lab.name}" is up: {done}; {len(lab.nodes)} nodes Ready in {took:.1f} s, context {lab.context}')
    return 0


def _stop(args: Any) -> int:
    with _exclusive(args) as lab:
        removal.stop(lab)
    print(f'lab "{lab.name}" is stopped; `{naming.command("start", lab.name)}` resumes it')
    return 0


def _down(args: Any) -> int:
    names = layout.names() if args.all else [naming.chosen(args)]
    if not names:
        print("there is no lab")
    failed = 0
    for name in names:
        with layout.exclusive(name):
            try:
                left = _remove(name, args)
            finally:
                if name not in layout.names():
                    layout.lock(name).unlink(missing_ok=True)
        failed += bool(left)
        print(f'lab "{name}" is down: ' + ("nothing is left of it" if not left else "STILL THERE: " + ", ".join(left)))
    return 1 if failed else 0


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
    lab = layout.load(naming.chosen(args))
    rows = [["HOST", "ADDRESS", "STATE", "PID", "PROCESSES", "MEMORY"]]
    for host in (CONTROL, *lab.nodes, *([SWITCH] if lab.uplink else [])):
        main = lab.processes.get(host)
        pids = processes.of_host(lab, host)
        memory = sum(processes.memory(pid) for pid in pids)
        state = "running" if processes.alive(main) else "stopped"
        rows.append([host, lab.address(host), state, str(main.pid) if main else "-", str(len(pids)), f"{memory >> 20}MiB"])
    print(tables.render(rows))
    print(f"\nuplink: {uplink.describe(lab)}\nlogs: {lab.state_dir}/logs")
    return 0


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
    if len(running) == len(lab.nodes) + 1:
        return "Running"
    return "Degraded" if running else "Stopped"


def _node(args: Any) -> int:
    from cli.lab import nodes

    config = contexts.path(args.config)
    added = nodes.Added(args.node, [], [])
    with _exclusive(args) as lab, _progress() as say:
        match args.action:
            case "add":
                added = nodes.add_node(lab, args.node, config=config, say=say)
            case "start":
                nodes.start_node(lab, args.node, config=config, say=say)
            case "stop":
                nodes.stop_node(lab, args.node)
            case "remove":
                nodes.remove_node(lab, args.node, config=config)
            case _:
                nodes.check_node(lab, args.node)
                hosts.link(lab, args.node, up=args.action == "heal")
    with_images = f" with {', '.join(added.images)}" if added.images else ""
    print(f"node/{added.name} {_DONE[args.action]}{with_images}")
    for text in added.failed:
        print(f"error: not copied to {added.name}: {text}", file=sys.stderr)
    return 1 if added.failed else 0
