"""nftables commands in JSON, as lines that read like nft(8), so that a test compares whole tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def lines(commands: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each command, without the table's name. An unknown part of a command is a KeyError."""
    return [_command(*next(iter(command.items()))) for command in commands]


def _command(verb: str, body: dict[str, Any]) -> str:
    kind, value = next(iter(body.items()))
    words = [verb, kind, value["family"], value.get("chain") or value["name"] if kind != "table" else value["name"]]
    match kind:
        case "rule":
            words = [value["chain"] + ":", *(_expression(item) for item in value["expr"])]
        case "chain" if "hook" in value:
            words += [value["type"], value["hook"], str(value["prio"]), value["policy"]]
        case "set" if "type" in value:
            words += [str(value["type"]), _elements(value)]
        case "map":
            words += [" . ".join(value["type"]), ":", value["map"], _elements(value)]
        case "element":
            words += [_elements(value)]
    return " ".join(word for word in words if word)


def _elements(value: dict[str, Any]) -> str:
    items = value.get("elem", [])
    pairs = (f"{_expression(item[0])} : {item[1]}" if isinstance(item, list) else _expression(item) for item in items)
    return f"{{ {', '.join(pairs)} }}" if items else ""


def _expression(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    [(kind, body)] = value.items()
    match kind:
        case "match":
            return f"{_expression(body['left'])} {body['op']} {_expression(body['right'])}"
        case "drop" | "accept" | "masquerade" | "notrack":
            return str(kind)
        case "jump":
            return f"jump {body['target']}"
        case "dnat":
            return f"dnat to {_expression(body['addr'])} , {_expression(body['port'])}"
        case "map":
            return f"{_expression(body['key'])} map {body['data']}"
        case "meta" | "ct":
            return f"{kind} {body['key']}"
        case "fib":
            return f"fib {' '.join(body['flags'])} {body['result']}"
        case "payload" if "base" in body:
            return f"@{body['base']},{body['offset']},{body['len']}"
        case "payload":
            return f"{body['protocol']} {body['field']}"
        case "prefix":
            return f"{body['addr']}/{body['len']}"
        case "concat":
            return " . ".join(_expression(item) for item in body)
        case "range":
            return f"{body[0]}-{body[1]}"
        case "set":
            return f"{{ {', '.join(_expression(item) for item in body)} }}"
        case "&":
            return f"({_expression(body[0])} & {_expression(body[1])})"
    raise KeyError(kind)
