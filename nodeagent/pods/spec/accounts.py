"""Users and groups by an image's own /etc/passwd and /etc/group. Pure: the files' bytes come in.

What is a number is never taken for a name: an image could call its root "1000".
"""

from __future__ import annotations

from dataclasses import dataclass


class AccountError(Exception):
    """A name that the image does not have, or a number that is no id; the text is for people."""


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    # Empty for an id that the passwd file does not name.
    name: str = ""


def user(name: str, passwd: bytes) -> User:
    """An entry by name or id, empty for 0; an id needs none. Raises AccountError."""
    key = 2 if not name or name.isdecimal() else 0
    for fields in _lines(passwd, 4):
        if fields[key] == (name or "0") and fields[2].isdecimal() and fields[3].isdecimal():
            return User(_id(fields[2]), _id(fields[3]), fields[0])
    if key == 2:
        return User(_id(name or "0"), 0)
    raise AccountError(f'user "{name}", which its /etc/passwd does not have')


def group(name: str, groups: bytes) -> int:
    """Raises AccountError."""
    if name.isdecimal():
        return _id(name)
    for fields in _lines(groups, 3):
        if fields[0] == name and fields[2].isdecimal():
            return _id(fields[2])
    raise AccountError(f'group "{name}", which its /etc/group does not have')


def memberships(name: str, groups: bytes) -> list[int]:
    """The groups that list the user. Raises AccountError."""
    listed = _lines(groups, 4) if name else []
    return [_id(fields[2]) for fields in listed if name in fields[3].split(",") and fields[2].isdecimal()]


def _id(text: str) -> int:
    if len(text) > 10 or int(text) >= 1 << 31:
        raise AccountError(f"{text[:20]}, which is not a user or group ID")
    return int(text)


def _lines(data: bytes, fields: int) -> list[list[str]]:
    found = (line.split(":") for line in data.decode(errors="replace").splitlines())
    return [parts for parts in found if len(parts) >= fields]
