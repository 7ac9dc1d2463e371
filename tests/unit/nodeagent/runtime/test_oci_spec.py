"""The OCI configuration of a container: what isolates it by our own runtime isolates it by runc too."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from nodeagent.launcher import bundle as names
from nodeagent.launcher import rootfs
from nodeagent.runtime import bundles, seccomp
from nodeagent.runtime.interface import ContainerConfig, Handle, IdRange, Mount, StartError, Terminal
from nodeagent.runtime.oci import filters
from nodeagent.runtime.oci.runtime import OciRuntime
from nodeagent.runtime.oci.spec import Layout, refuse, spec

LAYOUT = Layout("/b/rootfs", "/b/mounts", "/b/pid-namespace", "/pinnace/podu1/main-0")
BASE = ContainerConfig(
    args=("run", "it"), env=("A=1",), cwd="/srv", layers=("/l",), sandbox="/sb", log="/log", user=0, group=7, groups=(7, 33),
    capabilities=("CHOWN", "KILL"),
)  # fmt: skip
DEVICE = {"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232}
FILTER = {"defaultAction": "SCMP_ACT_ERRNO"}


def made(*, layout: Layout = LAYOUT, seccomp: Any = None, **changes: Any) -> Any:
    config = json.loads(json.dumps(asdict(replace(BASE, **changes))))
    refuse(config)
    return spec(config, layout, seccomp=seccomp, rlimits={"RLIMIT_NOFILE": (1024, -1)}, devices=[DEVICE])


def options(found: Any, target: str) -> tuple[str, str, list[str]]:
    [mount] = [item for item in found["mounts"] if item["destination"] == target]
    return mount["type"], mount["source"], mount["options"]


def test_the_process_is_the_configurations() -> None:
    """Its command, place, identity and limits; infinity is the largest number of 64 bits."""
    assert made()["process"] == {
        "terminal": False, "args": ["run", "it"], "env": ["A=1"], "cwd": "/srv", "noNewPrivileges": False,
        "user": {"uid": 0, "gid": 7, "additionalGids": [7, 33], "umask": 0o022},
        "capabilities": {name: ["CAP_CHOWN", "CAP_KILL"] for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({"no_new_privileges": True}, ("process", "noNewPrivileges"), True),
        ({"terminal": Terminal(tty=True)}, ("process", "terminal"), True),
        ({"apparmor": "mine"}, ("process", "apparmorProfile"), "mine"),
        ({"apparmor": ""}, ("process", "apparmorProfile"), None),
        # Only root keeps what it has over exec; the bounding set is the same, for files with capabilities.
        ({"user": 1000}, ("process", "capabilities"), {"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": [], "permitted": []}),
        ({}, ("root",), {"path": "/b/rootfs", "readonly": False}),
        ({"read_only_root": True}, ("root",), {"path": "/b/rootfs", "readonly": True}),
        ({}, ("linux", "resources", "devices"), [{"allow": False, "access": "rwm"}]),
        ({"privileged": True}, ("linux", "resources", "devices"), [{"allow": True, "access": "rwm"}]),
        ({}, ("linux", "devices"), None),
        ({"privileged": True}, ("linux", "devices"), [DEVICE]),
        ({}, ("linux", "cgroupsPath"), "/pinnace/podu1/main-0"),
        ({"layout": replace(LAYOUT, cgroup="")}, ("linux", "cgroupsPath"), None),
        ({"seccomp": FILTER}, ("linux", "seccomp"), FILTER),
        ({"seccomp": None}, ("linux", "seccomp"), None),
        ({}, ("linux", "rootfsPropagation"), None),
        ({"mounts": (Mount("/v", "/data", propagation="Bidirectional"),)}, ("linux", "rootfsPropagation"), "rshared"),
    ],
)  # fmt: skip
def test_each_setting_is_in_its_place(changes: dict[str, Any], path: tuple[str, ...], expected: Any) -> None:
    """None: the member is absent."""
    found = made(**changes)
    for name in path:
        found = found.get(name) if found is not None else None
    assert found == expected


def test_what_is_masked_in_our_containers_is_masked_here() -> None:
    """The same lists, unless the container is privileged or its manifest says Unmasked."""
    found = made()["linux"]
    assert found["maskedPaths"] == [
        *(f"/proc/{name}" for name in rootfs.MASKED),
        *(f"/sys/{name}" for name in rootfs.MASKED_SYS),
    ]
    assert "/proc/kcore" in found["maskedPaths"]
    assert found["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    for changes in ({"masked": False}, {"privileged": True}, {"privileged": True, "masked": False}):
        assert not {"maskedPaths", "readonlyPaths"} & made(**changes)["linux"].keys()


NET, UTS, IPC = (
    {"type": kind, "path": f"/sb/ns/{name}"} for kind, name in (("network", "net"), ("uts", "uts"), ("ipc", "ipc"))
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [NET, UTS, IPC, {"type": "pid"}]),
        ({"host_network": True}, [IPC, {"type": "pid"}]),
        ({"host_ipc": True}, [NET, UTS, {"type": "pid"}]),
        ({"pid_namespace": "host"}, [NET, UTS, IPC]),
        ({"pid_namespace": "pod"}, [NET, UTS, IPC, {"type": "pid", "path": "/sb/ns/pid"}]),
        ({"pid_namespace": "container"}, [NET, UTS, IPC, {"type": "pid", "path": "/b/pid-namespace"}]),
    ],
)
def test_namespaces_are_the_sandboxs(changes: dict[str, Any], expected: list[dict[str, str]]) -> None:
    """Mount and cgroup namespaces are always the container's own."""
    assert made(**changes)["linux"]["namespaces"] == [{"type": "mount"}, {"type": "cgroup"}, *expected]


