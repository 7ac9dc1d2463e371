"""The clients that tests/clients runs: the tests' parameters, and the table of docs/clients.md, which `make generate` writes.

Usage: python -m tests.clients.catalogue [--check]. With --check nothing is written; exit status 1 says that the table is old.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/clients.md"
SOURCE = Path(__file__).parent / "go/go.mod"


@dataclass(frozen=True)
class Client:
    """`checks` are the names of functions of tests/clients/python/`program`.py, or of the program in tests/clients/go."""

    name: str
    version: str
    shows: str
    program: str = ""
    checks: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"


LIGHTKUBE = Client(
    "lightkube", "1.0.1", "typed objects and each kind of patch, apply, pods with logs and exec, a kind of its own",
    "with_lightkube", ("typed", "pods", "untyped"),
)  # fmt: skip
PYTHON = (
    Client(
        "kubernetes", "37.0.2",
        "typed objects and each kind of patch, server-side apply, pods with logs, exec, port-forward and eviction, watches, informers, "
        "the dynamic client with a kind of its own, service account tokens, strict TLS, leader election",
        "with_kubernetes", ("typed", "owners", "pods", "watches", "informs", "untyped", "access", "strict_tls", "election"),
    ),
    Client(
        "kubernetes_asyncio", "36.1.0",
        "typed objects, pods with logs and exec, watches, the dynamic client with a kind of its own, leader election",
        "with_asyncio", ("typed", "pods", "untyped", "election"),
    ),
    LIGHTKUBE,
    Client(
        "kr8s", "0.20.15", "typed objects, pods with logs, exec and port-forward, a kind of its own",
        "with_kr8s", ("typed", "pods", "untyped"),
    ),
)  # fmt: skip
KOPF = Client(
    "kopf", "1.45.2",
    "an operator with handlers of creation, update (with a retry) and deletion, a timer, status patches and events",
    "operator_kopf",
)  # fmt: skip
GO = Client(
    "client-go", re.findall(r"k8s.io/client-go v(\S+)", SOURCE.read_text())[0],
    "typed clients in protobuf, pods with logs, informers by WatchList, discovery, the dynamic client with a kind of its own, "
    "leader election by Lease, server-side apply, OpenAPI v2 in protobuf",
    checks=("typed", "informer", "custom", "election", "apply", "openapi"),
)  # fmt: skip
KUBECTL = Client("kubectl", "1.37", "apply to delete, logs, exec, diff, drain, create of each kind, custom kinds, errors")


def table() -> str:
    rows = [f"| {item.name} | {item.version} | {item.shows} |\n" for item in (KUBECTL, GO, *PYTHON, KOPF)]
    return "| Client | Version | What runs |\n|---|---|---|\n" + "".join(rows)


def main(arguments: list[str]) -> int:
    present = PAGE.read_text()
    wanted = re.sub(r"\| Client \| .*\n(\|.*\n)*", lambda _: table(), present)
    if arguments != ["--check"]:
        PAGE.write_text(wanted)
    elif wanted != present:
        print(f"{PAGE.name} is old: make generate", file=sys.stderr)
        return 1
    print(f"every client that tests run is listed: docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
