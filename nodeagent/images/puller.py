"""Images for containers: from this node where the policy allows it, else from a registry.

Policies are kubelet's, with one rule of our own: a name that came by `kctl image load` or a build is never asked about
at a registry, so that `Always` (the default for :latest) means "as loaded" in clusters that have none.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nodeagent.images import progress
from nodeagent.images.blobs import Blobs
from nodeagent.images.progress import Pacing
from nodeagent.images.pusher import Pusher
from nodeagent.images.registry.client import Repository
from nodeagent.images.registry.config import Registries
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.registry.errors import Missing, RegistryError, Unreachable
from nodeagent.images.registry.http import Http
from nodeagent.images.store import Image, ImageNotFound, ImageStore
from pinnace.clock import Clock
from pinnace.oci import BadImage, manifest, selection
from pinnace.oci.archive import Layer
from pinnace.oci.manifest import Descriptor, ImageConfig, Manifest
from pinnace.oci.reference import BadReference, Reference, familiar, normalise, parse
from pinnace.oci.selection import Selected, Wanted

# Layers of one image at once, as containerd and Docker have it.
PARALLEL = 3
# Seconds for one image, however large.
PULL_WITHIN = 4 * 3600.0
_T = TypeVar("_T")
Say = Callable[[str, str], None]


class PullError(Exception):
    """`reason` is kubelet's: ErrImagePull, ErrImageNeverPull, InvalidImageName or RegistryUnavailable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Found:
    """An image as a registry has it: where, under which digest, and what it is made of."""

    sources: list[Repository]
    digest: str
    manifest: Manifest
    config: ImageConfig


@dataclass(slots=True)
class Pull:
    """One that is under way: its layers by diff id, once the registry has said, and which of them are here."""

    parts: dict[str, Descriptor] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)


