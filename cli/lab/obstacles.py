"""Firewalls of this machine that drop what it forwards: what a lab's uplink sends would not get through them.

Docker, ufw and firewalld do. No rule of theirs is changed; what lets labs through is said instead.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.lab.firewall import TABLE
from cli.lab.links import PREFIX

DEADLINE = 10.0
_LEGACY = Path("/proc/net/ip_tables_names")
_DOCKER = (
    f"iptables -I DOCKER-USER -i {PREFIX}+ -j ACCEPT && "
    f"iptables -I DOCKER-USER -o {PREFIX}+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
)
_UFW = f"ufw route allow in on {PREFIX}+"
_FIREWALLD = f"firewall-cmd --permanent --zone=trusted --add-interface={PREFIX}+ && firewall-cmd --reload"
_OTHER = f"accept there what comes from {PREFIX}* and what answers it"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`name` says which chain drops, `fix` how to let labs through."""

    name: str
    fix: str


def find() -> list[Obstacle]:
    """Chains that drop forwarded packets by default and do not name labs' links."""
    return [*_nftables(), *_iptables_legacy()]


def _nftables() -> list[Obstacle]:
    found = []
    for chain in _chains(_run(["nft", "-j", "list", "chains"])):
        if chain.get("hook") != "forward" or chain.get("family") not in ("ip", "inet") or chain.get("table") == TABLE:
            continue
        text = _run(["nft", "list", "table", str(chain["family"]), str(chain["table"])])
        if PREFIX not in text and (chain.get("policy") == "drop" or _ends_closed(chain)):
            found.append(Obstacle(f"{chain['family']} {chain['table']} {chain['name']}", _fix(text, str(chain["table"]))))
    return found


def _chains(text: str) -> list[dict[str, Any]]:
    try:
        return [item["chain"] for item in json.loads(text or "{}").get("nftables", []) if "chain" in item]
    except ValueError:
        return []


def _ends_closed(chain: dict[str, Any]) -> bool:
    """Whether the last rule drops or rejects whatever comes to it, as firewalld's does."""
    text = _run(["nft", "list", "chain", str(chain["family"]), str(chain["table"]), str(chain["name"])])
    rules = [line.strip() for line in text.splitlines() if line.strip() not in ("", "}")]
    return bool(rules) and rules[-1].split()[0] in ("drop", "reject")


def _iptables_legacy() -> list[Obstacle]:
    """The xtables of kernels and distributions that do not map iptables to nftables."""
    try:
        tables = _LEGACY.read_text().split()
    except OSError:
        return []
    program = shutil.which("iptables-legacy")
    if "filter" not in tables or program is None:
        return []
    text = _run([program, "-S"])
    if "-P FORWARD DROP" not in text.splitlines() or PREFIX in text:
        return []
    return [Obstacle("iptables (legacy) FORWARD", _fix(text, "filter"))]


def _fix(text: str, table: str) -> str:
    if "DOCKER-USER" in text:
        return _DOCKER
    if "ufw-" in text:
        return _UFW
    return _FIREWALLD if table == "firewalld" else _OTHER


def _run(command: list[str]) -> str:
    """Its output; empty when it fails, for then there is nothing to be told of."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
