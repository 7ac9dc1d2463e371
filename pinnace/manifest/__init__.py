"""Manifests: YAML or JSON text to plain values, remembering on which line each path stands.

Read as kubectl reads them (sigs.k8s.io/yaml, apimachinery's YAMLOrJSONDecoder), but stricter where that loses data without
a word: duplicate keys, tags of one's own and text behind `...` are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pinnace.errors import Cause, Invalid
from pinnace.manifest import jsontext, splitting
from pinnace.manifest.building import MAX_VALUES, Budget, Builder, Unreadable
from pinnace.manifest.letters import Letters, restore
from pinnace.manifest.scalars import resolve
from pinnace.schema import Schema

__all__ = ["MAX_BYTES", "MAX_VALUES", "Document", "load", "read", "resolve"]
MAX_BYTES = 16 << 20


@dataclass(slots=True)
class Document:
    """One document. `lines` maps a path such as `spec.containers[0].image` to its line, counted from 1.

    `errors` are those of the text (syntax, duplicate keys), each with its line in front. A document that has some is not to
    be used: its value, if it could be read to its end, is only good for finding more errors.
    """

    source: str
    value: Any
    line: int
    lines: dict[str, int] = field(default_factory=dict)
    letters: Letters = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def line_of(self, path: str) -> int:
        """The line of `path`, or of its nearest parent that has one."""
        while path:
            if path in self.lines:
                return self.lines[path]
            parent = re.sub(r"(\.[^.\[\]]*|\[[^\]]*\]|^[^.\[]*)\Z", "", path)
            # A path with brackets in its keys, or cut off on its way, has no such end.
            path = parent if len(parent) < len(path) else path[:-1]
        return self.line

    def restore_letters(self, spec: Schema, value: Any) -> None:
        """Have `y`, `Y`, `n` and `N` be text in the fields of text of `value`, an object of the document, which changes."""
        restore(spec, value, self.letters)

    def locate(self, cause: Cause) -> str:
        """`pod.yaml:14: spec.containers[0].image: ...`, as compilers write it."""
        return f"{self.source}:{self.line_of(cause.field)}: {cause}"


def load(data: bytes, source: str, *, values: int = MAX_VALUES) -> list[Document]:
    """Every document of a stream, empty ones left out, of at most so many `values` together.

    Raises Invalid with the errors of the first broken one."""
    documents = []
    for document in read(data, source, values=values):
        if document.errors:
            causes = tuple(Cause("", error) for error in document.errors)
            raise Invalid("\n".join(document.errors), causes=causes)
        documents.append(document)
    return documents


def read(data: bytes, source: str, *, values: int = MAX_VALUES) -> Iterator[Document]:
    """Every document of a stream, empty ones left out, broken ones with `errors`; one does not affect the next."""
    if len(data) > MAX_BYTES:
        yield _broken(source, 1, f"the file is larger than {MAX_BYTES >> 20} MiB")
        return
    text, replaced = splitting.decode(data)
    warning = f"{source}:{replaced}: not valid UTF-8: such bytes are read as U+FFFD (save the file as UTF-8)"
    warnings = (warning,) if replaced else ()
    budget = Budget(values)
    for chunk in splitting.split(text):
        for document in _chunk(chunk, source, budget):
            document.warnings, warnings = warnings, ()
            yield document


def _broken(source: str, line: int, message: str) -> Document:
    return Document(source, None, line, errors=(f"{source}:{line}: {message}",))


def _chunk(chunk: splitting.Chunk, source: str, budget: Budget) -> Iterator[Document]:
    """A chunk that begins with a brace is a sequence of JSON objects; what is no JSON in it is YAML."""
    if chunk.error:
        yield _broken(source, chunk.line, chunk.error)
        return
    reader = jsontext.Reader(chunk.text, chunk.line)
    end, line, before = 0, chunk.line, budget.values
    while reader.at_object():
        builder, first = Builder(budget), reader.line
        try:
            reader.read(builder)
        except jsontext.NotJson:
            budget.values = before
            break
        except Unreadable as error:
            yield _broken(source, error.line, error.message)
            return
        yield from _finish(builder, source, first)
        end, before = reader.end, budget.values
        line = reader.line - chunk.text.count("\n", end, reader.position)
    rest = chunk.text[end:]
    if rest.strip():
        # libyaml's binding takes 1 MB, and servers get JSON.
        from pinnace.manifest import yamltext

        builder = Builder(budget)
        yield from _finish(builder, source, yamltext.read(builder, rest, line))


def _finish(builder: Builder, source: str, line: int) -> Iterator[Document]:
    if builder.value is None and not builder.errors:
        return
    errors = tuple(f"{source}:{at}: {cause}" for at, cause in builder.listed_errors())
    yield Document(source, builder.value, line, builder.lines, builder.letters, errors)
