"""The agent's end of the unpacker: one request for each tar, answered once, and no process while nothing is unpacked.

To start Python takes as long as to unpack a small layer, so the process stays for a while for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nodeagent.linux import terminals
from nodeagent.node import threads
from pinnace.oci import BadImage
from pinnace.oci.members import Slice

# Seconds: for one tar however large, for a fork that is told to end, and without a request until the process ends.
UNPACK_WITHIN = 2 * 3600.0
END_WITHIN = 30.0
IDLE = 10.0
_MAX_ANSWER = 16 << 10
# Its `__main__`.
PROGRAM = Path(__file__).resolve().parent.parent / "unpacker"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`size` is the bytes of the files."""

    size: int


class Unpacker:
    """Starts the process when it is needed; it ends by itself after `idle` seconds without a request."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        # The socket of the process, closed with this object too. A descriptor, for a socket would have to be closed by hand.
        self._control: weakref.finalize[[int], Unpacker] | None = None
        # Of the process that was started last, 0 for none.
        self.pid = 0
        self._sending = asyncio.Lock()

    async def unpack(
        self, stream: IO[bytes], directory: Path, *, name: str, recipe: Path | None = None, digest: str = "",
        whiteouts: bool = True,
    ) -> Unpacked:  # fmt: skip
        """Unpack what `stream` has, packed or not, into an empty directory, and write its recipe.

        `digest` is what the tar must have. Raises BadImage, whose text begins with `name`; then something of it may be in the
        directory, and nothing is written there any more.
        """
        try:
            with contextlib.ExitStack() as opened:
                descriptor, offset, size = await _extent(stream, opened)
                fields = {"name": name, "digest": digest, "offset": offset, "size": size, "whiteouts": whiteouts}
                files = [
                    descriptor, _opened(opened, directory, os.O_RDONLY | os.O_DIRECTORY),
                    _opened(opened, recipe or os.devnull, os.O_WRONLY | os.O_CREAT),
                ]  # fmt: skip
                answer = await self._ask(json.dumps(fields).encode(), files)
        except OSError as error:
            raise BadImage(f"{name}: {error.strerror or error}") from None
        if "error" in answer:
            raise BadImage(answer["error"])
        if "lost" in answer:
            raise BadImage(f"{name}: {answer['lost']}")
        return Unpacked(answer["size"])

    async def _ask(self, request: bytes, files: list[int]) -> dict[str, Any]:
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.setblocking(False)
            await self._send(request, [*files, theirs.fileno()])
            theirs.close()
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(UNPACK_WITHIN):
                    data = await loop.sock_recv(ours, _MAX_ANSWER)
            except TimeoutError:
                data = json.dumps({"lost": f"it was not unpacked within {UNPACK_WITHIN:.0f} s"}).encode()
            finally:
                # The fork ends now, if it has not: the directory is the caller's again when its end is closed.
                with contextlib.suppress(OSError, TimeoutError):
                    ours.shutdown(socket.SHUT_WR)
                    async with asyncio.timeout(END_WITHIN):
                        while await loop.sock_recv(ours, _MAX_ANSWER):
                            pass
        if not data:
            return {"lost": "the process that unpacked it ended without an answer"}
        found: dict[str, Any] = json.loads(data)
        return found

    async def _send(self, request: bytes, files: list[int]) -> None:
        """Raises OSError."""
        async with self._sending:
            if (control := self._descriptor()) >= 0:
                with contextlib.suppress(OSError):
                    terminals.send(control, request, *files)
                    return
                # It has ended: nothing was asked of it for a while, or it was killed.
                self.close()
            starting = _Starting()
            try:
                control, self.pid = await threads.images.run(starting.run, self._idle)
            except asyncio.CancelledError:
                # The thread continues, and its process would wait for a request for ever.
                starting.abandon()
                raise
            self._control = weakref.finalize(self, os.close, control)
            terminals.send(control, request, *files)

    def _descriptor(self) -> int:
        found = self._control.peek() if self._control is not None else None
        return found[2][0] if found is not None else -1

    def close(self) -> None:
        """Let go of the process, which ends. What it works on fails."""
        if self._control is not None:
            self._control()
            self._control, self.pid = None, 0


class _Starting:
    """A process that a thread starts. `abandon` ends it, now or when it is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control = -1
        self._abandoned = False

    def run(self, idle: float) -> tuple[int, int]:
        """As `_start`. Raises OSError."""
        control, pid = _start(idle)
        with self._lock:
            self._control = control
            if self._abandoned:
                os.close(control)
        return control, pid

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._control >= 0:
                os.close(self._control)


def _start(idle: float) -> tuple[int, int]:
    """A new process: its socket, as a descriptor, and its pid. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found = importlib.util.find_spec("zstandard")
    packages = str(Path(found.origin).parent.parent) if found is not None and found.origin else ""
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(theirs.fileno()), packages, str(idle)]
    with theirs:
        process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/",
            start_new_session=True,
        )  # fmt: skip
    # It ends with its socket, whenever that is; this thread collects its exit.
    threading.Thread(target=process.wait, name="unpacker", daemon=True).start()
    return ours.detach(), process.pid


async def _extent(stream: IO[bytes], opened: contextlib.ExitStack) -> tuple[int, int, int]:
    """A descriptor, and the offset and size of what the stream has in it."""
    raw = getattr(stream, "raw", stream)
    if isinstance(raw, Slice):
        return raw.extent
    try:
        return stream.fileno(), 0, os.fstat(stream.fileno()).st_size
    except io.UnsupportedOperation:
        file = opened.enter_context(tempfile.TemporaryFile())
        await threads.images.run(shutil.copyfileobj, stream, file)
        file.flush()
        return file.fileno(), 0, file.tell()


def _opened(opened: contextlib.ExitStack, path: Path | str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, descriptor)
    return descriptor
