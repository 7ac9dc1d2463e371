"""The mode that COPY and ADD give files by --chmod: octal, or symbolic as chmod(1) has it, with an umask of 0. Pure."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from nodeagent.building.errors import BuildError

_OCTAL = re.compile(r"[0-9]")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]+|[ugo])?)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]+|[ugo]|)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
MAX_CLAUSES = 64


@dataclass(frozen=True, slots=True)
class ModeChange:
    """`fixed` is the octal mode, None when `clauses` change the source's."""

    fixed: int | None = None
    clauses: tuple[tuple[str, str, str], ...] = ()

    @property
    def of_parents(self) -> int:
        """The mode of directories that are made on the way to a target."""
        return 0o755 if self.fixed is None else self.fixed & 0o777

    def apply(self, mode: int) -> int:
        """The permission bits for a file whose st_mode is `mode`."""
        if self.fixed is not None:
            return self.fixed
        bits = stat.S_IMODE(mode)
        # X asks for the mode before any change.
        executable = stat.S_ISDIR(mode) or bool(mode & 0o111)
        for who, operator, permissions in self.clauses:
            bits = _changed(bits, who, operator, permissions, executable)
        return bits


def parse(text: str) -> ModeChange:
    """Raises BuildError."""
    if _OCTAL.match(text):
        if len(text) > 5 or any(digit not in "01234567" for digit in text) or int(text, 8) > 0o7777:
            raise BuildError(f"--chmod={text[:20]} is not an octal mode between 0 and 07777, such as 755")
        return ModeChange(fixed=int(text, 8))
    clauses: list[tuple[str, str, str]] = []
    for part in text.split(","):
        match = _CLAUSE.fullmatch(part)
        if match is None or len(clauses) > MAX_CLAUSES:
            raise BuildError(f"--chmod={text[:40]} is not a mode such as 755, u=rwX,go=rX or a+x")
        who = "ugo" if not match[1] or "a" in match[1] else match[1]
        clauses += [(who, action[1], action[2]) for action in _ACTION.finditer(match[2])]
    return ModeChange(clauses=tuple(clauses))


def _changed(bits: int, who: str, operator: str, permissions: str, executable: bool) -> int:
    mask = value = 0
    for name in who:
        mask |= 7 << _SHIFTS[name]
        value |= _class_bits(bits, permissions, executable) << _SHIFTS[name]
    special = 0
    if "s" in permissions:
        special |= (stat.S_ISUID if "u" in who else 0) | (stat.S_ISGID if "g" in who else 0)
    if "t" in permissions and who != "o":
        special |= stat.S_ISVTX
    if operator == "=":
        mask |= (stat.S_ISUID if "u" in who else 0) | (stat.S_ISGID if "g" in who else 0)
        mask |= stat.S_ISVTX if "t" in permissions else 0
        return bits & ~mask | value | special
    return bits | value | special if operator == "+" else bits & ~(value | special)


def _class_bits(bits: int, permissions: str, executable: bool) -> int:
    """The three permission bits of one class of users."""
    if permissions in _SHIFTS:
        return bits >> _SHIFTS[permissions] & 7
    found = 1 if "X" in permissions and executable else 0
    for letter in permissions:
        found |= _BITS.get(letter, 0)
    return found
