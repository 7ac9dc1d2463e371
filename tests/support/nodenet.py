"""The network of a lab's node as iproute2, nft and sysctl show it: for tests that damage it and wait until it is as before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.labs import LabUnderTest

_DEVICES = ("pinnace0", "pinnace-vx", "pnc")
_LINK = ("mtu", "address", "master", "ifalias")
_PORT = ("state", "hairpin", "learning", "isolated", "guard", "flood")
_SYSCTLS = ("rp_filter", "proxy_arp_pvlan", "route_localnet")


class NodeNet:
    """`on` runs a command in the node's network namespace."""

    def __init__(self, lab: LabUnderTest, node: str) -> None:
        self.namespace = Path(f"/run/pinnace/labs/{lab.name}/ns/{node}.net")

    def on(self, *command: str) -> str:
        done = subprocess.run(
            ["nsenter", f"--net={self.namespace}", *command], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def shell(self, line: str) -> str:
        return self.on("sh", "-ec", line)

    def snapshot(self) -> dict[str, Any]:
        """Without what changes when a thing is made again: indexes, handles, and the order of chains and maps."""
        return {
            "links": sorted(map(self._link, self._ours()), key=str),
            "addresses": sorted(self._addresses()),
            "routes": sorted(self.shell("ip route; ip route show table local proto 80").split("\n")),
            "neighbours": sorted(self.on("ip", "neigh", "show", "nud", "permanent").split("\n")),
            "fdb": sorted(line for line in self.on("bridge", "fdb").split("\n") if "dst" in line or " static" in line),
            "nft": sorted(map(_sorted_table, self.on("nft", "-s", "list", "ruleset").split("table "))),
            "sysctls": {name: self._sysctl(name) for name in self._sysctls()},
        }

    def _ours(self) -> list[dict[str, Any]]:
        links: list[dict[str, Any]] = json.loads(self.on("ip", "-d", "-j", "link"))
        return [link for link in links if link["ifname"].startswith(_DEVICES)]

    def _link(self, link: dict[str, Any]) -> dict[str, Any]:
        info = link.get("linkinfo", {})
        data, port = info.get("info_data", {}), info.get("info_slave_data", {})
        found = {key: link.get(key) for key in ("ifname", *_LINK)} | {"up": "UP" in link["flags"]}
        if link["ifname"].startswith("pnc"):
            # The pod's own end has it; the host's is any.
            del found["address"]
        found |= {key: data.get(key) for key in ("id", "local", "port", "link", "learning")}
        return found | {key: port.get(key) for key in _PORT}

    def _addresses(self) -> list[str]:
        links: list[dict[str, Any]] = json.loads(self.on("ip", "-4", "-j", "address"))
        return [f"{link['ifname']} {item['local']}/{item['prefixlen']}" for link in links for item in link["addr_info"]]

    def _sysctls(self) -> list[str]:
        per_device = [f"net.ipv4.conf.{device}.{name}" for device in _DEVICES[:2] for name in _SYSCTLS]
        return ["net.ipv4.ip_forward", *per_device, *(f"net.ipv6.conf.{device}.accept_ra" for device in _DEVICES[:2])]

    def _sysctl(self, name: str) -> str:
        """Empty while its device is missing."""
        path = Path("/proc/sys") / name.replace(".", "/")
        return self.on("sh", "-c", f"cat {path} 2>/dev/null || true").strip()


def _sorted_table(text: str) -> str:
    return "\n\n".join(sorted(block.strip("}\n") for block in text.split("\n\n")))
