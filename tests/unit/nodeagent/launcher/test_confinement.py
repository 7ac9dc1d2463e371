"""What confines a container and is opened on the host's side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeagent.launcher.confinement import Confinement


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_seccomp_filter_keeps_the_container_from_starting(tmp_path: Path, content: bytes) -> None:
    """It must not run without the filter that it was to have."""
    path = tmp_path / "filter.bpf"
    path.write_bytes(content)
    config: Any = {"sandbox": "", "ids": None, "seccomp": str(path), "apparmor": ""}
    with pytest.raises(OSError, match="damaged"):
        Confinement(config)
