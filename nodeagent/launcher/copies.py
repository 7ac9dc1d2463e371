"""Files in and out of a container as a tar stream, without any program of its image.

The helper has imported all it needs before it enters: what it would import from then on would be the container's. It
sees the container's file system and nothing else, acts as the container's user, and follows no link of the kernel's
(/proc/.../root), which would lead back out. A container that changes its files meanwhile fools only itself.
"""

from __future__ import annotations

import json
import os

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import execs, init
from nodeagent.launcher.confinement import Confinement
from nodeagent.linux import syscalls as sc
from nodeagent.linux import terminals

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeagent.launcher.protocol import Config, Copy, Started


def run(bundle: str, request: Copy, descriptors: list[int], reply: Callable[[Started], None]) -> None:
    """`descriptors` are stdin, stdout, stderr and a socket for the exit code, as for exec."""
    # Here and not above: the launcher and the monitors have no use for it.
    from nodeagent.launcher import tarpack, tarstreams, tarunpack

    tarstreams.warm()
    *stdio, channel = descriptors
    with open(bundles.config(bundle)) as file:
        config = json.load(file)
    for source, target in zip(stdio, (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    # A path that is relative is so to the working directory.
    path = request["path"] if request["path"].startswith("/") else f"{config['cwd']}/{request['path']}"
    _enter(bundle, config)
    reply({"pid": os.getpid()})
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    code = 1
    try:
        if request["unpack"]:
            code = tarunpack.unpack(root, path, open(0, "rb", buffering=0, closefd=False))
        else:
            code = tarpack.pack(root, path, open(1, "wb", buffering=0, closefd=False))
    except BrokenPipeError:
        # The reader has gone.
        pass
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode(errors="replace"))
    terminals.send(channel, b"%d" % code)


def _enter(bundle: str, config: Config) -> None:
    """What is written counts for the container; when its memory runs out, this process goes and not the container's."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    for folder in config["cgroups"]:
        with open(f"{folder}/cgroup.procs", "w") as file:
            file.write("0")
    confinement = Confinement(config)
    # Made for the container's program, and not for ours.
    confinement.filter = b""
    execs.enter(bundle, sc.CLONE_NEWNS)
    confinement.enter_user()
    init.drop_privileges(config, confinement)
