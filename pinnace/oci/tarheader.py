"""One header of a tar, from bytes to a value whose every number is in range. Pure.

Source: POSIX.1-2001 pax; the GNU tar manual, "Basic Tar Format"; Go's archive/tar, by whose rules images are read everywhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from pinnace.oci import BadImage

BLOCK = 512
# Bytes of an extended header (pax, GNU long name), as in Go.
MAX_EXTENDED = 1 << 20
MAX_SIZE = 1 << 50
MAX_ID = (1 << 32) - 2
XATTR = "SCHILY.xattr."
REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
_NANO = 1_000_000_000
_MAX_SECONDS = (1 << 63) // _NANO - 1
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
# Where a file has data: offset and length, in bytes.
Extent = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Member:
    """`kind` is one of the constants above, or what the archive has. `size` is the file's, in bytes, `stored` what the archive
    holds of it at `offset`; they differ for a sparse file, whose `sparse` extents are the stored ones in order.

    `mtime` is in nanoseconds since the epoch, never before it. Text that is no UTF-8 has surrogate escapes.
    """

    name: str
    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    stored: int = 0
    offset: int = 0
    sparse: tuple[Extent, ...] | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


def parse(block: bytes, end: int) -> Member:
    """What a header block says by itself."""
    _check_sum(block, end)
    name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, _, _, prefix, _ = _FIELDS.unpack(block)
    where = f"header at offset {end - BLOCK}"
    label = text(name.split(b"\0")[0])
    if front := _prefix(magic, prefix, block):
        label = f"{text(front)}/{label}"
    count = number(size, f"{where}: size", MAX_SIZE)
    return Member(
        label, kind.decode("latin-1"), mode=number(mode, f"{where}: mode", MAX_SIZE) & 0o7777,
        uid=number(uid, f"{where}: uid", MAX_ID), gid=number(gid, f"{where}: gid", MAX_ID), size=count, stored=count,
        mtime=_nanoseconds(number(mtime, f"{where}: mtime", None)), link=text(link.split(b"\0")[0]),
    )  # fmt: skip


def _prefix(magic: bytes, prefix: bytes, block: bytes) -> bytes:
    """The first part of a long name, where the format has one. GNU's has times there, or, by an error of old Go, a name."""
    if magic == b"ustar\x00" + magic[6:]:
        # Schilling's star keeps times after 131 bytes.
        return (prefix[:131] if block[508:512] == b"tar\0" else prefix).split(b"\0")[0]
    if magic == b"ustar  \0" and prefix[:1].strip(b"\0"):
        front = prefix.split(b"\0")[0]
        return b"" if all(byte in b"01234567 \0" for byte in prefix[:12]) or prefix[0] & 0x80 or not front.isascii() else front
    return b""


def _check_sum(block: bytes, end: int) -> None:
    told = number(block[148:156], f"checksum at offset {end - BLOCK}", MAX_SIZE)
    rest = block[:148] + b" " * 8 + block[156:]
    # Some old archives were summed as signed bytes.
    if told != sum(rest) and told != sum(byte - 256 if byte > 127 else byte for byte in rest):
        raise BadImage(f"not a tar archive: no header at offset {end - BLOCK}")


def number(raw: bytes, name: str, most: int | None) -> int:
    """A header's number, octal or base 256; `most` refuses negative and larger ones. Raises BadImage."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
    else:
        text = raw.strip(b" \0").split(b"\0")[0]
        if text.strip(b"01234567"):
            raise BadImage(f"not a tar archive: {name}: {text!r} is no octal number")
        value = int(text or b"0", 8)
    if most is not None and not 0 <= value <= most:
        raise BadImage(f"{name}: {value} is out of range")
    return value


def decimal(raw: bytes, name: str, most: int) -> int:
    """A pax record's number. Raises BadImage."""
    if not raw.isdigit() or len(raw) > 20 or (value := int(raw)) > most:
        raise BadImage(f"{name}: {raw[:40]!r} is no number up to {most}")
    return value


def pax_records(data: bytes) -> dict[str, bytes]:
    """`LENGTH KEY=VALUE\\n`, one after the other. Raises BadImage."""
    found: dict[str, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 21)
        length = decimal(data[at:space] if space > at else b"?", "length of a pax record", MAX_EXTENDED)
        record = data[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if at + length > len(data) or record[-1:] != b"\n" or not key or not equals or b"\0" in key:
            raise BadImage(f"a pax record is malformed: {data[at : at + 40]!r}")
        at += length
        if key in (b"path", b"linkpath") and b"\0" in value:
            raise BadImage(f"a pax record has a {key.decode()} with a NUL: {value[:80]!r}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            # Version 0.0 repeats them, in turn.
            if (len(sparse) % 2 == 0) != (key == b"GNU.sparse.offset") or b"," in value:
                raise BadImage("a pax header has a sparse map whose offsets and sizes are not in turn")
            sparse.append(value)
        else:
            found[text(key)] = value
    return found | ({"GNU.sparse.map": b",".join(sparse)} if sparse else {})


def with_records(member: Member, records: dict[str, bytes]) -> Member:
    """An empty value leaves the header's."""
    changes: dict[str, object] = {}
    for key, value in records.items():
        match key:
            case _ if key.startswith(XATTR):
                changes.setdefault("xattrs", {})[key.removeprefix(XATTR)] = value  # type: ignore[index]
            case _ if not value:
                continue
            case "path":
                changes["name"] = text(value)
            case "linkpath":
                changes["link"] = text(value)
            case "uid" | "gid":
                changes[key] = decimal(value, key, MAX_ID)
            case "size":
                changes["size"] = changes["stored"] = decimal(value, key, MAX_SIZE)
            case "mtime":
                changes["mtime"] = _pax_time(value)
    return replace(member, **changes) if changes else member  # type: ignore[arg-type]


def _pax_time(raw: bytes) -> int:
    """Nanoseconds of decimal seconds. Raises BadImage."""
    seconds, _, fraction = raw.partition(b".")
    digits = seconds.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20 or (fraction and not fraction.isdigit()):
        raise BadImage(f"mtime: {raw[:40]!r} is no time")
    if seconds.startswith(b"-"):
        return 0
    return min(_nanoseconds(int(seconds)) + int(fraction[:9].ljust(9, b"0")), _MAX_SECONDS * _NANO)


def _nanoseconds(seconds: int) -> int:
    """Of a time, or of the epoch for what no file can have, as in containerd."""
    return seconds * _NANO if 0 <= seconds <= _MAX_SECONDS else 0


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
