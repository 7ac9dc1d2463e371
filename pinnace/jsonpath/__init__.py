"""kubectl's JSONPath templates, one engine for -o jsonpath, custom-columns, --sort-by and wait.

The language is kubectl's, which is not RFC 9535: `$` and `@` both mean the current object, `{range}` and `{end}` repeat
a part of the template, and text stands outside of braces. Where kubectl fails, kctl also reads double-quoted keys
(`["a"]`), keys with dots in brackets (`['a.b']`), filters in filters, and templates without braces.

Source: the JSONPath page of the kubectl reference; client-go's util/jsonpath and its tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pinnace.errors import BadRequest
from pinnace.jsonpath import evaluation, gotext, parser
from pinnace.jsonpath.nodes import Block
from pinnace.jsonpath.scanning import scan, split

__all__ = ["Template", "relaxed", "shortened", "split"]
# Characters of one evaluation's output; a template can repeat a large object many times.
MAX_TEXT = 256 << 20


class Template:
    """A parsed template, for any number of objects. Without `allow_missing` a key that is not there is an error."""

    def __init__(self, text: str, *, allow_missing: bool = True) -> None:
        """Raises BadRequest for a template that cannot be parsed."""
        self.text = text
        self._block: Block = parser.parse(text)
        self._allow_missing = allow_missing

    def results(self, data: Any) -> list[list[Any]]:
        """The values that each text and each {...} finds, in order. Raises BadRequest."""
        try:
            return evaluation.results(self._block, data, allow_missing=self._allow_missing)
        except evaluation.Failed as error:
            raise BadRequest(f'error executing jsonpath "{shortened(self.text)}": {error}') from None

    def first(self, data: Any) -> list[Any]:
        """The values of the template's first part. Raises BadRequest."""
        found = self.results(data)
        return found[0] if found else []

    def render(self, data: Any) -> str:
        """As `-o jsonpath` prints it. Raises BadRequest."""
        return self._joined([gotext.printed(value) for value in values] for values in self.results(data))

    def render_json(self, data: Any) -> str:
        """As `-o jsonpath-as-json` prints it: a JSON array for each part. Raises BadRequest."""
        return self._joined([gotext.indented(values) + "\n"] for values in self.results(data))

    def _joined(self, parts: Iterable[list[str]]) -> str:
        out: list[str] = []
        size = 0
        for texts in parts:
            out.append(" ".join(texts))
            size += len(out[-1])
            if size > MAX_TEXT:
                raise BadRequest(f'jsonpath "{shortened(self.text)}" prints more than {MAX_TEXT >> 20} MiB')
        return "".join(out)


def relaxed(expression: str) -> str:
    """`{.a.b}` from `a.b`, `.a.b`, `{a.b}` or `{.a.b}`, as kubectl reads the paths of columns and waits.

    Raises BadRequest for a text with more than one pair of braces."""
    path = expression.strip()
    if path.startswith("{") and path.endswith("}"):
        path = path[1:-1].strip()
    path = path.removeprefix("$").removeprefix("@")
    if not path or any(char in "{}" for _, char, _ in scan(path, 0)):
        raise BadRequest(f'"{shortened(expression)}" is not a path such as .metadata.name or {{.metadata.name}}')
    return f"{{{path}}}" if path.startswith((".", "[")) else f"{{.{path}}}"


def shortened(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."
