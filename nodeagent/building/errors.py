"""The one error of a build."""

from __future__ import annotations


class BuildError(Exception):
    """`message` says what the user must change or know; `line` is the Dockerfile's, 0 when none is to blame.

    `code` is the exit code of a RUN that failed, 0 otherwise. `placed`: the message has the instruction's text.
    """

    def __init__(self, message: str, line: int = 0, *, code: int = 0, placed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.code = code
        self.placed = placed

    def __str__(self) -> str:
        return f"Dockerfile:{self.line}: {self.message}" if self.line else self.message
