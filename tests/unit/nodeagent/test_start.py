"""The agent is fast to start: what only some nodes need, or need later, is imported later."""

from __future__ import annotations

import pytest

from tests.support.imports import imported_by


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nodeagent.__main__", {"nodeagent.agent", "grpc", "cryptography"}),
        (
            "nodeagent.agent",
            {
                "numpy",
                "cryptography",
                "urllib3",
                "zstandard",
                "dbus_fast",
                "yaml",
                "pinnace.manifest",
                "http.client",
                "email",
                "tarfile",
                "difflib",
                "nodeagent.buildparts",
                "nodeagent.building.builder",
                "nodeagent.building.copying",
            },
        ),
    ],
)
def test_it_imports_what_every_node_needs_at_once(module: str, absent: set[str]) -> None:
    """To parse a command line takes no agent; the agent needs no library of a registry, a build or a static pod."""
    imported = imported_by(f"import {module}")
    assert module in imported
    assert imported & absent == set()
