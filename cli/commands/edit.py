"""`kctl edit`: objects in an editor; what is saved there is patched, and errors come back as comments.

Source: kubectl's pkg/cmd/util/editor (editoptions.go).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cli import changing, complaints, editing, files, flags, output
from cli.changing import Target
from pinnace.errors import ApiError, BadRequest, Internal, Invalid, NotFound

# Times that the editor is opened: more are a script that answers every error with another one.
TRIES = 100
CHANGED = "At least one of apiVersion, kind and name was changed"


@dataclass(slots=True)
class Original:
    """An object as it was read; `sent` is the patch that was accepted since."""

    target: Target
    document: dict[str, Any]
    sent: dict[str, Any] = field(default_factory=dict)


def run(arguments: list[str]) -> int:
    parser = flags.Parser("edit", "Edit objects with $KUBE_EDITOR or $EDITOR (default: vi): kctl edit pod web")
    parser.add_argument("what", nargs="*", help="TYPE [NAME...], or TYPE/NAME...")
    flags.add_files(parser)
    parser.add_argument("-o", "--output", default="yaml", choices=("yaml", "json"), help="format to edit (default: yaml)")
    parser.add_argument("--output-patch", action="store_true", help="print each patch that is sent")
    parser.add_argument("--field-manager", default="", help="owner of the changed fields (default: kctl-edit)")
    parser.add_argument("--subresource", default="", choices=("", "resize", "status"), help="edit this part of the objects")
    args = parser.parse_intermixed_args(arguments)
    args.dry_run = "none"
    client = flags.client(args)
    originals = _originals(client, args)
    if not originals:
        raise BadRequest("edit cancelled, no objects found")
    number, name = tempfile.mkstemp(prefix="kctl-edit-", suffix=f".{args.output}")
    os.close(number)
    return _Session(client, args, originals, Path(name)).run()


def _originals(client: Any, args: Any) -> list[Original]:
    """The objects that the command line names. Raises BadRequest, NotFound."""
    if args.filename:
        manifests = files.Manifests(args)
        targets = [Target(item.kind, item.namespace or client.context.namespace, item.name) for item in manifests]
        if manifests.report():
            raise BadRequest("edit cancelled: not every file could be read")
    else:
        targets = [Target(kind, client.context.namespace, name) for kind, name in flags.targets(args.what)]
    found = []
    for target in targets:
        if args.subresource and not target.name:
            raise BadRequest("subresource cannot be used when bulk resources are selected")
        items = (
            [client.get(*target, subresource=args.subresource)] if target.name else client.list(target.kind, target.namespace)
        )
        if not all(item.metadata.uid for item in items):
            raise Internal(f"the control plane's reply is not a {target.kind.kind}: it has no uid")
        found += [
            Original(Target(target.kind, item.metadata.namespace, item.metadata.name), output.document(target.kind, item))
            for item in items
        ]
    return found


class _Session:
    """One file and its edits until they are saved or given up."""

    def __init__(self, client: Any, args: Any, originals: list[Original], path: Path) -> None:
        self._client, self._args, self._path = client, args, path
        self._originals = {item.document.get("metadata", {}).get("uid", ""): item for item in originals}
        # Errors that the next text begins with.
        self._reasons: list[str] = []
        # Whether the file has edits that are not in the cluster.
        self._keep = False

    def run(self) -> int:
        """The exit code. The file stays where it has edits that could not be saved. Raises ApiError."""
        try:
            return self._edit()
        finally:
            if self._keep:
                print(f'A copy of your changes has been stored to "{self._path}"', file=sys.stderr)
            else:
                self._path.unlink(missing_ok=True)

    def _edit(self) -> int:
        documents = [item.document for item in self._originals.values()]
        original = output.structured(self._args.output, documents, single=len(documents) == 1)
        before = original
        for _ in range(TRIES):
            comment = editing.header(self._reasons) if self._args.output == "yaml" or self._reasons else ""
            edited = editing.edit(self._path, comment + editing.stripped(before))
            if self._reasons and editing.same(edited, before):
                self._keep = True
                raise BadRequest("Edit cancelled, no valid changes were saved.")
            if editing.same(edited, original):
                return self._cancelled("no changes made.")
            if not editing.stripped(edited):
                return self._cancelled("saved file was empty.")
            before, self._keep = edited, True
            done = self._save(edited)
            if done is not None:
                return done
        raise BadRequest(f"edit cancelled after {TRIES} attempts")

    def _cancelled(self, why: str) -> int:
        print(f"Edit cancelled, {why}", file=sys.stderr)
        self._keep = False
        return 0

    def _save(self, edited: str) -> int | None:
        """Send what was edited; returns the exit code, or None to edit again, with the reasons. Raises BadRequest."""
        # Without the header, which JSON has no place for; lines are those of the text below it.
        self._path.write_text(editing.stripped(edited), encoding="utf-8")
        self._reasons = []
        manifests = files.Manifests(
            SimpleNamespace(filename=[str(self._path)], recursive=False, namespace="", kctl_command="edit")
        )
        items = list(manifests)
        if manifests.errors:
            self._reasons = ["The edited file had a syntax error:", *manifests.errors]
            return None
        failed = [not self._patch(item) for item in items]
        if self._reasons:
            return None
        self._keep = any(failed)
        return 1 if any(failed) else 0

    def _patch(self, item: files.Item) -> bool:
        """False when an object cannot be saved, for a reason that no edit removes. Raises BadRequest."""
        original = self._originals.get(item.value.get("metadata", {}).get("uid", ""))
        if original is None or (item.kind, item.name) != (original.target.kind, original.target.name):
            raise BadRequest(CHANGED)
        patch = editing.merge_patch(original.document, item.value)
        word = changing.word_of(item.kind, item.name)
        if patch == original.sent:
            if not patch:
                print(f"{word} skipped", flush=True)
            return True
        if self._args.output_patch:
            print(f"Patch: {json.dumps(patch)}", flush=True)
        try:
            changing.patch(self._client, original.target, patch, "edit", self._args)
        except Invalid as error:
            complaints.report(f'error: {item.kind.resource} "{item.name}" is invalid')
            causes = [f"* {cause}" for cause in error.causes] or [f"* {error.message}"]
            self._reasons += [f'{item.kind.resource} "{item.name}" was not valid:', *causes]
            return True
        except ApiError as error:
            return self._failed(item, error)
        original.sent = patch
        print(f"{word} edited", flush=True)
        return True

    def _failed(self, item: files.Item, error: ApiError) -> bool:
        word = f'{item.kind.resource} "{item.name}"'
        if isinstance(error, NotFound):
            complaints.report(f"error: {word} could not be found on the server")
        else:
            complaints.report(f"error: {word} could not be patched: {error.message}")
            complaints.report(f"You can run `kctl replace -f {self._path}` to try this update again.")
        return False
