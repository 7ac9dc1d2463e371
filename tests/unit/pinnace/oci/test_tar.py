"""The reader of tars: every format that layers come in, and one error for whatever is none."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace.oci import BadImage
from pinnace.oci.tar import Reader
from pinnace.oci.tarheader import DIRECTORY, LINK, REGULAR, SYMLINK, Member
from tests.support.archives import layer, member


def read(data: bytes, *, seekable: bool = False) -> list[tuple[Member, bytes]]:
    """Members with their content, holes filled in."""
    reader, found = Reader(io.BytesIO(data), seekable=seekable), []
    while (item := reader.next()) is not None:
        content = bytearray(item.size)
        for offset, piece in reader.content():
            content[offset : offset + len(piece)] = piece
        found.append((item, bytes(content)))
    return found


def names(data: bytes) -> list[str]:
    return [item.name for item, _ in read(data)]


def packed(*members: tarfile.TarInfo, format_: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for item in members:
            tar.addfile(item, io.BytesIO(b"x" * item.size))
    return out.getvalue()


def header(kind: bytes = b"0", name: bytes = b"a", size: int = 0, **more: bytes) -> bytes:
    """A ustar header by hand."""
    fields = {
        "name": name, "mode": b"0000644", "uid": b"0", "gid": b"0", "size": b"%o" % size, "mtime": b"0", "sum": b" " * 8,
        "kind": kind, "link": b"", "magic": b"ustar\x0000", "uname": b"", "gname": b"", "major": b"", "minor": b"",
        "prefix": b"", "end": b"", **more,
    }  # fmt: skip
    block = bytearray(struct.pack("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s", *fields.values()))
    if fields["sum"] == b" " * 8:
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


END = bytes(1024)


def records(*items: bytes) -> bytes:
    """An extended header of `key=value` items, each with its own length in front."""
    data = b""
    for item in items:
        length = len(item) + 3
        length += len(str(length)) - 1
        data += b"%d %s\n" % (length, item)
    return header(b"x", size=len(data)) + padded(data)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_format_yields_the_same_members(format_: int) -> None:
    """Long names and links as each has them; owners, modes and times."""
    long = "folder/" * 12 + "n" * 60
    info = member(long, tarfile.REGTYPE)
    info.size, info.uid, info.gid, info.mode, info.mtime = 700, 1234, 5678, 0o4755, 1_700_000_000
    link = member("link", tarfile.SYMTYPE, "t" * (90 if format_ == tarfile.USTAR_FORMAT else 300))
    (one, content), (two, _), (three, _), (four, _) = read(
        packed(info, link, member("dir", tarfile.DIRTYPE), member("hard", tarfile.LNKTYPE, long[:90]), format_=format_)
    )
    assert (one.name, one.kind, one.size, one.uid, one.gid, one.mode) == (long, REGULAR, 700, 1234, 5678, 0o4755)
    assert one.mtime == 1_700_000_000 * 10**9
    assert content == b"x" * 700
    assert (two.kind, two.link) == (SYMLINK, link.linkname)
    assert (three.kind, three.name.rstrip("/")) == (DIRECTORY, "dir")
    assert (four.kind, four.link, four.size) == (LINK, long[:90], 0)


def test_large_and_odd_numbers_are_read() -> None:
    """Base 256, pax decimals, spaces and empty fields."""
    big = header(uid=b"\x80" + (70_000).to_bytes(7, "big"), gid=b" 144 \0", mode=b"644 \0", mtime=b"")
    pax = records(b"mtime=1700000000.123", b"uid=80000", b"gid=") + header(gid=b"7")
    (one, _), (two, _) = read(big + pax + END)
    assert (one.uid, one.gid, one.mode, one.mtime) == (70_000, 0o144, 0o644, 0)
    assert (two.uid, two.gid, two.mtime) == (80_000, 7, 1_700_000_000_123_000_000)


def test_a_file_without_a_kind_is_told_by_its_slash() -> None:
    """As in the oldest tars."""
    found = read(header(b"\0", b"d/") + header(b"\0", b"f") + header(b"7", b"contiguous") + END)
    assert [item.kind for item, _ in found] == [DIRECTORY, REGULAR, REGULAR]


def test_names_by_prefix_as_posix_star_and_old_go_have_them() -> None:
    """GNU's format has times there, which are no names."""
    star = header(prefix=b"dir" + bytes(128) + b"01234567 \0", end=bytes(8) + b"tar\0")
    gnu = header(magic=b"ustar  \0", prefix=b"13345670000\0" + b"13345670000\0")
    old_go = header(magic=b"ustar  \0", prefix=b"a" * 100)
    assert names(header(prefix=b"dir") + star + gnu + old_go + END) == ["dir/a", "dir/a", "a", "a" * 100 + "/a"]


