"""The stages and images that a build takes from: bases, COPY --from, RUN --mount=from=. Their layers are held, so that
nothing sweeps them while the build lasts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

from nodeagent.building.stages import Plan
from nodeagent.building.state import State
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import Image, ImageStore

# An image by its name, from where these credentials reach it; with `pull`, from its registry also when it is here.
# Raises BuildError.
Find = Callable[[str, Sequence[Credential], bool], Awaitable[Image]]


class Origins:
    def __init__(self, images: ImageStore, find: Find, credentials: Sequence[Credential], *, pull: bool) -> None:
        self.images = images
        self._find = find
        self._credentials = credentials
        self._pull = pull
        self._held = ExitStack()
        self._found: dict[str, Image] = {}

    def hold(self, *layers: str) -> None:
        """Until `release`."""
        self._held.enter_context(self.images.hold(layers))

    def release(self) -> None:
        self._held.close()

    async def image(self, name: str) -> Image:
        """One image for each name and build, whatever is pulled meanwhile. Raises BuildError."""
        if name not in self._found:
            image = await self._find(name, self._credentials, self._pull)
            self.hold(*image.layers)
            self._found[name] = image
        return self._found[name]

    async def layers(
        self, origin: str, plan: Plan, stage: int, line: int, build: Callable[[int], Awaitable[State]]
    ) -> tuple[str, ...]:
        """Those of a stage, which `build` makes if it is not made yet, or of an image. Raises BuildError."""
        if origin.lower() == "scratch":
            return ()
        number = plan.source(origin, stage, line)
        if number is not None:
            return (await build(number)).layers
        return (await self.image(origin)).layers
