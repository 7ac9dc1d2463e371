"""PodTemplates: a template has the defaults and the rules of the pods that are made from it.

Source: core/v1's ValidatePodTemplate and ValidatePodTemplateSpec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors
from pinnace.admission import meta, pods, podwarnings
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.podtemplate_pb2 import PodTemplate
from pinnace.errors import Cause


def prepare_spec(template: Any) -> None:
    """`pods.prepare` for a template."""
    pod = _pod(template)
    pods.prepare(pod, None)
    _take(template, pod)


def default_spec(template: Any) -> None:
    """`pods.default` for a template, except for the tolerations, which admission gives to each pod."""
    pod = _pod(template)
    pods.default_spec(pod.spec)
    _take(template, pod)


def validate_spec(template: Any, path: str) -> Iterator[Cause]:
    """Errors of a PodTemplateSpec at `path`; those of field options are found elsewhere."""
    yield from _under(path, meta.labels("metadata.labels", template.metadata.labels))
    yield from _under(path, meta.annotation_map(template.metadata.annotations))
    yield from _under(path, pods.validate(_pod(template)))
    if template.spec.ephemeralContainers:
        yield fielderrors.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def warnings(template: Any, path: str) -> list[str]:
    """Those of its pods."""
    return [f"{path}.{text}" for text in podwarnings.warnings(_pod(template))]


def _under(path: str, causes: Iterator[Cause] | list[Cause]) -> Iterator[Cause]:
    for cause in causes:
        yield cause._replace(field=f"{path}.{cause.field}" if cause.field else path)


def _pod(template: Any) -> Any:
    pod: Any = Pod()
    pod.spec.CopyFrom(template.spec)
    pod.metadata.annotations.update(template.metadata.annotations)
    return pod


def _take(template: Any, pod: Any) -> None:
    template.spec.CopyFrom(pod.spec)
    if pod.metadata.annotations:
        template.metadata.annotations.clear()
        template.metadata.annotations.update(pod.metadata.annotations)


def prepare(item: PodTemplate, _: PodTemplate | None) -> None:
    if item.template.HasField("spec"):
        prepare_spec(item.template)


def default(item: PodTemplate) -> None:
    if item.template.HasField("spec"):
        default_spec(item.template)


def validate(item: PodTemplate) -> list[Cause]:
    return list(validate_spec(item.template, "template")) if item.template.HasField("spec") else []


RULES: KindRules[PodTemplate] = KindRules(prepare=prepare, default=default, validate=validate)
