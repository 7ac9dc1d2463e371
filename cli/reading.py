"""Reading small text files that the command line names, and saying in one line why one cannot be read."""

from __future__ import annotations

from pathlib import Path

from pinnace.errors import BadRequest

# Templates, column files and configurations are smaller by far.
MAX_BYTES = 4 << 20


def text(path: str | Path, *, limit: int = MAX_BYTES) -> str:
    """The content of a file of at most `limit` bytes. Raises BadRequest."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise BadRequest(f'the path "{path}" does not exist') from None
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > limit:
        raise BadRequest(f"{path} is larger than {limit >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not a text file: byte {error.start} is not UTF-8") from None
