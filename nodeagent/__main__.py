"""`pinnace-nodeagent`: `join` makes this host a node, `run` is the agent."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from nodeagent.images import flags as imageflags
from nodeagent.node import config, flags
from nodeagent.pods.model import Policy
from pinnace import labclock, memory, openfiles
from pinnace.clock import Clock, SystemClock
from pinnace.errors import ApiError

STATE_DIR = Path("/var/lib/pinnace/nodeagent")


def main(arguments: list[str] | None = None) -> None:
    """`arguments`: by default those of the command line."""
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=args.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        args.run(args)
    except ApiError as error:
        sys.exit(f"pinnace-nodeagent: {error.message}")
    except FileNotFoundError as error:
        sys.exit(f"pinnace-nodeagent: {error.filename} is missing: join a cluster first (see `kctl node join-command`)")


class _Parser(argparse.ArgumentParser):
    """Flags are not abbreviated, neither before the command nor after it: its parser is of the same class."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how, allow_abbrev=False)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="pinnace-nodeagent", description="Pinnace's node agent.")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    join = verbs.add_parser("join", help="make this host a node, with a token from `kctl node join-command`")
    _add_join(join)
    run = verbs.add_parser("run", help="run the agent of a host that has joined")
    run.set_defaults(run=_run)
    prefork = verbs.add_parser("prefork", help="fork an agent for each line of standard input (`kctl lab up` does it)")
    prefork.set_defaults(run=_prefork)
    for verb in (join, run):
        _add_agent(verb)
    return parser.parse_args(arguments)


def _add_join(join: argparse.ArgumentParser) -> None:
    join.add_argument("endpoint", help="host:port of the control plane's join endpoint")
    join.add_argument(
        "--token-file", required=True, metavar="FILE", help="file that holds the join token; - for standard input"
    )
    join.add_argument("--token", action=_Exposed, help=argparse.SUPPRESS)
    join.add_argument("--ca-hash", required=True, metavar="sha256:HEX", help="SHA-256 of the control plane's CA certificate")
    join.add_argument(
        "--node-name", default=config.default_name(), help="name of the node (default: the host name, %(default)s)"
    )
    join.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="time to retry while the endpoint cannot be reached (default: 0)",
    )
    join.add_argument("--run", dest="go_on", action="store_true", help="run the agent after the join")
    join.set_defaults(run=_join)


def _add_agent(verb: argparse.ArgumentParser) -> None:
    """Flags of an agent that runs, now or after the join."""
    verb.add_argument("--state-dir", type=Path, default=STATE_DIR, help="directory of the agent's state (default: %(default)s)")
    verb.add_argument("--cgroup", default="pinnace", help="name of the agent's cgroups (default: %(default)s)")
    verb.add_argument(
        "--lab-clock", type=Path, metavar="FILE", help="file with the time of a lab (default: the machine's time)"
    )
    verb.add_argument(
        "--address", type=flags.addresses, default=(), metavar="IP[,IP]",
        help="addresses of this node, one of each IP family, the underlay's first; they must be on this host (default: the "
        "source address towards the control plane, also when it changes)",
    )  # fmt: skip
    verb.add_argument("--backoff", type=float, default=10.0, help="first crash-loop back-off in seconds (default: %(default)s)")
    verb.add_argument("--max-backoff", type=float, default=300.0, help="maximum back-off in seconds (default: %(default)s)")
    verb.add_argument(
        "--backoff-reset",
        type=float,
        default=600.0,
        help="run time in seconds that resets the back-off (default: %(default)s)",
    )
    flags.add(verb)
    imageflags.add(verb)


class _Exposed(argparse.Action):
    """--token, as it once was: refused, because every user of a host can read every command line (proc_pid_cmdline(5))."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error(
            "--token shows the token to every user of this host: use --token-file FILE, or --token-file - for standard "
            "input, and a new token, as this one may have been read (kctl node join-command)"
        )


def _join(args: argparse.Namespace) -> None:
    from nodeagent.control.join import join, read_token

    record = join(
        args.endpoint, node=args.node_name, token=read_token(args.token_file, sys.stdin), ca_hash=args.ca_hash,
        folder=args.state_dir / "pki", clock=SystemClock(), patience=args.wait,
    )  # fmt: skip
    config.save_identity(args.state_dir, record)
    print(f"node {record['node']} has joined {record['server']}", flush=True)
    if args.go_on:
        _run(args)


def _prefork(args: argparse.Namespace) -> None:
    from nodeagent import prefork

    # In a fork, the arguments of an agent.
    if (arguments := prefork.serve()) is not None:
        main(arguments)


def _run(args: argparse.Namespace) -> None:
    if os.geteuid() != 0:
        sys.exit("pinnace-nodeagent: the agent makes namespaces and mounts, which needs root")
    record = config.load_identity(args.state_dir)
    policy = Policy(args.backoff, args.max_backoff, args.backoff_reset)
    told = config.Config(
        args.state_dir, record["node"], record["server"], record.get("join", ""), args.cgroup, args.address, policy,
        registries=imageflags.registries(args), image_gc=imageflags.gc_policy(args),
        resources=flags.resources(args), eviction=flags.eviction(args), manifests=args.pod_manifest_path,
        status_every=args.node_status_report_frequency, dns=flags.dns(args), rotation=flags.rotation(args),
        oci_runtimes=flags.oci_runtimes(args), shutdown=flags.shutdown(args), reachable_from=args.reachable_from,
        nodeport_addresses=args.nodeport_addresses, fast_path=args.fast_path,
    )  # fmt: skip
    # What is made for containers has the mode that it is made with, also where the agent is started with umask 077, as by
    # deploy/systemd. Private files do not rely on a umask.
    os.umask(0o022)
    memory.limit()
    openfiles.raise_limit()
    asyncio.run(_serve(told, labclock.opened(SystemClock(), args.lab_clock)))


async def _serve(told: config.Config, clock: Clock) -> None:
    # Half a second, which neither `join` nor a mistake on the command line waits for.
    from nodeagent import agent

    task = asyncio.ensure_future(agent.Agent(told, clock).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


if __name__ == "__main__":
    main()
