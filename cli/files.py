"""Objects from manifests, and errors that name their place.

What cannot be read, or is of a kind that is not served, does not affect the rest: it is reported, and kctl's exit code is 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cli import complaints, discovery, filenames
from pinnace import codec, kinds, manifest, schema
from pinnace.errors import ApiError, BadRequest, Cause, Invalid, NotFound
from pinnace.kinds import Kind
from pinnace.manifest import Document


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a file; `path` is where it stands in its document (in a List: `items[2]`)."""

    document: Document
    kind: Kind
    value: dict[str, Any]
    path: str = ""

    @property
    def name(self) -> str:
        return _meta(self.value, "name")

    @property
    def namespace(self) -> str:
        return _meta(self.value, "namespace")

    def body(self) -> bytes:
        """The object as JSON."""
        return json.dumps(self.value, ensure_ascii=False).encode("utf-8", "surrogatepass")

    @property
    def place(self) -> str:
        """`pod.yaml:14`, where the object begins."""
        return f"{self.document.source}:{self.document.line_of(self.path)}"

    def locate(self, cause: Cause) -> str:
        """`pod.yaml:14: spec...: message`."""
        return self.document.locate(Cause(codec.join(self.path, cause.field), cause.message))

    def locate_all(self, causes: Iterable[Cause]) -> list[str]:
        """In the order of their lines."""
        ordered = sorted(causes, key=lambda cause: self.document.line_of(codec.join(self.path, cause.field)))
        return [self.locate(cause) for cause in ordered]

    def faults(self, *, generates: bool = False) -> tuple[Cause, ...]:
        """Every error that can be seen without the server; with `generates` a generateName is enough of a name."""
        from pinnace.admission import admit, explain

        value = {key: entry for key, entry in self.value.items() if key not in ("apiVersion", "kind", "status")}
        try:
            message: Any = codec.decode(self.kind.cls, value)
            message.metadata.namespace = message.metadata.namespace or ("default" if self.kind.namespaced else "")
            if generates and message.metadata.generateName and not message.metadata.name:
                # Of the length that the server's names have.
                message.metadata.name = message.metadata.generateName[:58] + "xxxxx"
            admit(self.kind, message)
        except codec.FieldError as error:
            return explain(self.kind, error).causes
        except Invalid as error:
            return error.causes
        return ()

    def explain(self, error: ApiError) -> str:
        """Why the object was refused: every field at fault by its place, or else the server's reason."""
        causes = [cause for cause in error.causes if cause.reason != "FieldManagerConflict"]
        if causes:
            return "\n".join(self.locate_all(causes))
        if error.reason in ("BadRequest", "ServiceUnavailable"):
            return f"error: {self.place}: {error.message}"
        return f"Error from server ({error.reason}): {self.place}: {error.message}"


