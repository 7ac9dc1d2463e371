"""`make generate`: messages, stubs and the texts of `kctl explain` from proto/. Development only.

Usage: python -m pinnace.codegen [--check]. With --check nothing is written; exit status 1 says what is stale.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def generate(out: Path) -> None:
    import grpc_tools
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    sources = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    described = out / "descriptors.bin"
    include = Path(grpc_tools.__file__).parent / "_proto"
    services = [source for source in sources if "/api/v1/" in source]
    common = ["protoc", f"-I{ROOT / 'proto'}", f"-I{include}"]
    outputs = [f"--python_out={out}", f"--pyi_out={out}", "--include_source_info", f"--descriptor_set_out={described}"]
    for arguments in ([*common, *outputs, *sources], [*common, f"--grpc_python_out={out}", *services]):
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")
    # Messages of peers that are not ours stand with the code that speaks to them.
    peers = sorted(str(path) for path in (ROOT / "controlplane").rglob("*.proto"))
    if peers and protoc.main(["protoc", f"-I{ROOT}", f"--python_out={out}", f"--pyi_out={out}", *peers]) != 0:
        raise SystemExit("protoc failed")
    texts: dict[str, str] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        texts |= _comments(file)
    (out / "pinnace" / "field_docs.json").write_text(json.dumps(texts, indent=0, sort_keys=True) + "\n")
    described.unlink()
    for stub in out.rglob("*_pb2_grpc.py"):
        if "class " not in stub.read_text():
            stub.unlink()
    for folder in (out / "pinnace").rglob("v[0-9]*"):
        (folder / "__init__.py").write_text("")
        (folder.parent / "__init__.py").write_text("")


def _comments(file: object) -> dict[str, str]:
    texts = {}
    for location in file.source_code_info.location:  # type: ignore[attr-defined]
        path, text = list(location.path), " ".join(location.leading_comments.split())
        if text and len(path) in (2, 4) and path[0] == 4:
            message = file.message_type[path[1]]  # type: ignore[attr-defined]
            name = f"{file.package}.{message.name}"  # type: ignore[attr-defined]
            if len(path) == 4 and path[2] == 2:
                name += "." + message.field[path[3]].name
            texts[name] = text
    return texts


def main() -> int:
    check = "--check" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        generate(out)
        fresh = {path.relative_to(out): path.read_text() for path in out.rglob("*") if path.is_file()}
    stale = [str(name) for name, text in fresh.items() if not same(ROOT / name, text)]
    if check:
        print("\n".join(f"stale: {name} (run `make generate`)" for name in stale) or "generated code is fresh")
        return 1 if stale else 0
    for name, text in fresh.items():
        target = ROOT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return 0


def same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
