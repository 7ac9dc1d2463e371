"""The addresses of load balancers that a node announces, in the kernel: as they were assigned, compared and repaired.

On the thread that owns netlink; all methods raise NetworkError.
"""

from __future__ import annotations

from collections.abc import Collection

from nodeagent.network.interface import Comparison, Deviation, NetworkError
from nodeagent.network.links import Link
from nodeagent.network.loadbalancer import rules
from nodeagent.network.netlink import Netlink
from nodeagent.network.ruleset import Ruleset

# Of differences; their item is an address and its device.
KIND, PRESENT = "balancer", "present"


class Answering:
    """Until the addresses are set, those of an earlier agent stay."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        # The device by index; None: they are not programmed as they are wanted.
        self._wanted: frozenset[str] | None = None
        self._device: int | None = None

    def set(self, netlink: Netlink, own: str, addresses: Collection[str]) -> Link:
        """Exactly these, on the device that has the node's `own` address, which is returned. What has changed since is left to
        `repair`, which counts it. An address that the host has for itself is left out: it would answer to nothing else."""
        device, wanted = netlink.underlay(own), frozenset(addresses) - netlink.host_addresses()
        if (self._wanted, self._device) != (wanted, device.index):
            self._wanted, self._device = wanted, None
            self._program(netlink, device, wanted)
        return device

    def _program(self, netlink: Netlink, device: Link, wanted: frozenset[str]) -> None:
        """Nothing else answers at an address as long as the kernel has it: the rules are added first, and removed last."""
        before = {address for address, _ in netlink.answered() if "/" not in address}
        self._ruleset.declare(rules.CONCERN, rules.elements(wanted | before))
        netlink.answer_for(device, wanted)
        self._ruleset.declare(rules.CONCERN, rules.elements(wanted))
        self._device = device.index

    def verify(self, netlink: Netlink, own: str) -> Comparison:
        if self._wanted is None:
            return Comparison()
        have = {f"{address} dev {device}" for address, device in netlink.answered()}
        if not self._wanted and not have:
            return Comparison()
        try:
            device = netlink.underlay(own).name
        except NetworkError:
            # A difference of the devices.
            return Comparison()
        want = {f"{address} dev {device}" for address in self._wanted}
        missing = [Deviation(KIND, item, PRESENT, "") for item in want - have]
        return Comparison(sorted([*missing, *(Deviation(KIND, item, "", PRESENT) for item in have - want)]))

    def repair(self, netlink: Netlink, own: str) -> None:
        if self._wanted is not None:
            self._program(netlink, netlink.underlay(own), self._wanted)