class Manifests:
    """The objects of all files of a command line, one file after another. After they are read, `report` tells the errors."""

    def __init__(self, args: Any) -> None:
        """`args` are those of flags.add_files. Raises BadRequest for paths that do not exist."""
        if not args.filename:
            raise BadRequest("must specify one of -f FILE, a directory, or -f - for standard input")
        self._names = filenames.expand(args.filename)
        self._recursive = args.recursive
        self._namespace = args.namespace
        self._command = args.kctl_command
        self._errors: list[str] = []

    def __iter__(self) -> Iterator[Item]:
        """Raises BadRequest when there is nothing at all."""
        nothing = True
        for name in self._names:
            for path in filenames.walk(name, recursive=self._recursive):
                for item in self._file(path, given=path == name):
                    nothing = False
                    yield item
        if nothing and not self._errors:
            raise BadRequest(f"no objects passed to {self._command}")

    def fail(self, error: str) -> None:
        """Have `report` tell an error."""
        self._errors.append(error)

    @property
    def errors(self) -> tuple[str, ...]:
        """What `report` would print."""
        return tuple(self._errors)

    def report(self) -> int:
        """Print the errors; returns how many there are."""
        for error in self._errors:
            complaints.report(error)
        return len(self._errors)

    def _file(self, path: str | OSError, *, given: bool) -> Iterator[Item]:
        try:
            if isinstance(path, OSError):
                raise path
            data = filenames.read(path, given=given)
        except OSError as error:
            self.fail(f"error: {error.filename}: {error.strerror}")
            return
        for document in manifest.read(data, "stdin" if path == filenames.STDIN else path):
            for warning in document.warnings:
                complaints.report(f"Warning: {warning}")
            self._errors += document.errors
            if not document.errors:
                yield from self._objects(document, document.value, "")
            elif document.value is not None:
                # Not to be sent, but all that is wrong with it is told at once.
                for item in self._objects(document, document.value, ""):
                    self._errors += item.locate_all(item.faults())

    def _objects(self, document: Document, value: Any, path: str) -> Iterator[Item]:
        """The object at `path`, or those of the list there."""
        faults = _type_faults(value)
        if faults:
            self._errors += [document.locate(Cause(codec.join(path, fault.field), fault.message)) for fault in faults]
            return
        if _is_list(value):
            for index, item in enumerate(value.get("items") or ()):
                yield from self._objects(document, _typed(item, value), codec.join(path, f"items[{index}]"))
            return
        try:
            item = Item(document, discovery.find(value["apiVersion"], value["kind"]), value, path)
            document.restore_letters(schema.of(item.kind.cls), value)
        except NotFound:
            self.fail(_no_match(document, value, path))
            return
        if item.kind is kinds.CUSTOM_RESOURCE_DEFINITION:
            # Objects of its kinds may follow in the same files.
            discovery.learn(value)
        wrong = self._wrong_namespace(item)
        if wrong:
            self.fail(wrong)
        else:
            yield item

    def _wrong_namespace(self, item: Item) -> str:
        asked, found = self._namespace, item.namespace
        if not asked or not found or found == asked or not item.kind.namespaced:
            return ""
        return (
            f'error: the namespace from the provided object "{found}" does not match the namespace "{asked}". '
            f"You must pass '--namespace={found}' to perform this operation. ({item.place})"
        )


def _meta(value: dict[str, Any], key: str) -> str:
    meta = value.get("metadata")
    found = meta.get(key) if isinstance(meta, dict) else None
    return "" if found is None else str(found)


def _type_faults(value: Any) -> list[Cause]:
    if not isinstance(value, dict):
        return [Cause("", f"expected an object, got {codec.describe(value)}")]
    faults = []
    for key in ("apiVersion", "kind"):
        found = value.get(key)
        if found is None or found == "":
            faults.append(Cause(key, "Required value"))
        elif not isinstance(found, str):
            faults.append(Cause(key, f"expected a string, got {codec.describe(found)} (put it in quotes)"))
    return faults


def _is_list(value: dict[str, Any]) -> bool:
    """`List`, `ConfigMapList` and the like, also of kinds that are not served: their items are reported one by one."""
    return str(value["kind"]).endswith("List") and isinstance(value.get("items", []), (list, type(None)))


def _typed(item: Any, parent: dict[str, Any]) -> Any:
    """An item of a typed list, such as a PodList, need not say what it is. Source: decodeToList of unstructured/helpers.go."""
    kind = parent["kind"].removesuffix("List")
    if not isinstance(item, dict) or not kind or item.get("apiVersion") or item.get("kind"):
        return item
    return {**item, "apiVersion": parent["apiVersion"], "kind": kind}


def _no_match(document: Document, value: dict[str, Any], path: str) -> str:
    """In kubectl's words. Source: infoForData of k8s.io/cli-runtime."""
    name, namespace = _meta(value, "name"), _meta(value, "namespace")
    source = "STDIN" if document.source == "stdin" else document.source
    line = document.line_of(codec.join(path, "kind"))
    return (
        f'error: resource mapping not found for name: "{name}" namespace: "{namespace}" from "{source}": '
        f'no matches for kind "{value["kind"]}" in version "{value["apiVersion"]}"\n'
        f"ensure CRDs are installed first ({document.source}:{line}; kctl api-resources lists the kinds that are served)"
    )
