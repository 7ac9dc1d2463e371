"""An OCI runtime whose monitor was killed while it started a container."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime.interface import ContainerConfig, Handle, RuntimeLost
from nodeagent.runtime.oci.runtime import OciRuntime, _id


class Lost:
    """The native runtime, of which nobody answers."""

    async def launch(self, bundle: Path, how: dict[str, Any]) -> Handle:
        raise RuntimeLost("the process that worked on it was killed")


async def test_what_is_left_of_a_lost_start_is_removed(tmp_path: Path) -> None:
    """The same container is asked for again, under the same name, and that must not count as a run that failed."""
    binary, root, bundle = tmp_path / "runc", tmp_path / "state", tmp_path / "bundle"
    binary.write_text('#!/bin/sh\n[ "$3 $4" = "delete --force" ] && rm -r "$2/$5"\n')
    binary.chmod(0o755)
    bundle.mkdir()
    config = ContainerConfig(("true",), (), "/", (), str(tmp_path), str(tmp_path / "log"))
    (bundle / "config.json").write_text(json.dumps(asdict(config)))
    (root / _id(bundle)).mkdir(parents=True)
    with pytest.raises(RuntimeLost):
        await OciRuntime(Lost(), binary, root).start(bundle)  # type: ignore[arg-type]
    assert list(root.iterdir()) == []
