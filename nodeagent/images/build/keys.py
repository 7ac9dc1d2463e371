"""Keys of the layer cache: digests over all that decides what a step writes, and nothing else. Pure.

A label or a CMD above a RUN does not change what it writes, so it is not in the key. Content of files counts by digest;
their times do not, as with Docker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nodeagent.images.build.instructions import Copy, Run, Workdir
from nodeagent.images.build.state import State

# Raised when a step of the same key would write something else than before.
VERSION = 1


def of_run(run: Run, state: State) -> str:
    settings: Mapping[str, Any] = {"env": state.config.get("Env") or [], "args": dict(state.args), "user": state.user}
    return _digest("run", state.layers, {**settings, "cwd": state.workdir, "argv": run.argv})


def of_copy(copy: Copy, state: State, content: str) -> str:
    """`content` is the digest of what is copied."""
    settings = {"target": copy.target, "cwd": state.workdir, "chown": copy.chown, "chmod": copy.chmod, "extract": copy.extract}
    return _digest("copy", state.layers, {**settings, "paths": len(copy.paths), "content": content})


def of_workdir(workdir: Workdir, state: State) -> str:
    return _digest("workdir", state.layers, {"path": workdir.path})


def of_layers(layers: tuple[str, ...], paths: tuple[str, ...]) -> str:
    """Content that a COPY --from takes: the layers that it comes from say which it is."""
    return _digest("from", layers, {"paths": paths})


def _digest(kind: str, layers: tuple[str, ...], settings: Mapping[str, Any]) -> str:
    value = [VERSION, kind, list(layers), settings]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
