"""`kctl image save`: images of the nodes into one archive, which is an OCI layout and a docker archive at once.

So `docker load`, skopeo (docker-archive and oci-archive) and containerd read the same file, as since Docker 25. Layers are the
tars that their diff ids name, checked while they are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from cli import flags, imageexport, nodewise
from cli.sizes import size
from pinnace.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from pinnace.oci.archive import ImageArchive

CHUNK = 1 << 20
_OCI = "application/vnd.oci.image"


def configure(parser: Any) -> None:
    parser.add_argument("name", nargs="+", help="name or id of an image")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="archive to write, - for standard output"
    )
    nodewise.add_flag(parser)


def run(args: Any) -> int:
    """Raises NotFound, BadRequest."""
    client = flags.client(args)
    images = [find(client, name, args.node)[1] for name in args.name]
    if str(args.output) == "-":
        return _to_stdout(images)
    partial = args.output.with_name(f".{args.output.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            write(images, file)
        os.replace(partial, args.output)
    except OSError as error:
        raise BadRequest(f"{args.output}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    print(f"saved {', '.join(args.name)} to {args.output} ({size(args.output.stat().st_size)})", file=sys.stderr)
    return 0


def _to_stdout(images: list[ImageArchive]) -> int:
    """Whole or not at all, as to a file. Raises BadRequest."""
    if sys.stdout.isatty():
        raise BadRequest("-o -: standard output is a terminal; redirect it, or name a file")
    with tempfile.TemporaryFile() as file:
        write(images, file)
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
    return 0


def find(client: Any, name: str, chosen: list[str]) -> tuple[str, ImageArchive]:
    """A node that has the image, and the image with the names that `name` means. Raises NotFound."""
    from pinnace.oci.reference import normalise

    for node in nodewise.names(client, chosen):
        try:
            image = imageexport.exported(client, node, name)
        except NotFound:
            continue
        names = tuple(item for item in image.references if normalise(item) == normalise(name)) or image.references
        return node, type(image)(names, image.document, image.config, image.layers)
    raise NotFound(f'image "{name}" is on no node')


def write(images: list[ImageArchive], file: IO[bytes]) -> None:
    """Raises BadRequest when a layer is not what its diff id says."""
    from pinnace.oci.reference import normalise

    written: set[str] = set()
    docker, index = [], []
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for image in images:
            for layer in image.layers:
                if layer.diff_id not in written:
                    written.add(layer.diff_id)
                    _add_layer(tar, layer)
            manifest = json.dumps(_manifest(image)).encode()
            for data in (image.document, manifest):
                if _digest(data) not in written:
                    written.add(_digest(data))
                    _add(tar, _blob(_digest(data)), data)
            names = [normalise(name) for name in image.references]
            docker.append(_docker_entry(image, names))
            entry = {"mediaType": f"{_OCI}.manifest.v1+json", "digest": _digest(manifest), "size": len(manifest)}
            index += [entry | {"annotations": _annotations(name)} for name in names] or [entry]
        listed = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": index}
        _add(tar, "index.json", json.dumps(listed).encode())
        _add(tar, "manifest.json", json.dumps(docker).encode())


def _docker_entry(image: ImageArchive, names: list[str]) -> dict[str, Any]:
    """Of manifest.json. `docker load` refuses the archive for a name by digest among the tags; the index has it too."""
    layers = [_blob(layer.diff_id) for layer in image.layers]
    tags = [name for name in names if "@" not in name]
    return {"Config": _blob(_digest(image.document)), "RepoTags": tags or None, "Layers": layers}


def _annotations(name: str) -> dict[str, str]:
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}


def _manifest(image: ImageArchive) -> dict[str, Any]:
    config = {"mediaType": f"{_OCI}.config.v1+json", "digest": _digest(image.document), "size": len(image.document)}
    layers = [{"mediaType": f"{_OCI}.layer.v1.tar", "digest": item.diff_id, "size": item.size} for item in image.layers]
    return {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": config, "layers": layers}


class _Checked:
    """A layer's bytes on their way, hashed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (more := self._stream.read(count - len(data))):
            data += more
        self.digest.update(data)
        return data


def _add_layer(tar: tarfile.TarFile, layer: Any) -> None:
    with layer.open() as stream:
        checked = _Checked(stream)
        info = _info(_blob(layer.diff_id), layer.size)
        tar.addfile(info, cast(IO[bytes], checked))
        if f"sha256:{checked.digest.hexdigest()}" != layer.diff_id:
            raise BadRequest(f"the node cannot restore layer {layer.diff_id[:19]}")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))


def _info(name: str, count: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = count, 0o644
    return info


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
