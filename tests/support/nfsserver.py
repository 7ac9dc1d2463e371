"""An NFS server for tests: the kernel's own (nfsd), of one directory, without nfs-utils.

    nsenter --net=NAMESPACE unshare --mount python -m tests.support.nfsserver DIRECTORY CLIENT...

Serves version 4 alone to the client addresses, in the network namespace and for as long as it runs. The caches that rpc.mountd
would fill when the kernel asks are filled beforehand. Source: nfsd(7), and the kernel's fs/nfsd/export.c and net/sunrpc/svcauth_unix.c.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONTROL, CACHES = Path("/proc/fs/nfsd"), Path("/proc/net/rpc")
# linux/nfsd/export.h: NFSEXP_INSECURE_PORT, ASYNC, NOSUBTREECHECK, FSID.
FLAGS = 0x2 | 0x10 | 0x400 | 0x2000
DOMAIN, NEVER, ANONYMOUS = "clients", (1 << 31) - 1, 65534
# The type of a file system's id that is a number; that of version 4's root is zero.
FSID_NUM, ROOT_ID = 1, "\\x00000000"


def is_available() -> bool:
    """Whether the kernel has both a client and a server of NFS."""
    tried = [subprocess.run(["modprobe", name], capture_output=True, timeout=60, check=False) for name in ("nfsv4", "nfsd")]
    return not any(item.returncode for item in tried)


def serve(folder: Path, clients: list[str]) -> None:
    subprocess.run(["mount", "-t", "nfsd", "nfsd", str(CONTROL)], check=True, timeout=60)
    _write(CONTROL / "versions", "-3 +4 +4.1 +4.2")
    # The shortest: clients wait for its end before they open files.
    for name in ("nfsv4leasetime", "nfsv4gracetime"):
        _write(CONTROL / name, "10")
    for client in clients:
        _fill("auth.unix.ip", f"nfsd {client} {NEVER} {DOMAIN}")
    _fill("nfsd.export", f"{DOMAIN} {folder} {NEVER} {FLAGS} {ANONYMOUS} {ANONYMOUS} 0")
    _fill("nfsd.fh", f"{DOMAIN} {FSID_NUM} {ROOT_ID} {NEVER} {folder}")
    _write(CONTROL / "portlist", "tcp 2049")
    _write(CONTROL / "threads", "2")


def _fill(cache: str, line: str) -> None:
    _write(CACHES / cache / "channel", line)


def _write(path: Path, line: str) -> None:
    """A line, in one call."""
    with path.open("wb", buffering=0) as file:
        file.write(f"{line}\n".encode())


def main() -> None:
    serve(Path(sys.argv[1]), sys.argv[2:])
    print("serving", flush=True)
    sys.stdin.read()
    _write(CONTROL / "threads", "0")


if __name__ == "__main__":
    main()