class Puller:
    def __init__(self, store: ImageStore, registries: Registries, clock: Clock) -> None:
        self._store = store
        self._registries = registries
        self._clock = clock
        self._http = Http(clock, registries.proxies)
        self.blobs = Blobs(store.partial, clock)

    def local(self, reference: str, policy: str) -> Image | None:
        """The image, where the policy can be satisfied without asking anybody."""
        try:
            image = self._store.use(reference)
        except ImageNotFound:
            return None
        loaded = normalise(reference) in image.loaded or not image.digests
        return image if policy != "Always" or loaded else None

    async def ensure(self, reference: str, policy: str, credentials: Sequence[Credential], say: Say) -> Image:
        """The image on this node. `say` gets an event's reason and message: Pulling, its progress, and Pulled.

        Raises PullError.
        """
        if (image := self.local(reference, policy)) is not None:
            say("Pulled", present(reference))
            return image
        if policy == "Never":
            raise PullError("ErrImageNeverPull", f'Container image "{reference}" is not present with pull policy of Never')
        name = _parsed(reference)
        if policy == "Always" and (image := await self._unchanged(name, credentials)) is not None:
            say("Pulled", present(reference))
            return image
        return await self.pull(reference, credentials, say)

    async def pull(
        self, reference: str, credentials: Sequence[Credential], say: Say, *, pacing: Pacing = progress.EVENTS
    ) -> Image:
        """The image as its registry has it now, whatever is here. Raises PullError."""
        name, start = _parsed(reference), self._clock.monotonic()
        say("Pulling", f'Pulling image "{reference}"')
        pull = Pull()
        teller = asyncio.ensure_future(progress.tell(self._clock, lambda: self._progress(reference, pull), say, pacing))
        try:
            image = await self._guarded(reference, self._pull(name, credentials, pull))
        finally:
            teller.cancel()
        took = progress.seconds(self._clock.monotonic() - start)
        size = sum(item.size for item in pull.parts.values())
        text = f'Successfully pulled image "{reference}" in {took} ({took} including waiting). Image size: {size} bytes.'
        say("Pulled", text)
        return image

    def _progress(self, reference: str, pull: Pull) -> str:
        parts = pull.parts
        received = {key: item.size if key in pull.done else self.blobs.received(item) for key, item in parts.items()}
        return progress.line(reference, len(pull.done), list(received.values()), [item.size for item in parts.values()])

    async def _guarded(self, reference: str, work: Awaitable[Image]) -> Image:
        """Every failure of a pull as a PullError."""
        try:
            async with asyncio.timeout(PULL_WITHIN):
                return await work
        except Unreachable as error:
            hint = f'image "{familiar(reference)}" is not on this node: load it with `kctl image load`, or fix its registry'
            raise PullError("RegistryUnavailable", f"{error}; {hint}") from None
        except (RegistryError, BadImage) as error:
            raise PullError("ErrImagePull", str(error)) from None
        except TimeoutError:
            raise PullError("ErrImagePull", f"not pulled within {PULL_WITHIN:.0f} s") from None

    def _repositories(self, name: Reference, credentials: Sequence[Credential]) -> list[Repository]:
        endpoints = self._registries.endpoints(name)
        return [Repository(self._http, endpoint, name.repository, credentials) for endpoint in endpoints]

    async def _first(self, sources: list[Repository], call: Callable[[Repository], _T]) -> tuple[Repository, _T]:
        """What the first of the sources answers that can. Raises the failure of the last, which is the registry itself."""
        failure = RegistryError("no registry to ask")
        for source in sources:
            try:
                return source, await self.blobs.ask(functools.partial(call, source))
            except RegistryError as error:
                failure = error
        raise failure

    async def _unchanged(self, name: Reference, credentials: Sequence[Credential]) -> Image | None:
        """The present image, when the registry has the same under its name. Raises PullError: kubelet does not run an
        image that must be looked up and cannot be."""
        try:
            image = self._store.find(str(name))
        except ImageNotFound:
            return None
        sources = self._repositories(name, credentials)
        try:
            _, digest = await self._first(sources, lambda source: source.digest(name.version))
        except Unreachable as error:
            raise PullError("RegistryUnavailable", str(error)) from None
        except RegistryError as error:
            raise PullError("ErrImagePull", str(error)) from None
        return image if f"{name.name}@{digest}" in image.digests else None

    async def _pull(self, name: Reference, credentials: Sequence[Credential], pull: Pull) -> Image:
        found = await self._resolve(name, credentials)
        pairs = dict(zip(found.config.diff_ids, found.manifest.layers, strict=True))
        pull.parts.update(pairs)
        with self._store.hold(pairs):
            slots = asyncio.Semaphore(PARALLEL)
            await _together(self._layer(found, diff_id, item, pull, slots) for diff_id, item in pairs.items())
            pinned = f"{name.name}@{found.digest}"
            return await self._store.keep(found.config, [str(name)], loaded=False, pinned=pinned)

    async def _resolve(self, name: Reference, credentials: Sequence[Credential]) -> Found:
        """Manifest and config for this machine. Raises RegistryError, BadImage."""
        sources = self._repositories(name, credentials)
        source, top = await self._first(sources, lambda source: source.manifest(name.version))
        sources = [source, *(other for other in sources if other is not source)]
        selecting = selection.select(top.data, familiar(str(name)))
        answer: bytes | None = None
        while True:
            try:
                wanted = selecting.send(answer)
            except StopIteration as ended:
                image: Selected = ended.value
                break
            answer = await self._document(sources, wanted, familiar(str(name)))
        for item in image.manifest.layers:
            _check_size(item, familiar(str(name)))
        return Found(sources, top.digest, image.manifest, image.config)

    async def _document(self, sources: list[Repository], wanted: Wanted, text: str) -> bytes | None:
        item = wanted.descriptor
        if wanted.is_config:
            _check_size(item, text)
        try:
            if wanted.is_config:
                return (await self._first(sources, lambda source: source.document(item)))[1]
            limit = item.size if 0 <= item.size < manifest.MAX_JSON else manifest.MAX_JSON
            return (await self._first(sources, lambda source: source.manifest(item.digest, limit)))[1].data
        except Missing:
            if wanted.required:
                raise
            return None

    async def _layer(self, found: Found, diff_id: str, item: Descriptor, pull: Pull, slots: asyncio.Semaphore) -> None:
        async with slots, self.blobs.turn(item.digest):
            if self._store.lacking([diff_id]):
                path = await self.blobs.fetch(found.sources, item)
                try:
                    await self._store.add_layer(Layer(diff_id, item.size, lambda: open(path, "rb")))
                finally:
                    # Unpacked, or not to be unpacked.
                    self.blobs.forget(item.digest)
            pull.done.add(diff_id)

    def pusher(self) -> Pusher:
        """For pushes, by the same connections and threads."""
        return Pusher(self._store, self._registries, self._http, self.blobs)

    def close(self) -> None:
        """End every pull; what came stays."""
        self.blobs.close()
        self._http.close()


def present(reference: str) -> str:
    """The event of an image that need not be pulled."""
    return f'Container image "{reference}" already present on machine'


def _check_size(item: Descriptor, text: str) -> None:
    if item.size < 0:
        raise BadImage(f"the manifest of {text} gives no size of {item.digest[:19]}")


def _parsed(reference: str) -> Reference:
    try:
        return parse(reference)
    except BadReference as error:
        raise PullError("InvalidImageName", f'Failed to apply default image tag "{reference}": {error}') from None


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of it, or the first failure once the rest has been stopped."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
