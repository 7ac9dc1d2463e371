"""The clients that tests/clients runs: the tests' parameters, and the table of docs/clients.md, which `make generate` writes.

Usage: python -m tests.clients.catalogue [--check]. With --check nothing is written; exit status 1 says that the table is old.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import downloads

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/clients.md"
MODULES = (Path(__file__).parent / "go/go.mod").read_text()


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
        "typed objects and each kind of patch, server-side apply, pods with logs, exec, port-forward, proxy and eviction, watches, informers, "
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


def _module(name: str) -> str:
    """The version that the program in tests/clients/go is built with."""
    return re.findall(rf"\s{name} v(\S+)", MODULES)[0]


GO = (
    Client(
        "client-go", _module("k8s.io/client-go"),
        "typed clients in protobuf, pods with logs, informers by WatchList, discovery, the dynamic client with a kind of its own, "
        "leader election by Lease, server-side apply, OpenAPI v2 in protobuf",
        checks=("typed", "informer", "custom", "election", "apply", "openapi"),
    ),
    Client(
        "controller-runtime", _module("sigs.k8s.io/controller-runtime"),
        "a manager with a controller of a kind of its own: cached clients with an index, metadata-only watches, a finalizer, status "
        "patches, owned objects that are applied and restored, events of both groups; leader election of two managers",
        checks=("controller", "leadership"),
    ),
)  # fmt: skip
KUBECTL = Client(
    "kubectl", ", ".join((*downloads.LAYERS, downloads.NEWEST)),
    "apply to delete, logs, exec, cp, debug, diff, drain, create of each kind, autoscale, kustomizations, custom kinds, errors; with each version the same; "
    "pruning, compared with kctl's",
)  # fmt: skip
HELM = Client(
    "Helm", "4.1",
    "a chart with hooks, a test and a kind of its own: install, upgrade, rollback, test, uninstall, list, history, get, status; both ways "
    "of applying, and from one to the other; failed hooks, conflicts, dry runs, waiting for pods and every workload, templates that look up objects",
)  # fmt: skip


def table() -> str:
    rows = [f"| {item.name} | {item.version} | {item.shows} |\n" for item in (KUBECTL, HELM, *GO, *PYTHON, KOPF)]
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
