"""`kctl lab`: clusters of several nodes on this machine. `cli.lab` does the work; here are its words."""

from __future__ import annotations

import time
from typing import Any

from cli import contexts, flags, output, tables
from cli.lab import hosts, layout, lifecycle, processes
from cli.lab.layout import CONTROL, Lab

_ACTIONS = "add; stop (pull its plug) and start; remove; cut (its network) and heal"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("lab", "Clusters of several nodes on this machine")
    verbs = parser.verbs()
    up = verbs.add_parser("up", help="make a lab and wait until its nodes are Ready")
    up.add_argument("--nodes", type=int, default=3, help="default: %(default)s")
    up.add_argument("--control-arg", action="append", default=[], metavar="ARG", help="passed on to pinnace-controlplane")
    up.add_argument("--agent-arg", action="append", default=[], metavar="ARG", help="passed on to pinnace-nodeagent")
    down = verbs.add_parser("down", help="take a lab away, and show that nothing is left")
    status = verbs.add_parser("status", help="hosts, processes and their memory")
    for verb in (up, down, status):
        verb.add_argument("--name", default="default", help="name of the lab (default: %(default)s)")
    down.add_argument("--all", action="store_true", help="every lab of this machine")
    node = verbs.add_parser("node", help="add, stop, start, remove, cut, heal")
    node.add_argument("action", choices=("add", "stop", "start", "remove", "cut", "heal"), metavar="ACTION", help=_ACTIONS)
    node.add_argument("node", nargs="?", default="", metavar="NODE", help="such as node-1; for add a free one is chosen")
    node.add_argument("--name", default="default", help="name of the lab (default: %(default)s)")
    args = parser.parse_args(arguments)
    return {"up": _up, "down": _down, "status": _status, "node": _node}[args.verb](args)


def _up(args: Any) -> int:
    progress, start = output.Progress(), time.monotonic()
    try:
        lab = lifecycle.up(
            args.name,
            nodes=args.nodes,
            config=contexts.path(args.config),
            say=progress.show,
            control_args=args.control_arg,
            agent_args=args.agent_arg,
        )
    finally:
        progress.clear()
    took = time.monotonic() - start
    print(f'lab "{lab.name}" is up: {len(lab.nodes)} nodes Ready in {took:.1f} s, context {lab.context}')
    return 0


def _down(args: Any) -> int:
    names = layout.names() if args.all else [args.name]
    if not names:
        print("there is no lab")
    failed = 0
    for name in names:
        lab = layout.load(name)
        left = lifecycle.down(lab, config=contexts.path(args.config))
        failed += bool(left)
        print(f'lab "{name}" is down: ' + ("nothing is left of it" if not left else "STILL THERE: " + ", ".join(left)))
    return 1 if failed else 0


def _status(args: Any) -> int:
    lab = layout.load(args.name)
    rows = [["HOST", "ADDRESS", "STATE", "PID", "PROCESSES", "MEMORY"]]
    for host in (CONTROL, *lab.nodes):
        main = lab.processes.get(host)
        pids = processes.of_host(lab, host)
        memory = sum(processes.memory(pid) for pid in pids)
        state = "running" if processes.alive(main) else "stopped"
        rows.append([host, lab.address(host), state, str(main.pid) if main else "-", str(len(pids)), f"{memory >> 20}MiB"])
    print(tables.render(rows))
    print(f"\nlogs: {lab.state_dir}/logs")
    return 0


def _node(args: Any) -> int:
    lab: Lab = layout.load(args.name)
    config = contexts.path(args.config)
    progress = output.Progress()
    try:
        if args.action == "add":
            args.node = lifecycle.add_node(lab, args.node, config=config, say=progress.show)
        elif args.action == "start":
            lifecycle.start_node(lab, args.node, config=config, say=progress.show)
        elif args.action == "stop":
            lifecycle.stop_node(lab, args.node)
        elif args.action == "remove":
            lifecycle.remove_node(lab, args.node, config=config)
        else:
            lifecycle.check_node(lab, args.node)
            hosts.link(lab, args.node, up=args.action == "heal")
    finally:
        progress.clear()
    words = {
        "add": "added",
        "start": "started",
        "stop": "stopped",
        "remove": "removed",
        "cut": "cut off",
        "heal": "healed",
    }
    print(f"node/{args.node} {words[args.action]}")
    return 0
