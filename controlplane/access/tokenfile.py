"""Users of a file: lines `token,user,uid,"group1,group2"`, which are read once, at the start.

Only hashes of the tokens are kept, so that finding one takes the same time whatever it has in common with another.
Source: apiserver's token/tokenfile.
"""

from __future__ import annotations

import hashlib
import io

from controlplane.access.identity import Identity, authenticated
from pinnace.errors import BadRequest

MAX_USERS = 10_000


class TokenFile:
    def __init__(self, text: str = "") -> None:
        """Raises BadRequest for a line that is none, with its number and never with the token."""
        self._users: dict[bytes, Identity] = {}
        for number, record in enumerate(_records(text), 1):
            if not record:
                continue
            if len(record) < 3 or not record[0] or not record[1]:
                raise BadRequest(f"line {number}: expected token,user,uid and perhaps groups")
            groups = tuple(filter(None, (group.strip() for group in record[3].split(",")))) if len(record) > 3 else ()
            key = _hash(record[0])
            if key in self._users:
                raise BadRequest(f"line {number}: the token is that of an earlier line")
            self._users[key] = authenticated(Identity(record[1], groups, uid=record[2]))
            if len(self._users) > MAX_USERS:
                raise BadRequest(f"more than {MAX_USERS} users")

    def find(self, token: str) -> Identity | None:
        """Whose a token is; None for one that is not in the file."""
        return self._users.get(_hash(token))


def _records(text: str) -> list[list[str]]:
    """Raises BadRequest."""
    if not text:
        return []
    # Few clusters have such a file.
    import csv

    try:
        return [[field.strip() for field in row] for row in csv.reader(io.StringIO(text), strict=True, skipinitialspace=True)]
    except csv.Error as error:
        raise BadRequest(f"not a CSV file: {error}") from None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
