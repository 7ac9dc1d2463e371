"""RUN of `kctl image build`: its mounts, secrets, network and limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builds import BUILDER, build, cached, context, layer_files, leftovers, record, refused
from tests.support.labs import LabUnderTest, eventually

pytestmark = pytest.mark.root

MOUNTS = """
FROM busybox AS base
RUN mkdir /from-base && echo x > /from-base/x
FROM busybox
WORKDIR /work
ARG KIND=tmpfs
RUN --mount=target=/ctx \\
    --mount=type=bind,from=base,source=/from-base,target=rel,rw \\
    --mount=type=$KIND,target=/t,size=1m \\
    --mount=type=cache,target=/cache,uid=7 \\
    --mount=type=bind,source=d/one,target=/ctx/d/one-again \\
    cat /ctx/d/one; touch /ctx/no || echo read-only; touch rel/new; ls /work/rel; df /t | tail -1; \\
    cat /ctx/d/one-again; echo x >> /cache/n; echo "lines $(wc -l < /cache/n), $(stat -c %u /cache)"
RUN ls -d /ctx /work/rel /t /cache 2>&1; true
"""


def test_mounts_are_there_while_a_run_lasts(lab: LabUnderTest, tmp_path: Path) -> None:
    """And in no layer; what is written to a bind is dropped, what is written to a cache is kept for the next build."""
    folder = context(tmp_path / "c", MOUNTS, d__one="one\n")
    (folder / "d/one-again").touch()
    said = build(lab, folder, tag="t/mounts")
    for line in (
        "one",
        "read-only",
        "new",
        "x",
        "lines 1, 7",
        "ls: /cache: No such file or directory",
        "ls: /ctx: No such file or directory",
    ):
        assert line in said.splitlines(), line
    assert said.splitlines().count("one") == 2
    assert " 1024 " in said
    assert [layer_files(lab, digest) for digest in record(lab, "t/mounts")["layers"][1:]] == [{"work"}]
    assert cached(build(lab, folder, tag="t/mounts")) == [True, True, True]
    (folder / "d/one").write_text("two\n")
    said = build(lab, folder, tag="t/mounts")
    assert cached(said)[1:] == [False, True]
    assert "lines 2, 7" in said


def test_a_mount_does_not_lead_out_of_its_source(lab: LabUnderTest, tmp_path: Path) -> None:
    """Neither a symlink of the context, nor one that a RUN leaves in a cache, nor a stage's."""
    (tmp_path / "secret").write_text("secret")
    folder = context(tmp_path / "c", "FROM busybox\nRUN --mount=source=up,target=/x cat /x")
    (folder / "up").symlink_to("../secret")
    assert "no such file in the context" in refused(lab, folder)
    text = "FROM busybox AS s\nRUN ln -s /proc/1/environ /e && ln -s ../../../../../../etc/shadow /h\nFROM busybox\nRUN --mount=from=s,source={},target=/x cat /x"
    for source in ("e", "h"):
        assert "--mount:" in refused(lab, context(tmp_path / "s", text.format(source)))
    text = (
        "FROM busybox\nRUN --mount=type=cache,id=escape,target=/c rm -rf /c/sel; ln -s /etc /c/sel\n"
        "RUN --mount=type=cache,id=escape,source=sel,target=/v cat /v/hostname"
    )
    assert "leads out of its volume" in refused(lab, context(tmp_path / "cache", text))


SECRETS = """
FROM busybox
RUN --mount=type=secret,id=file,required --mount=type=secret,id=file,target=/x/y,mode=0440,uid=3,gid=4 \\
    --mount=type=secret,id=variable,env=TOKEN --mount=type=secret,id=none \\
    sha256sum /run/secrets/file; stat -c "%a %u:%g %n" /run/secrets/file /x/y; stat -f -c "on %T" /run/secrets/file; \\
    echo "token of ${#TOKEN} characters"; ls /run/secrets; touch /run/secrets/new || true; sleep 1
RUN ls -d /run/secrets /x 2>&1; env | grep -c TOKEN; true
"""


