"""ReplicationControllers: their selector and labels are the template's where they have none.

Source: core/validation (ValidateReplicationController, ValidateReplicationControllerSpec) and core/v1's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from pinnace import fielderrors
from pinnace.admission import meta, podtemplates, workloads
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.replicationcontroller_pb2 import ReplicationController
from pinnace.errors import Cause
from pinnace.messages import includes

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
_PARTS = (("fullyLabeledReplicas", "replicas"), ("readyReplicas", "replicas"), ("availableReplicas", "replicas"),
          ("availableReplicas", "readyReplicas"))  # fmt: skip


def prepare(item: ReplicationController, _: ReplicationController | None) -> None:
    workloads.prepare(item.spec)


def default(item: ReplicationController) -> None:
    workloads.default(item.spec)
    labels = item.spec.template.metadata.labels
    if not item.spec.selector:
        item.spec.selector.update(labels)
    if not item.metadata.labels:
        item.metadata.labels.update(labels)


def validate(item: ReplicationController) -> list[Cause]:
    return list(_errors(item))


def _errors(item: ReplicationController) -> Iterator[Cause]:
    spec, path = item.spec, "spec.template"
    if not spec.selector:
        yield fielderrors.required("spec.selector")
    yield from meta.labels("spec.selector", spec.selector)
    if not spec.HasField("template"):
        return
    labels = spec.template.metadata.labels
    if not includes(labels, spec.selector):
        yield fielderrors.invalid(f"{path}.metadata.labels", dict(labels), "`selector` does not match template `labels`")
    if not spec.template.HasField("spec"):
        return
    yield from podtemplates.validate_spec(spec.template, path)
    if spec.template.spec.restartPolicy != "Always":
        yield fielderrors.not_supported(f"{path}.spec.restartPolicy", spec.template.spec.restartPolicy, ("Always",))
    if spec.template.spec.HasField("activeDeadlineSeconds"):
        text = "activeDeadlineSeconds in ReplicationController is not Supported"
        yield fielderrors.forbidden(f"{path}.spec.activeDeadlineSeconds", text)


def validate_status(new: ReplicationController, old: ReplicationController) -> list[Cause]:
    return [*workloads.negative_counts(new.status, _COUNTS), *workloads.excess_counts(new.status, _PARTS)]


RULES: KindRules[ReplicationController] = KindRules(
    prepare=prepare, default=default, validate=validate, validate_status=validate_status
)
