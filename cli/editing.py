"""A text that a user edits in an editor until it is valid, and the patch between two forms of an object.

Source: kubectl's pkg/cmd/util/editor, whose words these are.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import reading
from pinnace.errors import BadRequest

HEADER = """\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
"""


def editor(environment: Mapping[str, str]) -> str:
    """A shell's words: $KUBE_EDITOR, $EDITOR or vi."""
    return environment.get("KUBE_EDITOR") or environment.get("EDITOR") or "vi"


def edit(path: Path, text: str) -> str:
    """The file's text after its user has edited it, for as long as that takes. Raises BadRequest."""
    path.write_text(text, encoding="utf-8")
    words = editor(os.environ)
    # Through a shell, as EDITOR may have options and quotes.
    code = subprocess.run(["/bin/sh", "-c", f'{words} "$0"', str(path)], check=False).returncode
    if code:
        raise BadRequest(f'there was a problem with the editor "{words}": exit code {code}')
    return reading.text(path)


def header(reasons: list[str]) -> str:
    """The comment in front of the objects, with why they could not be saved."""
    lines = [f"# {line}" for reason in reasons for line in reason.splitlines()]
    return HEADER + "".join(f"{line}\n" for line in lines) + ("#\n" if lines else "")


def stripped(text: str) -> str:
    """Without comments and empty lines at the beginning, which are the header's."""
    lines = text.splitlines(keepends=True)
    start = next((index for index, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[start:])


def same(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but lines of comments."""
    return _content(one) == _content(other)


def _content(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The RFC 7386 patch that makes `new` of `old`; empty if they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif key not in old or json.dumps(before, sort_keys=True) != json.dumps(value, sort_keys=True):
            # Of the same JSON, as true is not 1.
            patch[key] = value
    return patch
