"""The addresses of a sandbox on this node, a pod's or a build's: when they are allocated, and when they may be released."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Network, NetworkError
from nodeagent.runtime.interface import Runtime


def allocate(ipam: Callable[[], Ipam | None], owner: str) -> tuple[str, ...]:
    """The same addresses for an owner until they are released. Raises NetworkError."""
    found = ipam()
    if found is None:
        raise NetworkError("the node has no pod CIDR yet: its agent has not reached the control plane")
    return found.allocate(owner)


async def release(network: Network, runtime: Runtime, ipam: Callable[[], Ipam | None], owner: str, *sandboxes: Path) -> None:
    """Release network, namespaces and address, the address last: until then packets to it are for this owner. Having none
    is no error. Raises NetworkError, StartError."""
    await network.detach(owner)
    for sandbox in sandboxes:
        await runtime.remove_sandbox(sandbox)
    found = ipam()
    if found is not None:
        found.release(owner)