def test_text_that_is_no_utf8_keeps_its_bytes() -> None:
    """In names, links and attributes, plain and pax."""
    pax = records(b"linkpath=\xff\xfe/ab", b"SCHILY.xattr.user.x=\x00\x01\xff=\nq") + header(b"2", b"l")
    (one, _), (two, _) = read(header(name=b"\xe9\xff") + pax + END)
    assert os.fsencode(one.name) == b"\xe9\xff"
    assert os.fsencode(two.link) == b"\xff\xfe/ab"
    assert two.xattrs == {"user.x": b"\x00\x01\xff=\nq"}


def test_global_records_are_of_no_effect() -> None:
    """As in Docker and containerd; `git archive` writes one."""
    assert names(header(b"g", size=18) + padded(b"18 path=elsewhere\n") + header() + END) == ["a"]


def test_an_archive_may_end_without_its_end() -> None:
    """One empty block, two, or none; what follows two is nobody's."""
    for end in (b"", bytes(512), END, END + b"more"):
        assert names(header() + end) == ["a"]
    assert names(b"") == []


def test_data_of_a_link_or_directory_is_none() -> None:
    """Their size says nothing, as in Go."""
    assert names(header(b"5", b"d", size=600) + header(b"1", b"l", size=5) + header() + END) == ["d", "l", "a"]


SPARSE = [
    "--format=gnu",
    "--format=posix --sparse-version=0.0",
    "--format=posix --sparse-version=0.1",
    "--format=posix --sparse-version=1.0",
]


@pytest.mark.parametrize("options", SPARSE)
@pytest.mark.parametrize("extents", [0, 3, 300])
def test_sparse_files_of_gnu_tar_are_read(tmp_path: Path, options: str, extents: int) -> None:
    """In its four formats, with as many extents as need further headers; holes are not read."""
    size = 65536 * extents + 1_000_000
    with open(tmp_path / "file", "wb") as file:
        for number in range(extents):
            file.seek(65536 * number)
            file.write(b"%08d" % number * 512)
        file.truncate(size)
    (tmp_path / "after").write_text("after")
    command = ["tar", "--sparse", "--hole-detection=raw", *options.split(), "-cf", "a.tar", "file", "after"]
    subprocess.run(command, cwd=tmp_path, check=True)
    data = (tmp_path / "a.tar").read_bytes()
    (one, content), (two, after) = read(data)
    assert (one.name, one.size, two.name, after) == ("file", size, "after", b"after")
    assert one.sparse is not None
    assert content == (tmp_path / "file").read_bytes()
    assert [item for item, _ in read(data, seekable=True)] == [one, two]


MALFORMED: dict[str, bytes] = {
    "text": b"hello" * 300,
    "less than a block": header()[:300],
    "an empty block and more": bytes(512) + header(),
    "a wrong sum": header(sum=b"000001\0 "),
    "a sum that is no number": header(sum=b"abcdefg "),
    "data that is not there": header(size=5000) + b"x" * 100,
    "a size that is no number": header(size=0, link=b"").replace(b"0000644", b"00x0644", 1),
    "a negative size": header()[:124] + b"\xff" * 12 + header()[136:],
    "a size beyond all": header(mtime=b"0")[:124] + b"\x80" + b"\xff" * 11 + header()[136:],
    "an extended header without a member": header(b"x", size=18) + padded(b"18 path=elsewhere\n") + END,
    "a record without length": header(b"x", size=18) + padded(b"xx path=elsewhere\n") + header() + END,
    "a record that is too long": header(b"x", size=18) + padded(b"99 path=elsewhere\n") + header() + END,
    "a record of length zero": header(b"x", size=18) + padded(b"0 path=elsewherex\n") + header() + END,
    "a record without a key": header(b"x", size=6) + padded(b"6 =ab\n") + header() + END,
    "a record with a NUL": header(b"x", size=12) + padded(b"12 path=a\0b\n") + header() + END,
    "a size in words": header(b"x", size=12) + padded(b"12 size=one\n") + header() + END,
    "a time in words": header(b"x", size=13) + padded(b"13 mtime=one\n") + header() + END,
}  # fmt: skip


