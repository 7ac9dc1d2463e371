"""A container's termination message: what is kept of its file, of its log, and of both in a status."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.launcher.logfile import LogFile
from nodeagent.pods import terminationmessage
from nodeagent.pods.model import Policy
from nodeagent.pods.status import pod_status
from tests.support.objects import pod
from tests.support.observed import T0, observed, ran


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    terminationmessage.make(tmp_path)
    return tmp_path


def logged(folder: Path, *chunks: bytes) -> Path:
    log = LogFile(str(folder / "log"), 1 << 30, 2)
    for chunk in chunks:
        log.write(b"stdout", chunk)
    log.close()
    return folder / "log"


def read(bundle: Path, *chunks: bytes, fall_back: bool = True) -> str:
    return terminationmessage.read(bundle, logged(bundle, *chunks), fall_back=fall_back)


def test_the_last_bytes_of_the_file_are_kept(bundle: Path) -> None:
    """4096 of them: what a program says last is why it ended."""
    (bundle / terminationmessage.NAME).write_bytes(b"x" * 5000 + b"why")
    assert read(bundle, b"not this\n") == "x" * 4093 + "why"


def test_an_empty_file_falls_back_to_the_log_only_where_it_may(bundle: Path) -> None:
    """A missing one does too: the container may have had a volume there."""
    assert read(bundle, b"said\n", fall_back=False) == ""
    assert read(bundle) == "said\n"
    (bundle / terminationmessage.NAME).unlink()
    assert read(bundle) == "said\n"


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([b"".join(b"%d\n" % n for n in range(100))], "".join(f"{n}\n" for n in range(20, 100)), id="80 lines"),
        pytest.param([b"\n" * 100], "\n" * 80, id="empty lines"),
        pytest.param([b"y" * 3000 + b"\nend\n"], "y" * 2043 + "\nend\n", id="2048 bytes of text"),
        pytest.param([b"z" * 100_000], "z" * 2048, id="a line in parts, without its end"),
        pytest.param([b"w" * 100_000 + b"\n"], "w" * 2047 + "\n", id="a line in parts"),
        pytest.param([b"a b  c\rd \n"], "a b  c\rd \n", id="spaces and carriage returns"),
        pytest.param([b"\xff\n"], "\ufffd\n", id="what is no text"),
        pytest.param([], "", id="nothing"),
    ],
)
def test_the_end_of_the_log(bundle: Path, chunks: list[bytes], expected: str) -> None:
    """Its last 80 lines, of which the last 2048 bytes, without what the log adds."""
    assert read(bundle, *chunks) == expected


def test_the_messages_of_a_status_share_its_room() -> None:
    """12 KiB for all of a pod's containers; of each the beginning, whole characters."""
    item = pod("web", "a", "b", "c", "d", "e", "f")
    view = observed(*(ran(name, 1, message="ü" * 2000) for name in "abcdef"))
    status = pod_status(item, gone=False, observed=view, now=T0, host_ips=("h",), policy=Policy(), previous=None)
    assert {item.lastState.terminated.message or item.state.terminated.message for item in status.containerStatuses} == {
        "ü" * 1024
    }
    assert terminationmessage.shortened("ü" * 3, 12288 // 3) == "ü"
