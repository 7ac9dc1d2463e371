"""The agent's flags about images, and what they make together."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from nodeagent.images.gc import GcPolicy
from nodeagent.images.registry import config, proxies
from nodeagent.images.registry.config import Registries

_T = TypeVar("_T")
_GC = GcPolicy()


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    mirror, insecure = _checked(config.mirror), _checked(config.insecure)
    group.add_argument("--registry-mirror", type=mirror, action="append", default=[], metavar="HOST=URL",
                       help="mirror that is tried before the registry HOST (repeatable)")  # fmt: skip
    group.add_argument("--insecure-registry", type=insecure, action="append", default=[], metavar="HOST[:PORT]",
                       help="registry without HTTPS or with a self-signed certificate; also a CIDR (repeatable)")  # fmt: skip
    group.add_argument("--image-gc-high", type=float, default=_GC.high, metavar="PERCENT",
                       help="disk usage in percent that starts image garbage collection (default: %(default)s)")  # fmt: skip
    group.add_argument("--image-gc-low", type=float, default=_GC.low, metavar="PERCENT",
                       help="disk usage in percent at which image garbage collection stops (default: %(default)s)")  # fmt: skip
    group.add_argument("--image-gc-min-age", type=float, default=_GC.min_age, metavar="SECONDS",
                       help="minimum time since the last use of a removed image (default: %(default)s)")  # fmt: skip
    group.add_argument("--image-gc-period", type=float, default=_GC.period, metavar="SECONDS",
                       help="interval of checks of the disk, at least one second (default: %(default)s)")  # fmt: skip


def _checked(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """For argparse: the text of a ValueError is what is said."""

    def parse(text: str) -> _T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def registries(args: argparse.Namespace) -> Registries:
    """From the flags, and the proxies from the environment."""
    mirrors: dict[str, list[str]] = {}
    for host, url in args.registry_mirror:
        mirrors.setdefault(host, []).append(url)
    return Registries(mirrors, tuple(args.insecure_registry), proxies.from_environment(os.environ))


def gc_policy(args: argparse.Namespace) -> GcPolicy:
    """Exits with a message for thresholds that cannot be."""
    if not 0 < args.image_gc_low <= args.image_gc_high <= 100:
        sys.exit("pinnace-nodeagent: --image-gc-low and --image-gc-high must be percentages, the first not above the second")
    return GcPolicy(args.image_gc_high, args.image_gc_low, max(args.image_gc_min_age, 0.0), max(args.image_gc_period, 1.0))