def fixed(block: bytes) -> bytes:
    """With the right sum."""
    rest = block[:148] + b" " * 8 + block[156:512]
    return block[:148] + b"%06o\0 " % sum(rest) + block[156:]


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_tar_is_one_error(name: str) -> None:
    """Whether it is read through or sought through; also where a damaged header is not the first."""
    data = MALFORMED[name]
    data = fixed(data) if name in ("a negative size", "a size beyond all", "a size that is no number") else data
    for before in (b"", header()):
        for seekable in (False, True):
            with pytest.raises(BadImage):
                read(before + data, seekable=seekable)


def sparse_map(*numbers: int, realsize: int = 1000, stored: int = 0) -> bytes:
    text = b"".join(b"%d\n" % number for number in (len(numbers) // 2, *numbers))
    pax = records(b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.realsize=%d" % realsize)
    body = padded(text) + bytes(stored)
    return pax + header(size=len(body)) + padded(body) + END


def test_a_sparse_map_that_could_not_be_is_refused() -> None:
    """Out of order, out of the file, or not of the data that is there."""
    assert read(sparse_map(0, 10, 20, 10, stored=20))[0][0].sparse == ((0, 10), (20, 10))
    for bad in (
        sparse_map(20, 10, 0, 10, stored=20), sparse_map(0, 10, 5, 10, stored=20), sparse_map(0, 2000, stored=2000),
        sparse_map(0, 10, stored=20), sparse_map(0, 20, stored=10), sparse_map(0, 0, realsize=1 << 60),
    ):  # fmt: skip
        with pytest.raises(BadImage):
            read(bad)


@pytest.mark.parametrize("form", ["x", "L", "K", "g", "1.0", "old"])
def test_headers_of_any_size_take_little_memory(form: str) -> None:
    """600 MB of a pax header, a long name or a sparse map: refused, and never in memory."""

    class Endless(io.RawIOBase):
        """`first`, and zeros or a sparse map without end."""

        def __init__(self, first: bytes, rest: bytes) -> None:
            self._first, self._rest = first, rest

        def read(self, size: int = -1) -> bytes:
            data, self._first = self._first[:size], self._first[size:]
            return data or (self._rest * (size // len(self._rest) + 1))[:size]

    size = 600 << 20
    if form == "1.0":
        first, rest = sparse_map(realsize=1 << 40)[:1024] + header(size=size), b"1\n"
    elif form == "old":
        full = (b"0" * 11 + b"\0") * 42
        first = fixed(
            header(b"S", magic=b"ustar  \0", size=size)[:386] + (b"0" * 11 + b"\0") * 8 + b"\1" + b"7" * 11 + b"\0" * 18
        )
        rest = full + b"\1" + bytes(7)
    else:
        first, rest = header(form.encode(), size=size), b"\0"
    tracemalloc.start()
    try:
        with pytest.raises(BadImage):
            Reader(Endless(first, rest)).next()  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_headers_one_after_the_other_nest_nothing() -> None:
    """A hundred thousand extended headers before a member."""
    one = header(b"x", size=18) + padded(b"18 path=elsewhere\n")
    assert names(one * 100_000 + header() + END) == ["elsewhere"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_a_tar_or_one_error(data: bytes) -> None:
    """And never another exception."""
    _try(data)


VALID = layer(("a/b", "content"), member("l", tarfile.SYMTYPE, "x" * 150)) + sparse_map(0, 10, 20, 10, stored=20)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_damaged_tar_is_a_tar_or_one_error(changes: list[tuple[int, bytes]], mended: bool) -> None:
    """Bytes of a good one replaced, the sums right again or not."""
    data = bytearray(VALID)
    for at, new in changes:
        data[at : at + len(new)] = new
    if mended:
        for at in range(0, len(data) - 511, 512):
            data[at : at + 512] = fixed(bytes(data[at : at + 512]))
    _try(bytes(data))


def _try(data: bytes) -> None:
    for seekable in (False, True):
        try:
            reader = Reader(io.BytesIO(data), seekable=seekable)
            while reader.next() is not None:
                for _ in reader.content():
                    pass
        except BadImage:
            continue