def test_secrets_reach_neither_a_layer_nor_the_disk_nor_the_cache(lab: LabUnderTest, tmp_path: Path) -> None:
    """Files of 0400 on a tmpfs, a variable of one RUN; a changed value is no reason to run again."""
    secret = "s3cret-of-the-build-" + "x" * 20
    (tmp_path / "file").write_text(secret)
    lab.environment["BUILD_TOKEN"] = secret
    try:
        folder = context(tmp_path / "c", SECRETS)
        arguments = ("--secret", f"id=file,src={tmp_path / 'file'}", "--secret", "id=variable,env=BUILD_TOKEN")
        command = ["image", "build", "--node", BUILDER, "-t", "t/secrets", *arguments, str(folder)]
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", *command], env=lab.environment, stdout=subprocess.PIPE
        ) as client:
            eventually(lambda: [name for name in leftovers(lab) if "builds/" in name])
            found: list[str] = []
            while client.poll() is None:
                found += on_disk(lab, secret)
            assert client.stdout is not None
            said = client.stdout.read().decode()
        assert client.returncode == 0
        assert found == on_disk(lab, secret) == []
        for line in (
            "400 0:0 /run/secrets/file",
            "440 3:4 /x/y",
            "on tmpfs",
            f"token of {len(secret)} characters",
            "file",
            "0",
        ):
            assert line in said.splitlines(), line
        (tmp_path / "file").write_text("another")
        assert cached(build(lab, folder, *arguments, tag="t/secrets")) == [True, True]
    finally:
        del lab.environment["BUILD_TOKEN"]


def on_disk(lab: LabUnderTest, text: str) -> list[str]:
    """Files below the node's state, of this mount namespace's own file systems, that hold the text."""
    result = subprocess.run(
        ["find", str(lab.node_dir(BUILDER)), "-xdev", "-type", "f", "-exec", "grep", "-lF", text, "{}", "+"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.split()


def test_a_run_without_a_network(lab: LabUnderTest, tmp_path: Path) -> None:
    """Only a loopback; the RUNs before and after have one."""
    text = "FROM busybox\nRUN ip -o link | wc -l\nRUN --network=none ip -o link; cat /etc/resolv.conf | wc -l\nRUN ip -o link | grep -c eth0"
    said = build(lab, context(tmp_path / "c", text)).splitlines()
    assert [line for line in said if line in ("1", "2", "0")] == ["2", "0", "1"]
    assert sum("LOOPBACK,UP" in line for line in said) == 1


def test_a_run_that_uses_too_much_memory_is_killed_and_says_so(lab: LabUnderTest, tmp_path: Path) -> None:
    """By the limit of --memory; the node and other builds go on."""
    folder = context(tmp_path / "c", "FROM busybox\nRUN head -c 200000000 /dev/zero | tail")
    assert "ran out of memory (exit code 137): its limit of 32 MiB is set by --memory" in refused(
        lab, folder, "--memory", "32m"
    )
    assert "error" not in build(lab, folder, "--memory", "1g")


def test_a_run_has_the_limits_that_are_set(lab: LabUnderTest, tmp_path: Path) -> None:
    """By default half of the node's memory, its CPUs and 4,096 processes."""
    look = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu.max pids/pids.max pids.max 2>/dev/null; true"
    folder = context(tmp_path / "c", f"FROM busybox\nRUN {look}")
    said = build(lab, folder, "--memory", "64m", "--cpus", "0.5").splitlines()
    assert str(64 << 20) in said
    assert any(line in ("50000", "50000 100000") for line in said)
    assert "4096" in said
    limits = [int(line) for line in build(lab, folder, "--no-cache").splitlines() if line.isdigit()]
    assert any(1 << 28 < limit < 1 << 45 for limit in limits), limits
