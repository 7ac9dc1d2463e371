"""Keys of the layer cache: digests over all that decides what a step writes, and nothing else. Pure.

A label or a CMD above a RUN does not change what it writes, so it is not in the key. Content of files counts by digest;
their times do not, as with Docker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nodeagent.building.heredocs import Heredoc
from nodeagent.building.instructions import Copy, Run, Workdir
from nodeagent.building.state import State

# Raised when a step of the same key would write something else than before.
VERSION = 3


def of_run(run: Run, state: State, content: Sequence[str] = ()) -> str:
    """`content` are the digests of what is mounted from the context, stages and images."""
    script = run.script.text if run.script is not None else ""
    settings: Mapping[str, Any] = {
        "env": dict(state.variables), "user": state.user, "cwd": state.workdir, "argv": run.argv(state.shell),
        "script": script, "mounts": run.options and [asdict(mount) for mount in run.mounts], "content": list(content),
        "network": run.network,
    }  # fmt: skip
    return _digest("run", state.layers, settings)


def of_copy(copy: Copy, state: State, content: Sequence[str]) -> str:
    """`content` are the digests of what is copied. With --link what is below does not count, unless names of owners are
    looked up there."""
    settings = {
        "target": copy.target, "cwd": state.workdir, "chown": copy.chown, "chmod": copy.chmod, "link": copy.link,
        "parents": copy.parents, "excludes": copy.excludes, "unpack": (copy.add, copy.unpack),
        "paths": len(copy.paths), "content": list(content),
    }  # fmt: skip
    apart = copy.link and not copy.chown.strip("0123456789:")
    return _digest("copy", () if apart else state.layers, settings)


def of_workdir(workdir: Workdir, state: State) -> str:
    return _digest("workdir", state.layers, {"path": workdir.path, "user": state.user})


def of_layers(layers: tuple[str, ...], paths: tuple[str, ...]) -> str:
    """Content that is taken from a stage or an image: its layers say which it is."""
    return _digest("from", layers, {"paths": paths})


def of_documents(found: Sequence[Heredoc]) -> str:
    return _digest("documents", (), {"files": [(document.name, document.text) for document in found]})


def _digest(kind: str, layers: tuple[str, ...], settings: Mapping[str, Any]) -> str:
    value = [VERSION, kind, list(layers), settings]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
