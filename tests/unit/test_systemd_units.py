"""The units in deploy/systemd: what docs/security.md promises of them, and that systemd knows every word."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
CONTROL, AGENT = "pinnace-controlplane", "pinnace-nodeagent"
BOTH = {"UMask": ["0077"], "StateDirectoryMode": ["0700"]}
PROMISED = {
    CONTROL: BOTH
    | {"User": ["pinnace"], "LimitNOFILE": ["524288"], "CapabilityBoundingSet": [""], "ProtectSystem": ["strict"]}
    | {"RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"], "SystemCallArchitectures": ["native"]}
    | {
        name: ["yes"]
        for name in (
            "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectClock",
            "ProtectControlGroups", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables", "RestrictNamespaces",
            "RestrictSUIDSGID",
        )
    },
    AGENT: BOTH
    | {"LimitNOFILE": ["1024:524288"], "SocketBindDeny": ["any"], "SocketBindAllow": ["udp:53", "tcp:53", "tcp:30000-32767"], "KeyringMode": ["private"], "KillMode": ["process"]},
}  # fmt: skip
# Capabilities with which a container could leave its node's limits, and the agent needs none of.
REMOVED = {
    "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_SYS_BOOT",
    "CAP_SYS_MODULE", "CAP_SYS_PACCT", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_WAKE_ALARM",
}  # fmt: skip
# Containers would inherit them, or get mounts that end with the service.
NOT_THE_AGENTS = (
    "NoNewPrivileges", "SystemCallFilter", "MemoryDenyWriteExecute", "LockPersonality", "RestrictSUIDSGID",
    "RestrictNamespaces", "RestrictAddressFamilies", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices",
    "ProtectKernelTunables", "ProtectControlGroups",
)  # fmt: skip


def service(name: str) -> dict[str, list[str]]:
    """The options of a unit's section [Service], each with all of its values (systemd.syntax(7))."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (ROOT / f"deploy/systemd/{name}.service").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "Service" and line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_there_is_a_unit_for_each_process() -> None:
    """A further one has its promises here."""
    assert {unit.stem for unit in UNITS} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_a_unit_has_the_sandbox_that_is_promised(name: str) -> None:
    """Every option with its value."""
    found = service(name)
    assert {key: found.get(key) for key in PROMISED[name]} == PROMISED[name]


def test_the_agents_unit_removes_capabilities_from_all_containers() -> None:
    """A list that begins with a tilde removes."""
    values = service(AGENT)["CapabilityBoundingSet"]
    assert all(value.startswith("~") for value in values)
    assert {word for value in values for word in value.removeprefix("~").split()} == REMOVED


def test_the_agents_unit_has_nothing_that_its_containers_would_inherit() -> None:
    """Their own filter denies more, and what is mounted for them outlives the service."""
    assert service(AGENT).keys().isdisjoint(NOT_THE_AGENTS)


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_option_is_documented(name: str) -> None:
    """By its name."""
    text = (ROOT / "docs/security.md").read_text()
    section = text.partition("\n## Services")[2].partition("\n## ")[0]
    assert {key for key in PROMISED[name] if f"`{key}" not in section} == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_knows_every_option(unit: Path, tmp_path: Path) -> None:
    """It passes over what it cannot read, with a warning."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--generators=no", f"./{unit.name}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    # It reads its own units too, some of which may be missing on a machine that systemd does not run.
    said = [line for line in result.stderr.splitlines() if unit.name in line]
    assert (said, result.returncode) == ([], 0)
