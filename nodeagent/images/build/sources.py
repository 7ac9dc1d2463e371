"""Where a COPY takes from, and whose files they become: the trees and accounts that its paths and names are looked up in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodeagent import trees
from nodeagent.images import accounts
from nodeagent.images.build import content, keys, view
from nodeagent.images.build.errors import BuildError
from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import Image


@dataclass(frozen=True, slots=True)
class Source:
    """`root` is a descriptor; `layers` are digests of a stage's or an image's, None for the context."""

    name: str
    root: int
    layers: tuple[str, ...] | None = None

    def digest(self, paths: list[str]) -> str:
        """What `paths` hold, for the cache's key. Raises BuildError, OSError."""
        if self.layers is None:
            return content.digest(self.root, paths)
        return keys.of_layers(self.layers, tuple(paths))


@contextmanager
def of_context(folder: Path) -> Iterator[Source]:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Source("the context", root)
    finally:
        os.close(root)


@contextmanager
def of_layers(name: str, layers: tuple[str, ...], folders: tuple[str, ...], scratch: Path) -> Iterator[Source]:
    """`folders` of the layers, from the top down. Nothing is written into them."""
    try:
        with view.merged(folders, scratch) as root:
            yield Source(name, root, layers)
    finally:
        trees.remove(scratch)


async def fetched(puller: Puller, name: str, credentials: Sequence[Credential]) -> Image:
    """The image of a FROM: the node's own, else its registry's. Raises BuildError."""
    try:
        return await puller.ensure(name, "IfNotPresent", credentials, lambda *_: None)
    except PullError as error:
        raise BuildError(error.message) from None


@dataclass(frozen=True, slots=True)
class Account:
    """`groups` has the primary one too."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account(root: int, text: str) -> Account:
    """Who `user[:group]` is by the files of the image at `root`. Raises BuildError."""
    name, _, group = text.partition(":")
    groups = view.read_file(root, "etc/group")
    try:
        user = accounts.user(name, view.read_file(root, "etc/passwd"))
        gid = accounts.group(group, groups) if group else user.gid
        return Account(user.uid, gid, tuple(dict.fromkeys([gid, *accounts.memberships(user.name, groups)])))
    except accounts.AccountError as error:
        raise BuildError(f"the image has no {error}") from None