def test_file_systems_of_the_kernel() -> None:
    """No setuid, no devices; /sys read-only but for a privileged container."""
    found = made()
    assert options(found, "/proc") == ("proc", "proc", ["nosuid", "noexec", "nodev"])
    assert options(found, "/sys") == ("sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
    assert options(found, "/sys/fs/cgroup") == ("cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    assert options(found, "/dev/shm") == ("bind", "/sb/shm", ["rbind", "rw", "nosuid", "noexec", "nodev"])
    assert options(found, "/dev")[2] == ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]
    assert options(found, "/dev/pts")[2] == ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    assert options(found, "/dev/mqueue") == ("mqueue", "mqueue", ["nosuid", "noexec", "nodev"])
    assert options(made(host_ipc=True), "/dev/shm")[1] == "/dev/shm"
    for target in ("/sys", "/sys/fs/cgroup"):
        assert options(made(privileged=True), target)[2][-1] == "rw"


@pytest.mark.parametrize(
    ("mount", "privileged", "expected"),
    [
        (Mount("/v", "/data"), False, ["rbind", "rw", "rprivate", "nosuid", "nodev"]),
        (Mount("/v", "/data", read_only=True), False, ["rbind", "ro", "rprivate", "nosuid", "nodev"]),
        (Mount("/v", "/data", propagation="HostToContainer"), False, ["rbind", "rw", "rslave", "nosuid", "nodev"]),
        (Mount("/v", "/data", propagation="Bidirectional"), True, ["rbind", "rw", "rshared"]),
        (Mount("/v", "/data", read_only=True), True, ["rbind", "ro", "rprivate"]),
    ],
)
def test_volumes(mount: Mount, privileged: bool, expected: list[str]) -> None:
    """Bound from where the starter laid them out, by number."""
    found = made(mounts=(Mount("/etc-hosts", "/etc/hosts"), mount), privileged=privileged)
    assert options(found, "/data") == ("bind", "/b/mounts/1", expected)


def test_a_user_namespace_is_refused() -> None:
    """And the message names the field and the way out."""
    with pytest.raises(StartError, match="hostUsers: false is not supported by an OCI runtime"):
        made(ids=IdRange(65536, 65536))


# From a bundle


class Native:
    """Stands for the native runtime, which makes the start: records with what."""

    def __init__(self) -> None:
        self.launched: list[Any] = []

    async def launch(self, bundle: Path, how: dict[str, Any]) -> Handle:
        self.launched.append(how)
        return Handle(bundle, 1, 1, 1, 1, 1.0)


def started(folder: Path, **changes: Any) -> Any:
    """The OCI configuration that a start of a bundle leaves there."""
    bundle = folder / "containers/main/0"
    bundle.mkdir(parents=True, exist_ok=True)
    bundles.write_config(bundle, replace(BASE, **changes), folder / "memory")
    native = Native()
    asyncio.run(OciRuntime(native, Path("/bin/runc"), folder / "oci").start(bundle))  # type: ignore[arg-type]
    assert [how["oci"]["binary"] for how in native.launched] == ["/bin/runc"]
    return json.loads((Path(names.oci(str(bundle))) / "config.json").read_text())


def test_the_seccomp_filter_of_a_bundle_reaches_the_oci_runtime(tmp_path: Path) -> None:
    """As the document that was compiled: the default denies, and what needs no capability is allowed."""
    filter_ = seccomp.compiled(tmp_path, ())
    found = started(tmp_path, seccomp=str(filter_))["linux"]["seccomp"]
    assert found == json.loads(filters.beside(filter_).read_text())
    assert found["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {name for rule in found["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert "read" in allowed
    assert "mount" not in allowed


def test_an_unconfined_container_has_no_filter(tmp_path: Path) -> None:
    """Only where the configuration says so."""
    assert "seccomp" not in started(tmp_path, seccomp="")["linux"]


@pytest.mark.parametrize("left", [None, "{torn"])
def test_a_filter_that_cannot_be_read_fails_the_start(tmp_path: Path, left: str | None) -> None:
    """A container never starts without the filter that it was to have."""
    if left is not None:
        (tmp_path / "seccomp-1.json").write_text(left)
    with pytest.raises(StartError, match="seccomp filter"):
        started(tmp_path, seccomp=str(tmp_path / "seccomp-1.bpf"))


def test_the_hosts_devices_are_for_privileged_containers(tmp_path: Path) -> None:
    """Listed from /dev, without the container's own."""
    found = started(tmp_path, privileged=True)["linux"]["devices"]
    assert "/dev/null" in {item["path"] for item in found}
    assert "devices" not in started(tmp_path)["linux"]
