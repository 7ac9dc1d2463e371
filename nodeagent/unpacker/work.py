"""What a fork of the unpacker does: one tar into one directory, which is its root meanwhile.

Memory, processor time and the size of files are bounded by the kernel, whatever a decompressor or a header would have. What
is wrong with the tar is an answer; what ends the process is answered by the server.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import signal
import socket
import tempfile
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from nodeagent.images import tarsplit
from nodeagent.images.layertree import MAX_INODES
from nodeagent.images.tarsplit import TarSplitWriter
from nodeagent.images.unpack import MAX_BYTES, unpack
from nodeagent.linux import syscalls as sc
from nodeagent.linux.diskusage import size_of
from pinnace.oci import BadImage
from pinnace.oci.compression import decompressed
from pinnace.oci.members import Slice

# Bytes.
MAX_REQUEST = 4096
MAX_MEMORY = 512 << 20
# A tar's headers and padding, in addition to its content.
MAX_TAR = MAX_BYTES + MAX_INODES * 1024
# Seconds of processor time.
MAX_CPU = 3600
# chown, dac_override, fowner, fsetid, mknod (whiteouts), setfcap, sys_admin (trusted.overlay.*). Source: capability.h.
_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 21, 27, 31))


def run(request: dict[str, Any], files: list[int], channel: socket.socket) -> NoReturn:
    """In a fork: do the request, answer, and end."""
    try:
        answer = _answer(request, files)
        channel.send(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _answer(request: dict[str, Any], files: list[int]) -> dict[str, Any]:
    name = request["name"]
    try:
        return _layer(request, *files)
    except BadImage as error:
        # The bound of a message; a hostile name is in it.
        return {"error": str(error)[:2000]}
    except MemoryError:
        return {"error": f"{name}: to unpack it takes more than {MAX_MEMORY >> 20} MiB of memory"}
    except OSError as error:
        return {"error": f"{name}: {error.strerror or error}"}
    except Exception as error:
        return {"error": f"{name}: {type(error).__name__}: {str(error)[:500]}"}


def why(number: int) -> str:
    """How the end by a signal is told."""
    if number == signal.SIGXCPU:
        return f"to unpack it takes more than {MAX_CPU} s of processor time"
    return f"the process that unpacked it was killed (signal {number})"


def _layer(request: dict[str, Any], packed: int, directory: int, recipe: int) -> dict[str, Any]:
    """Raises BadImage, OSError, MemoryError."""
    name, size, offset = request["name"], request["size"], request["offset"]
    # Before the root changes: a decompressor is imported here.
    plain = _plain(packed, offset, size)
    confine(directory)
    with os.fdopen(recipe, "wb") as out:
        recorder = TarSplitWriter(cast(IO[bytes], plain), out)
        tree = unpack(
            cast(IO[bytes], recorder), ".", name, recorder.note, whiteouts=request["whiteouts"], packed=size
        )  # fmt: skip
        try:
            recorder.finish()
        except BadImage as error:
            raise BadImage(f"{name}: {error}") from None
        if tree.lost and request["whiteouts"]:
            # Of a layer, what a later member replaced is nowhere else.
            tarsplit.keep_whole(cast(IO[bytes], _plain(packed, offset, size)), out)
    if request["digest"] and plain.digest() != request["digest"]:
        raise BadImage(f"layer {request['digest']} does not match its digest")
    return {"size": size_of(".")}


def _plain(packed: int, offset: int, size: int) -> Bounded:
    return Bounded(decompressed(cast(IO[bytes], io.BufferedReader(Slice(packed, offset, size), 1 << 18))))


def confine(directory: int) -> None:
    """Bound what this process may use, and make the directory its root. Raises OSError."""
    for kind, most in (
        (resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CPU, MAX_CPU), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_BYTES), (resource.RLIMIT_NOFILE, 64),
    ):  # fmt: skip
        resource.setrlimit(kind, (most, most))
    os.fchdir(directory)
    os.chroot(".")
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    sc.capset(_CAPABILITIES)


class Bounded:
    """A stream that hashes and counts what is read through it. Raises BadImage past any tar's bound."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._total = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._total += len(data)
        if self._total > MAX_TAR:
            raise BadImage(f"more than {MAX_TAR >> 30} GiB")
        self._digest.update(data)
        return data

    def digest(self) -> str:
        return "sha256:" + self._digest.hexdigest()


def rehearse() -> None:
    """What every fork does, once: nothing can be imported inside of a layer's directory."""
    import bz2
    import lzma
    import tarfile

    import zstandard

    del bz2, lzma, zstandard
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("é" * 100)
        info.size, info.pax_headers = 1, {"mtime": "1.5"}
        tar.addfile(info, io.BytesIO(b"x"))
    with tempfile.TemporaryDirectory() as directory, open(Path(directory) / "recipe", "wb") as recipe:
        os.mkdir(f"{directory}/layer")
        out.seek(0)
        recorder = TarSplitWriter(decompressed(out), recipe)
        unpack(cast(IO[bytes], recorder), f"{directory}/layer", "rehearsal", recorder.note)
        recorder.finish()
