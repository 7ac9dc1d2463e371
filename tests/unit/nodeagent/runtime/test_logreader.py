"""Logs as the monitor writes them and as they are read back: tail, since, limits, rotation, following."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nodeagent.launcher.logfile import MAX_LINE, LogFile
from nodeagent.runtime import logreader
from pinnace.api.v1.streams_pb2 import LogOptions
from pinnace.clock import SystemClock


def write(path: Path, *lines: str, max_bytes: int = 1 << 20, max_files: int = 5) -> LogFile:
    log = LogFile(str(path), max_bytes, max_files)
    for line in lines:
        log.write(b"stdout", line.encode() + b"\n")
    return log


async def read(path: Path, options: LogOptions) -> str:
    found = b""
    async for chunk in logreader.read(path, options, SystemClock(), lambda: True):
        found += chunk
    return found.decode()


async def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Empty lines, unicode, and a line far over the limit of one entry."""
    lines = ["one", "", "zwölf ☃", "x" * (3 * MAX_LINE + 7), "end"]
    write(tmp_path / "0.log", *lines).close()
    assert await read(tmp_path / "0.log", LogOptions()) == "\n".join(lines) + "\n"


async def test_unfinished_line_is_kept(tmp_path: Path) -> None:
    """What a program wrote without a newline before it ended."""
    log = write(tmp_path / "0.log", "whole")
    log.write(b"stdout", b"half")
    log.close()
    assert await read(tmp_path / "0.log", LogOptions()) == "whole\nhalf"


async def test_tail_counts_lines_across_rotated_files(tmp_path: Path) -> None:
    """For every count, also more than there are."""
    lines = [f"line {number}" for number in range(40)]
    write(tmp_path / "0.log", *lines, max_bytes=300, max_files=20).close()
    assert len(logreader.files(tmp_path / "0.log")) > 3
    for count in (0, 1, 2, 5, 13, 39, 40, 100):
        expected = "".join(f"{line}\n" for line in lines[len(lines) - min(count, 40) :])
        assert await read(tmp_path / "0.log", LogOptions(tailLines=count)) == expected, count


async def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    """Never more than asked for, and nothing missing in what is left."""
    write(tmp_path / "0.log", *(f"{number:05}" for number in range(500)), max_bytes=1000, max_files=3).close()
    assert len(logreader.files(tmp_path / "0.log")) <= 3
    numbers = [int(line) for line in (await read(tmp_path / "0.log", LogOptions())).split()]
    assert numbers == list(range(numbers[0], 500))


async def test_since_and_limit(tmp_path: Path) -> None:
    """Only what is newer; only so many bytes."""
    write(tmp_path / "0.log", "early").close()
    stamp = logreader.nanoseconds((tmp_path / "0.log").read_bytes().split()[0])
    write(tmp_path / "0.log", "late").close()
    assert await read(tmp_path / "0.log", LogOptions(sinceNanos=stamp + 1)) == "late\n"
    assert await read(tmp_path / "0.log", LogOptions(limitBytes=7)) == "early\nl"


async def test_one_stream_alone(tmp_path: Path) -> None:
    """Also of lines that were written in parts while the other stream wrote between them, with one time for a line."""
    log = write(tmp_path / "0.log", "out")
    for stream, data in (
        (b"stderr", b"err\n"),
        (b"stdout", b"x" * MAX_LINE + b"tail"),
        (b"stderr", b"more\n"),
        (b"stdout", b"!\n"),
    ):
        log.write(stream, data)
    log.close()
    assert await read(tmp_path / "0.log", LogOptions(stream="stderr")) == "err\nmore\n"
    assert await read(tmp_path / "0.log", LogOptions(stream="stdout")) == "out\n" + "x" * MAX_LINE + "tail!\n"
    stamped = (await read(tmp_path / "0.log", LogOptions(stream="stdout", timestamps=True))).splitlines()
    assert [line.partition(" ")[2][:4] for line in stamped] == ["out", "xxxx"]
    assert await read(tmp_path / "0.log", LogOptions(stream="stderr", limitBytes=5)) == "err\nm"


async def test_following_crosses_rotations_without_a_gap(tmp_path: Path) -> None:
    """Every line once, in order, while the writer rotates under the reader."""
    path = tmp_path / "0.log"
    done = False
    found = b""

    async def follow() -> None:
        nonlocal found
        async for chunk in logreader.read(path, LogOptions(follow=True), SystemClock(), lambda: done):
            found += chunk

    log = write(path, "0", max_bytes=2_000, max_files=50)
    reader = asyncio.ensure_future(follow())
    for number in range(1, 600):
        log.write(b"stdout", b"%d\n" % number)
        if number % 20 == 0:
            await asyncio.sleep(0.002)
    log.close()
    done = True
    await asyncio.wait_for(reader, 20)
    assert found.decode().split() == [str(number) for number in range(600)]
