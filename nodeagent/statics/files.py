"""Static pods: manifests in a folder of the node, run by its agent whatever the control plane says or whether it is there.

A file is one Pod. Its pod is called NAME-NODE and has a uid made of the node, the file and what the file says, so that
an agent that starts again knows its own pods, and a file that says something else is another pod.
Source: kubelet's file source (--pod-manifest-path) and its defaults for static pods.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace import codec, kinds, manifest, podreferences, podresources, schema
from pinnace.admission import admit, explain
from pinnace.codec import FieldError
from pinnace.errors import Cause, Invalid
from pinnace.manifest import Document

log = logging.getLogger("pinnace.staticpods")
MAX_FILES, MAX_ENTRIES = 100, 10_000
MAX_BYTES = 1 << 20
# What changes when a file is written, replaced or touched.
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """What was last read of a file: its pod, or why it has none."""

    stamp: Stamp
    pod: Any | None
    fault: str = ""


class StaticPods:
    def __init__(self, folder: Path, node: str, event: Callable[[str, str, bool], None]) -> None:
        """`event` takes reason, message and whether it is a warning, about the node."""
        self._folder = folder
        self._node = node
        self._event = event
        self._files: dict[str, _File] = {}
        self._fault = ""

    def pods(self) -> list[Any]:
        """The pods that are wanted now, each name once."""
        found: dict[tuple[str, str], Any] = {}
        for name in sorted(self._files):
            pod = self._files[name].pod
            if pod is not None:
                found.setdefault((pod.metadata.namespace, pod.metadata.name), pod)
        return list(found.values())

    def read(self) -> bool:
        """Look at the folder; returns whether other pods are wanted than before. Cheap while nothing has changed."""
        before = [pod.metadata.uid for pod in self.pods()]
        stamps = self._stamps()
        if stamps is None:
            return False
        for name in [name for name in self._files if name not in stamps]:
            del self._files[name]
        for name, stamp in stamps.items():
            known = self._files.get(name)
            if known is None or known.stamp != stamp:
                self._files[name] = self._load(name, stamp, known)
        self._complain_twins()
        return before != [pod.metadata.uid for pod in self.pods()]

    def _stamps(self) -> dict[str, Stamp] | None:
        """None when the folder cannot be read: then everything stays as it is."""
        found: dict[str, Stamp] = {}
        try:
            with os.scandir(self._folder) as entries:
                names = sorted(entry.name for entry in itertools.islice(entries, MAX_ENTRIES) if entry.name[0] != ".")
        except FileNotFoundError:
            # No folder is a folder without files: it may be made later.
            return {}
        except OSError as error:
            self._complain(f"{self._folder}: {error.strerror}")
            return None
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                observed = os.stat(self._folder / name)
                if stat.S_ISREG(observed.st_mode):
                    found[name] = (observed.st_mtime_ns, observed.st_size, observed.st_ino)
        if len(found) > MAX_FILES:
            self._complain(f"{self._folder}: more than {MAX_FILES} files; the rest is not looked at")
        return dict(itertools.islice(found.items(), MAX_FILES))

    def _load(self, name: str, stamp: Stamp, before: _File | None) -> _File:
        path = self._folder / name
        try:
            with open(path, "rb") as file:
                pod = parse(file.read(MAX_BYTES + 1), str(path), self._node)
        except (Invalid, OSError) as error:
            fault = error.message if isinstance(error, Invalid) else f"{path}: {error.strerror}"
            log.error("static_pod_refused %s", fault)
            self._event("FailedStaticPod", fault, True)
            # A file that is broken while it is edited does not take its pod down.
            return _File(stamp, before.pod if before is not None else None, fault)
        log.info("static_pod file=%s pod=%s/%s uid=%s", path, pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
        return _File(stamp, pod)

    def _complain_twins(self) -> None:
        first: dict[tuple[str, str], str] = {}
        twins = []
        for name, file in sorted(self._files.items()):
            if file.pod is not None:
                key = (file.pod.metadata.namespace, file.pod.metadata.name)
                if first.setdefault(key, name) != name:
                    twins.append(f"{self._folder / name}: pod {key[0]}/{key[1]} is in {first[key]} already")
        if twins:
            self._complain("; ".join(twins))

    def _complain(self, fault: str) -> None:
        """Once for each different fault of the folder as a whole."""
        if fault != self._fault:
            self._fault = fault
            log.error("static_pods_refused %s", fault)
            self._event("FailedStaticPod", fault, True)


def parse(data: bytes, source: str, node: str) -> Any:
    """The pod of one file. Raises Invalid with `source:line:` in its message."""
    if len(data) > MAX_BYTES:
        raise Invalid(f"{source}: the file is larger than {MAX_BYTES >> 20} MiB")
    documents = manifest.load(data, source)
    if len(documents) != 1:
        raise Invalid(f"{source}: expected one Pod, found {len(documents)} documents")
    document = documents[0]
    for warning in document.warnings:
        log.warning("static_pod_warning %s", warning)
    pod = _decode(document)
    _check_own(document, pod)
    _name(pod, node, source)
    try:
        admit(kinds.POD, pod)
    except Invalid as error:
        raise _located(document, error) from None
    pod.status.phase, pod.status.qosClass = "Pending", podresources.qos_class(pod.spec)
    return pod


def _decode(document: Document) -> Any:
    value = document.value
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind != "Pod" or value.get("apiVersion") != "v1":
        raise Invalid(document.locate(Cause("kind", f"expected a Pod of apiVersion v1, got {codec.describe(kind)}")))
    document.restore_letters(schema.of(kinds.POD.cls), value)
    try:
        return codec.decode(kinds.POD.cls, {key: item for key, item in value.items() if key not in ("apiVersion", "kind")})
    except FieldError as error:
        raise _located(document, explain(kinds.POD, error)) from None


def _located(document: Document, error: Invalid) -> Invalid:
    return Invalid("; ".join(document.locate(cause) for cause in error.causes) or error.message, causes=error.causes)


def _check_own(document: Document, pod: Any) -> None:
    """What a pod of a file cannot have, because only the API could give it."""
    faults = [
        Cause(path, "a static pod may not name objects of the API: it must run without them")
        for path in podreferences.fields(pod.spec)
    ]
    for field in ("serviceAccountName", "serviceAccount"):
        if getattr(pod.spec, field):
            faults.append(Cause(f"spec.{field}", "a static pod may not have a service account"))
    if pod.spec.schedulingGates:
        faults.append(Cause("spec.schedulingGates", "a static pod is not scheduled: it may not have scheduling gates"))
    if not pod.metadata.name:
        faults.append(Cause("metadata.name", "Required value", "FieldValueRequired"))
    if faults:
        raise _located(document, Invalid("", causes=tuple(faults)))


def _name(pod: Any, node: str, source: str) -> None:
    """As kubelet: the node's name in its name, and a uid of everything that makes it this pod."""
    meta = pod.metadata
    for field in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "ownerReferences"):
        meta.ClearField(field)
    pod.ClearField("status")
    for key in (podresources.SOURCE, podresources.HASH, podresources.MIRROR):
        meta.annotations.pop(key, None)
    meta.namespace = meta.namespace or "default"
    content = pod.SerializeToString(deterministic=True)
    # To know it again, not to keep anybody out.
    digest = hashlib.md5(b"\0".join((node.encode(), source.encode(), content)), usedforsecurity=False)
    meta.name, meta.uid = f"{meta.name}-{node}", digest.hexdigest()
    meta.annotations[podresources.SOURCE], meta.annotations[podresources.HASH] = "file", meta.uid
    pod.spec.nodeName = node
    # Nothing but its file takes it from its node.
    pod.spec.tolerations.add(operator="Exists", effect="NoExecute")
