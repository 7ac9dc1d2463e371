"""One pull, and how it fails: what the tests of registries that are not honest or not well have in common."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry.credentials import Credential
from tests.support.registry import rogue

Answer = tuple[int, dict[str, str], bytes]


async def pull(puller: Puller, reference: str, *credentials: Credential) -> None:
    await puller.ensure(reference, "IfNotPresent", credentials, lambda reason, message: None)


async def refused(puller: Puller, answer: Any) -> str:
    """What the failure of a pull from such a registry says."""
    with rogue(answer) as server, pytest.raises(PullError) as caught:
        await pull(puller, f"{server.address}/app:1")
    assert caught.value.reason == "ErrImagePull"
    return caught.value.message
