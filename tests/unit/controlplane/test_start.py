"""The control plane is fast to start: what only some clusters need, or need later, is imported later."""

from __future__ import annotations

from tests.support.imports import imported_by

# The scheduler's, certificates', streams', and those of custom resources.
LATER = {
    "numpy", "controlplane.scheduler.service", "cryptography", "wsproto", "cel_expr_python", "re2", "pinnace.jsonpath",
    "controlplane.resources.custom", "controlplane.customresources.definition", "controlplane.customresources.celenv",
}  # fmt: skip


def test_it_imports_what_every_cluster_needs_at_once() -> None:
    """numpy alone takes a fifth of the time of all else."""
    imported = imported_by("import controlplane.__main__, controlplane.server")
    assert "controlplane.scheduler.deferred" in imported
    assert imported & LATER == set()
