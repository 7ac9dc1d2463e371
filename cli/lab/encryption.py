"""Whether the nodes of a lab can encrypt what they send to each other: all of them have this machine's kernel."""

from __future__ import annotations

from cli.lab import hosts
from pinnace.errors import BadRequest, Internal

FLAG = "--encrypt"


def check() -> None:
    """Raises BadRequest with the reason."""
    try:
        # In a network namespace that ends with the command.
        hosts.command(["unshare", "--net", "ip", "link", "add", "probe", "type", "wireguard"])
    except Internal as error:
        raise BadRequest(
            f"{FLAG}: this machine's kernel has no WireGuard (modprobe wireguard): {error.message.rpartition(': ')[2]}"
        ) from None
