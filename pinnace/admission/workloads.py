"""Rules that workloads share: a selector that matches the template, and a template of pods that never end by themselves.

Source: apps/validation (ValidatePodTemplateSpecForReplicaSet and its callers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, labelselectors
from pinnace.admission import podtemplates
from pinnace.errors import Cause


def prepare(spec: Any) -> None:
    """Before defaults: older forms in the template become the newer ones."""
    if spec.HasField("template") and spec.template.HasField("spec"):
        podtemplates.prepare_spec(spec.template)


def default(spec: Any) -> None:
    """Defaults of the template's pods."""
    if spec.HasField("template") and spec.template.HasField("spec"):
        podtemplates.default_spec(spec.template)


def selector_errors(spec: Any, kind: str = "deployment") -> Iterator[Cause]:
    """Of `spec.selector` alone; `kind` as Kubernetes' text has it. That it is there is a rule of the field."""
    if not spec.HasField("selector"):
        return
    yield from labelselectors.validate(spec.selector, "spec.selector")
    if not labelselectors.requirements(spec.selector):
        yield fielderrors.invalid("spec.selector", {}, f"empty selector is invalid for {kind}")


def template_errors(spec: Any, kind: str) -> Iterator[Cause]:
    """Of a template of pods that are restarted for ever; `kind` is that of the workload."""
    if not spec.HasField("template"):
        return
    template, path = spec.template, "spec.template"
    if spec.HasField("selector") and not _matches(spec.selector, template):
        labels = dict(template.metadata.labels)
        yield fielderrors.invalid(f"{path}.metadata.labels", labels, "`selector` does not match template `labels`")
    if not template.HasField("spec"):
        return
    yield from podtemplates.validate_spec(template, path)
    if template.spec.restartPolicy != "Always":
        yield fielderrors.not_supported(f"{path}.spec.restartPolicy", template.spec.restartPolicy, ("Always",))
    if template.spec.HasField("activeDeadlineSeconds"):
        yield fielderrors.forbidden(f"{path}.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")


def _matches(selector: Any, template: Any) -> bool:
    """An invalid selector has errors of its own."""
    return any(labelselectors.validate(selector, "")) or labelselectors.matches(selector, template.metadata.labels)


def negative_counts(status: Any, names: tuple[str, ...]) -> Iterator[Cause]:
    """Errors of counts in a status below 0."""
    for name in names:
        if getattr(status, name) < 0:
            yield fielderrors.invalid(f"status.{name}", getattr(status, name), "must be greater than or equal to 0")


def excess_counts(status: Any, pairs: tuple[tuple[str, str], ...]) -> Iterator[Cause]:
    """Errors of counts in a status that are a part of another count and greater than it."""
    for part, whole in pairs:
        if getattr(status, part) > getattr(status, whole):
            yield fielderrors.invalid(f"status.{part}", getattr(status, part), f"cannot be greater than status.{whole}")
