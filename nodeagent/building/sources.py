"""Trees that a build takes files from, the images of FROM, and the accounts that names of users are looked up in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import view
from nodeagent.building.errors import BuildError
from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import Image
from nodeagent.linux import rmtree
from nodeagent.pods.spec import accounts


@dataclass(frozen=True, slots=True)
class Source:
    """`root` is a descriptor of the tree's root; `name` names the tree in errors."""

    name: str
    root: int


@contextmanager
def of_context(directory: Path) -> Iterator[Source]:
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Source("the context", root)
    finally:
        os.close(root)


@contextmanager
def of_layers(name: str, layers: tuple[str, ...], scratch: Path) -> Iterator[Source]:
    """`layers` are directories from the top down. Nothing is written into them."""
    try:
        with view.merged(layers, scratch) as root:
            yield Source(name, root)
    finally:
        rmtree.remove(scratch)


async def fetched(puller: Puller, name: str, credentials: Sequence[Credential], pull: bool) -> Image:
    """The image of a FROM: the node's own unless `pull`, else its registry's. Raises BuildError."""
    try:
        return await puller.ensure(name, "Always" if pull else "IfNotPresent", credentials, lambda *_: None)
    except PullError as error:
        raise BuildError(error.message) from None


@dataclass(frozen=True, slots=True)
class Account:
    """`groups` has the primary one too; `home` is HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"


def account(root: int, text: str) -> Account:
    """The user of `user[:group]` by the files of the image at `root`. Raises BuildError.

    With a group there are no other groups (moby/sys/user, GetExecUser).
    """
    name, _, group = text.partition(":")
    groups = view.read_file(root, "etc/group")
    try:
        passwd = view.read_file(root, "etc/passwd")
        user = accounts.user(name, passwd)
        home = _home(user, passwd)
        if group:
            gid = accounts.group(group, groups)
            return Account(user.uid, gid, (gid,), home)
        members = accounts.memberships(user.name, groups)
        return Account(user.uid, user.gid, tuple(dict.fromkeys([user.gid, *members])), home)
    except accounts.AccountError as error:
        raise BuildError(f"the image has no {error}") from None


def _home(user: accounts.User, passwd: bytes) -> str:
    """The directory of the passwd entry; /root or / without an entry."""
    for line in passwd.decode(errors="replace").splitlines() if user.name else []:
        fields = line.split(":")
        if len(fields) > 5 and fields[0] == user.name and fields[5].startswith("/") and "\0" not in fields[5]:
            return fields[5]
    return "/root" if user.uid == 0 else "/"


def owner(root: int, text: str) -> tuple[int, int]:
    """uid and gid of --chown's `user[:group]`: an id is also the group's id, a name has the group of its passwd entry.

    Raises BuildError.
    """
    name, _, group = text.partition(":")
    try:
        user = accounts.user(name, view.read_file(root, "etc/passwd"))
        if group:
            return user.uid, accounts.group(group, view.read_file(root, "etc/group"))
        return user.uid, user.uid if name.isdecimal() else user.gid
    except accounts.AccountError as error:
        raise BuildError(f"the image has no {error}") from None
