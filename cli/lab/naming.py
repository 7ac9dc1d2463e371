"""Which lab is meant, and how hints name it."""

from __future__ import annotations

from typing import Any

from cli import contexts
from cli.lab import layout
from pinnace.errors import BadRequest


def chosen(args: Any) -> str:
    """--name, else the lab of the current context (or --context), else the only lab. Raises BadRequest."""
    if args.name:
        return str(layout.check_name(args.name))
    names = layout.names()
    context = _of_context(args, names)
    if context or len(names) == 1:
        return context or names[0]
    if not names:
        raise BadRequest("there is no lab on this machine: `kctl lab up` makes one")
    raise BadRequest(f"several labs exist, and the current context is not a lab's: add --name NAME ({', '.join(names)})")


def _of_context(args: Any, names: list[str]) -> str:
    """The lab whose control plane the context dials; empty for a context of something else, and for none."""
    config = contexts.load(contexts.path(args.config))
    wanted = args.context or config.get("current-context")
    if not wanted:
        return ""
    context = contexts.entry(config, "contexts", str(wanted)) if args.context or _has(config, str(wanted)) else {}
    if not context:
        return ""
    server = contexts.entry(config, "clusters", str(context.get("cluster"))).get("server")
    found = next((name for name in names if server == f"unix://{layout.Lab(name).socket}"), "")
    if args.context and not found:
        raise BadRequest(f'the context "{args.context}" is not of a lab on this machine: add --name NAME ({", ".join(names)})')
    return found


def _has(config: dict[str, Any], name: str) -> bool:
    return any(item.get("name") == name for item in config.get("contexts") or [])


def command(verb: str, name: str) -> str:
    """The command for a lab, for hints: with --name unless it is the only one."""
    return f"kctl lab {verb}" if layout.names() == [name] else f"kctl lab {verb} --name {name}"
