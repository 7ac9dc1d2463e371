"""`kctl image inspect` and `kctl image history`: what an image's config says, from a node that has it."""

from __future__ import annotations

import json
from typing import Any

from cli import flags, nodewise, tables
from cli.commands import imagesave
from cli.sizes import size

_SHOWN = 60


def configure_inspect(parser: Any) -> None:
    parser.add_argument("name", nargs="+", help="name or id of an image")
    nodewise.add_flag(parser)


def configure_history(parser: Any) -> None:
    parser.add_argument("name", help="name or id of an image")
    parser.add_argument("--no-trunc", action="store_true", help="show commands in full")
    nodewise.add_flag(parser)


def inspect(args: Any) -> int:
    """A JSON array, with the members of `docker image inspect`. Raises NotFound."""
    client = flags.client(args)
    print(json.dumps([_details(client, name, args.node) for name in args.name], indent=4, ensure_ascii=False))
    return 0


def _details(client: Any, name: str, chosen: list[str]) -> dict[str, Any]:
    node, image = imagesave.find(client, name, chosen)
    config: dict[str, Any] = json.loads(image.document)
    sizes = {layer.diff_id: layer.size for layer in image.layers}
    return {
        "Id": image.config.id, "RepoTags": list(image.references), "Created": config.get("created", ""),
        "Author": config.get("author", ""), "Architecture": config.get("architecture", ""), "Os": config.get("os", ""),
        "Variant": config.get("variant", ""), "Size": sum(sizes.values()), "Config": config.get("config") or {},
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)}, "Node": node,
    }  # fmt: skip


def history(args: Any) -> int:
    """The newest step first, as `docker history`. Raises NotFound."""
    _, image = imagesave.find(flags.client(args), args.name, args.node)
    print(tables.render([["CREATED", "CREATED BY", "SIZE", "COMMENT"], *rows(image, whole=args.no_trunc)]))
    return 0


def rows(image: Any, *, whole: bool) -> list[list[str]]:
    """One for each step of the config's history, with the bytes of its layer's tar; layers without history come last."""
    found = []
    layers = [layer.size for layer in image.layers]
    steps = json.loads(image.document).get("history")
    for step in steps if isinstance(steps, list) else []:
        step = step if isinstance(step, dict) else {}
        count = 0 if step.get("empty_layer") or not layers else layers.pop(0)
        text = " ".join(str(step.get("created_by") or "").split())
        shown = text if whole or len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
        found.append([str(step.get("created") or ""), shown, size(count), str(step.get("comment") or "")])
    return [*([["", "", size(count), "no history"] for count in layers[::-1]]), *found[::-1]]
