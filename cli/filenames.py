"""The files that `-f` names: paths, directories, patterns, URLs, standard input; in kubectl's order.

Source: FilenameParam and ExpandPathsToFileVisitors of k8s.io/cli-runtime, which walk a directory by the names in it.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterator

from cli import sources
from cli.flags import Kustomization
from pinnace import manifest
from pinnace.errors import BadRequest

SUFFIXES = (".yaml", ".yml", ".json")
# More files than this in one command are a mistake, such as `-R -f /`.
MAX_FILES = 100_000
STDIN = "-"


def expand(names: list[str]) -> list[str]:
    """Paths that exist, URLs, a Kustomization, or `-`. Raises BadRequest, for all together that do not exist."""
    found: list[str] = []
    missing: list[str] = []
    if len(names) > 1 and any(isinstance(name, Kustomization) for name in names):
        raise BadRequest("only one of -f or -k can be specified, and -k once")
    for name in names:
        if isinstance(name, Kustomization) or name.startswith("https://"):
            found.append(name)
            continue
        if name == STDIN and STDIN in found:
            raise BadRequest("standard input cannot be used for multiple arguments")
        if name.startswith("http://"):
            missing.append(f"{name}: only https URLs are read: use curl -sSfL URL | kctl apply -f -")
            continue
        matches = _matches(name)
        found += matches
        if not matches:
            missing.append(f'the path "{name}" does not exist')
    if missing:
        raise BadRequest("\nerror: ".join(missing))
    return found


def _matches(name: str) -> list[str]:
    """One path, or those of a pattern or of a list with commas."""
    if name == STDIN or os.path.lexists(name):
        return [name]
    if "," in name:
        parts = [_matches(part) for part in name.split(",")]
        return [path for part in parts for path in part] if all(parts) else []
    return sorted(glob.glob(name, include_hidden=True))


def walk(path: str, *, recursive: bool) -> Iterator[str | OSError]:
    """The manifests of a directory, or the path itself if it is none; an error for a directory that cannot be read."""
    if path == STDIN or isinstance(path, Kustomization) or not os.path.isdir(path):
        yield path
        return
    waiting = [path]
    count = 0
    while waiting:
        here = waiting.pop()
        if here == path or (recursive and os.path.isdir(here) and not os.path.islink(here)):
            try:
                names = sorted(os.listdir(here), reverse=True)
            except OSError as error:
                yield error
                continue
            waiting += [os.path.join(here, name) for name in names]
        elif here.endswith(SUFFIXES) and not os.path.isdir(here):
            count += 1
            if count > MAX_FILES:
                raise BadRequest(f"{path}: more than {MAX_FILES} files")
            yield here


def read(path: str, *, given: bool) -> bytes:
    """At most one byte more than a manifest may have. Raises OSError, BadRequest for a Kustomization that cannot be built.

    A pipe is read only where it is `given` as such: in a directory it could keep kctl waiting for ever."""
    if path == STDIN:
        return sys.stdin.buffer.read(manifest.MAX_BYTES + 1)
    if isinstance(path, Kustomization):
        return sources.build(path)
    if given and path.startswith("https://"):
        return sources.download(path)
    if not given and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "not a regular file", path)
    with open(path, "rb") as file:
        return file.read(manifest.MAX_BYTES + 1)
