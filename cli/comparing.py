"""Objects as they are and as they would be, in two directories, and the program that shows how these differ.

Source: kubectl's pkg/cmd/diff.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import output
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

# Names the program, and perhaps its options; these may have letters, digits, dashes and equal signs.
VARIABLE = "KUBECTL_EXTERNAL_DIFF"
_OPTION = re.compile(r"[A-Za-z0-9=-]+")
MASK, BEFORE, AFTER = "***", "*** (before)", "*** (after)"
Document = dict[str, Any]


def command(environment: Mapping[str, str]) -> list[str]:
    """The program without the directories; its options that are none are left out, with a warning."""
    words = environment.get(VARIABLE, "").split()
    if not words:
        return ["diff", "-u", "-N"]
    for word in words[1:]:
        if not _OPTION.fullmatch(word):
            print(f"Warning: {VARIABLE}: {word[:80]} is ignored: not a plain option", file=sys.stderr)
    return [words[0], *(word for word in words[1:] if _OPTION.fullmatch(word))]


def run(words: list[str], directory: Path) -> int:
    """Compare `LIVE` and `MERGED` there; returns the exit code, 128 and the signal if one ended it. Raises BadRequest.

    It may be one that shows a window, so it has as long as it takes."""
    sys.stdout.flush()
    paths = [str(directory / name) for name in ("LIVE", "MERGED")]
    try:
        code = subprocess.run([*words, *paths], check=False).returncode
    except OSError as error:
        raise BadRequest(f'failed to run "{words[0]}": {error.strerror}') from None
    return code if code >= 0 else 128 - code


def write(directory: Path, kind: Kind, live: Document | None, merged: Document) -> None:
    """Both forms of an object, as YAML; a file of the one that does not exist is left out."""
    meta = merged.get("metadata", {})
    name = ".".join([*kind.api_version.split("/"), kind.kind, str(meta.get("namespace", "")), str(meta.get("name", ""))])
    if kind.api_version == "v1" and kind.kind == "Secret":
        live, merged = masked(live, merged)
    for version, document in (("LIVE", live), ("MERGED", merged)):
        path = directory / version
        path.mkdir(exist_ok=True)
        if document is not None:
            (path / name).write_text(output.to_yaml(document) + "\n")


def masked(live: Document | None, merged: Document) -> tuple[Document | None, Document]:
    """A Secret without its values; those that differ still do."""
    before, after = (live or {}).get("data") or {}, merged.get("data") or {}
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    merged = {**merged, "data": {key: AFTER if key in changed else MASK for key in after}} if after else merged
    if live is None or not before:
        return live, merged
    return {**live, "data": {key: BEFORE if key in changed else MASK for key in before}}, merged
