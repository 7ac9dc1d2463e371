"""Absolute paths inside an image. Pure."""

from __future__ import annotations

import posixpath


def absolute(base: str, path: str) -> str:
    """`path` relative to `base`, without `..`, repeated slashes and a slash at the end."""
    # POSIX keeps two leading slashes apart from one; images do not.
    return "/" + posixpath.normpath(posixpath.join("/", base, path)).lstrip("/")
