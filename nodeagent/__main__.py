"""`pinnace-nodeagent`: `join` makes this host a node, `run` is the agent."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from nodeagent import agent, config, flags
from nodeagent.images import flags as imageflags
from nodeagent.pods.model import Policy
from pinnace import memory
from pinnace.clock import SystemClock, pause
from pinnace.errors import ApiError, Unavailable

STATE_DIR = Path("/var/lib/pinnace/nodeagent")


def main() -> None:
    args = _parse(sys.argv[1:])
    logging.basicConfig(level=args.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        args.run(args)
    except ApiError as error:
        sys.exit(f"pinnace-nodeagent: {error.message}")
    except FileNotFoundError as error:
        sys.exit(f"pinnace-nodeagent: {error.filename} is missing: join a cluster first (`kctl node join-command` says how)")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("pinnace-nodeagent", description="Pinnace's node agent.")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    join = verbs.add_parser("join", help="make this host a node, with a token from `kctl node join-command`")
    join.add_argument("endpoint", help="host:port of the control plane's join endpoint")
    join.add_argument("--token", required=True)
    join.add_argument("--ca-hash", required=True, metavar="sha256:HEX")
    join.add_argument("--node-name", default=config.default_name(), help="default: the host name (%(default)s)")
    join.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="keep trying to reach the endpoint this long")
    join.add_argument("--run", dest="go_on", action="store_true", help="go on as the agent at once")
    join.set_defaults(run=_join)
    run = verbs.add_parser("run", help="run the agent of a host that has joined")
    run.set_defaults(run=_run)
    for verb in (join, run):
        verb.add_argument("--state-dir", type=Path, default=STATE_DIR, help="default: %(default)s")
        verb.add_argument("--cgroup", default="pinnace", help="name of the agent's cgroups (default: %(default)s)")
        verb.add_argument("--address", default="", help="this node's underlay address (default: the one towards the server)")
        verb.add_argument(
            "--backoff", type=float, default=10.0, help="seconds of the first crash-loop delay (default: %(default)s)"
        )
        verb.add_argument("--max-backoff", type=float, default=300.0, help="seconds it grows to (default: %(default)s)")
        verb.add_argument(
            "--backoff-reset",
            type=float,
            default=600.0,
            help="seconds of a run that forgive earlier ones (default: %(default)s)",
        )
        flags.add(verb)
        imageflags.add(verb)
    return parser.parse_args(arguments)


def _join(args: argparse.Namespace) -> None:
    from nodeagent.joining import join

    clock = SystemClock()
    deadline = clock.monotonic() + args.wait
    while True:
        try:
            record = join(
                args.endpoint,
                node=args.node_name,
                token=args.token,
                ca_hash=args.ca_hash,
                folder=args.state_dir / "pki",
            )
            break
        except Unavailable:
            if clock.monotonic() > deadline:
                raise
            pause(0.05)
    config.save_identity(args.state_dir, record)
    print(f"node {record['node']} has joined {record['server']}", flush=True)
    if args.go_on:
        _run(args)


def _run(args: argparse.Namespace) -> None:
    if os.geteuid() != 0:
        sys.exit("pinnace-nodeagent: the agent makes namespaces and mounts, which needs root")
    record = config.load_identity(args.state_dir)
    policy = Policy(args.backoff, args.max_backoff, args.backoff_reset)
    told = config.Config(
        args.state_dir, record["node"], record["server"], args.cgroup, args.address, policy,
        registries=imageflags.registries(args), image_gc=imageflags.gc_policy(args),
        resources=flags.resources(args), eviction=flags.eviction(args), manifests=args.pod_manifest_path,
        status_every=args.node_status_report_frequency, dns=flags.dns(args), rotation=flags.rotation(args),
        oci_runtimes=flags.oci_runtimes(args),
    )  # fmt: skip
    memory.limit()
    asyncio.run(_serve(told))


async def _serve(told: config.Config) -> None:
    task = asyncio.ensure_future(agent.Agent(told, SystemClock()).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


if __name__ == "__main__":
    main()
