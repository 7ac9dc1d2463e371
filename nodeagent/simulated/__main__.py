"""`pinnace-simnodes`: join many simulated nodes to a control plane and serve their pods until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import zlib
from pathlib import Path

import grpc

from nodeagent.simulated.administrator import Context, Tokens, make_tokens
from nodeagent.simulated.agent import Shape, SimulatedAgent
from nodeagent.simulated.joining import Joiner
from pinnace import nodename, openfiles, quantity
from pinnace.clock import Clock, SystemClock
from pinnace.errors import ApiError

log = logging.getLogger("pinnace.simnodes")
MAX_NODES = 5000
# Blocks of MAX_NODES in the addresses that simulated nodes have.
BLOCKS = 26
JOINS_AT_ONCE = 32


def parse(arguments: list[str]) -> argparse.Namespace:
    """Exits with a message on bad input."""
    parser = argparse.ArgumentParser(
        "pinnace-simnodes", description="Simulated nodes for a Pinnace control plane.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--config", type=Path, default=Path("/var/lib/pinnace/controlplane/admin.yaml"), metavar="FILE",
        help="the control plane's admin.yaml (default %(default)s)")  # fmt: skip
    add("--nodes", type=_count, default=10, metavar="COUNT", help="number of nodes (default %(default)s)")
    add("--prefix", default="sim", help="names are PREFIX-0, PREFIX-1, ... (default %(default)s)")
    add("--ready-after", type=_seconds, default=0.05, metavar="SECONDS",
        help="time from when a pod is assigned until it is Ready (default %(default)s)")  # fmt: skip
    add("--cpu", type=_quantity, default="8", help="CPU of each node (default %(default)s)")
    add("--memory", type=_quantity, default="32Gi", help="memory of each node (default %(default)s)")
    add("--max-pods", type=_quantity, default="110", help="pods of each node (default %(default)s)")
    args = parser.parse_args(arguments)
    try:
        nodename.check(f"{args.prefix}-0")
    except ApiError as error:
        parser.error(f"--prefix: {error.message}")
    return args


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= MAX_NODES:
        raise argparse.ArgumentTypeError(f'must be from 1 to {MAX_NODES}, not "{text[:40]}"')
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 3600:
        raise argparse.ArgumentTypeError(f'must be from 0 to 3600 seconds, not "{text[:40]}"')
    return found


def _quantity(text: str) -> str:
    try:
        quantity.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


async def run(args: argparse.Namespace, clock: Clock, stop: asyncio.Event) -> None:
    """Until `stop`. Raises ApiError, AioRpcError."""
    context = Context.read(args.config)
    names = [f"{args.prefix}-{index}" for index in range(args.nodes)]
    tokens = await make_tokens(context, names)
    log.info("tokens_made nodes=%d endpoint=%s", len(names), tokens.endpoint)
    shape = Shape(args.cpu, args.memory, args.max_pods, args.ready_after)
    agents = [SimulatedAgent(name, index, shape, clock) for index, name in enumerate(names, first_index(args.prefix))]
    tasks = _start(agents, context, tokens)
    tasks.append(asyncio.ensure_future(_announce(agents, clock)))
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def first_index(prefix: str) -> int:
    """Of the nodes of a prefix: no two nodes of a cluster have one address. Of BLOCKS prefixes two share a block."""
    return zlib.crc32(prefix.encode()) % BLOCKS * MAX_NODES


def _start(agents: list[SimulatedAgent], context: Context, tokens: Tokens) -> list[asyncio.Future[None]]:
    """A task for each, so that one that fails ends no other."""
    joiner = Joiner(tokens.endpoint, context.ca, at_once=JOINS_AT_ONCE)
    return [
        asyncio.ensure_future(agent.run(joiner, context.ca, token))
        for agent, token in zip(agents, tokens.tokens, strict=True)
    ]  # fmt: skip


async def _announce(agents: list[SimulatedAgent], clock: Clock) -> None:
    began = clock.monotonic()
    for agent in agents:
        await agent.open.wait()
    log.info("sessions_open nodes=%d seconds=%.1f", len(agents), clock.monotonic() - began)


def main() -> None:
    args = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    openfiles.raise_limit()
    try:
        asyncio.run(_until_signal(args))
    except ApiError as error:
        sys.exit(f"pinnace-simnodes: {error.message}")
    except grpc.aio.AioRpcError as error:
        sys.exit(f"pinnace-simnodes: {error.code().name}: {error.details()}")


async def _until_signal(args: argparse.Namespace) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(args, SystemClock(), stop)


if __name__ == "__main__":
    main()
