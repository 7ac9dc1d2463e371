"""JSON data to YAML that every reader takes for the same data: this one, kubectl's, and those of YAML 1.1 and 1.2.

A text is written without quotes only where no reader sees anything else in it. Text of several lines is a block where that
shows it unchanged. What is printable is written as it is, whatever its script.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pinnace.manifest import scalars

# A key up to this length may stand on its line; YAML's limit is 1,024 characters.
_LONGEST_KEY = 1_000
# Everything but line breaks, control characters, byte order marks and what is no character.
_SHOWN = " -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
_HIDDEN = re.compile(f"[^{_SHOWN}]")
_BLOCK = re.compile(f"(?:[{_SHOWN}][{_SHOWN}\\t]*)?(?:\\n+[{_SHOWN}][{_SHOWN}\\t]*)*\\n?")
_SPACE_BEFORE_BREAK = re.compile(r"[ \t](?:\n|\Z)")
# Not an indicator in front (a dash may be, before something else), no `: `, no ` #`.
_PLAIN = re.compile(r"(?:[^-\s?:,\[\]{}#&*!|>'\"%@`]|-(?!\s|--|\Z))(?:(?!: | #).)*(?<![\s:])\Z")
_NUMBERS = re.compile(
    r"""[-+]?(?:
        0[xXoObB]?[0-9a-fA-F_]*                         # in some base
      | [0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?     # base 60
      | (?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE][-+]?[0-9_]+)?
    )\Z | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ ].*)?\Z
    """,
    re.VERBOSE,
)
_WORDS = {"", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", "=", "<<", ".inf", "+.inf", "-.inf", ".nan"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0", "\x1b": "\\e"}


def dump(value: Any) -> str:
    """A document in block style, without a newline at its end."""
    out: list[str] = []
    if isinstance(value, (dict, list)) and value:
        _collection(out, value, "")
    else:
        out.append(_leaf(value, ""))
    return "\n".join(out)


def _collection(out: list[str], value: Any, pad: str) -> None:
    if isinstance(value, list):
        _sequence(out, value, pad)
    else:
        _mapping(out, value, pad)


def _mapping(out: list[str], value: dict[str, Any], pad: str) -> None:
    for name, item in value.items():
        key = _scalar(str(name))
        head = f"{pad}{key}:" if len(key) <= _LONGEST_KEY else f"{pad}? {key}\n{pad}:"
        if isinstance(item, (dict, list)) and item:
            out.append(head)
            # Entries of a list stand below the first letter of its key, as kubectl writes them.
            _collection(out, item, pad if isinstance(item, list) else pad + "  ")
        else:
            out.append(f"{head} {_leaf(item, pad + '  ')}")


def _sequence(out: list[str], value: list[Any], pad: str) -> None:
    for item in value:
        first = len(out)
        if isinstance(item, (dict, list)) and item:
            _collection(out, item, pad + "  ")
            out[first] = f"{pad}- {out[first][len(pad) + 2 :]}"
        else:
            out.append(f"{pad}- {_leaf(item, pad + '  ')}")


def _leaf(value: Any, pad: str) -> str:
    """Anything on one line, or a block whose lines begin with `pad`."""
    if isinstance(value, str):
        return _literal(value, pad) if _is_block(value) else _scalar(value)
    return json.dumps(value, default=str)


def _is_block(text: str) -> bool:
    """Whether a literal block shows the text as it is, without hints about its indentation or its last lines."""
    if "\n" not in text or text[0] in " \t" or text.endswith("\n\n"):
        return False
    return bool(_BLOCK.fullmatch(text)) and not _SPACE_BEFORE_BREAK.search(text) and text.lstrip("\n")[:1] not in ("", " ")


def _literal(text: str, pad: str) -> str:
    lines = "\n".join(pad + line if line else "" for line in text.removesuffix("\n").split("\n"))
    return f"|{'' if text.endswith(chr(10)) else '-'}\n{lines}"


def _scalar(text: str) -> str:
    """On one line: plain, in single quotes, or with escapes in double ones."""
    if _HIDDEN.search(text):
        return '"' + re.sub(f'[^{_SHOWN}]|[\\\\"]', _escape, text) + '"'
    if _PLAIN.match(text) and not _ambiguous(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _ambiguous(text: str) -> bool:
    if text.startswith("...") or text.lower() in _WORDS or _NUMBERS.match(text):
        return True
    return not isinstance(scalars.resolve(text), str)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
