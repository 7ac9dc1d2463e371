"""Jobs: generated selectors, defaults that depend on each other, and fields that go together.

Rules of a JobSpec take its path, since the template of a CronJob has one too. Policies are in `jobpolicies`.
Source: batch/validation (ValidateJob, ValidateJobUpdate), batch/v1's defaults, registry/batch/job's strategy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, labelselectors
from pinnace.admission import jobpolicies, jobstatuses, objectnames, podtemplates, workloads
from pinnace.admission.kindrules import KindRules
from pinnace.batch.v1.job_pb2 import Job
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.messages import clone
from pinnace.wellknown import (
    JOB_CONTROLLER_UID,
    JOB_NAME,
    LEGACY_JOB_CONTROLLER_UID,
    LEGACY_JOB_NAME,
)

INDEXED, NON_INDEXED = "Indexed", "NonIndexed"
FAILED, TERMINATING_OR_FAILED = "Failed", "TerminatingOrFailed"
# Without a limit: the largest int32.
UNLIMITED = 2**31 - 1
DEFAULT_BACKOFF_LIMIT = 6
# Bounds of Indexed Jobs.
MAX_PARALLELISM, MAX_FAILED_INDEXES = 100_000, 100_000
MANY_COMPLETIONS, MAX_PARALLELISM_OF_MANY, MAX_FAILED_INDEXES_OF_MANY = 100_000, 10_000, 10_000
MAX_MANAGED_BY = 63
_IMMUTABLE = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def prepare(item: Job, _: Job | None) -> None:
    workloads.prepare(item.spec)


def default(item: Job) -> None:
    default_spec(item.spec)
    if not item.metadata.labels:
        item.metadata.labels.update(item.spec.template.metadata.labels)


def default_spec(spec: Any) -> None:
    workloads.default(spec)
    if not spec.HasField("parallelism"):
        spec.parallelism = 1
        if not spec.HasField("completions"):
            spec.completions = 1
    if not spec.HasField("backoffLimit"):
        spec.backoffLimit = UNLIMITED if spec.HasField("backoffLimitPerIndex") else DEFAULT_BACKOFF_LIMIT
    default_patterns(spec)
    if not spec.HasField("podReplacementPolicy"):
        spec.podReplacementPolicy = FAILED if spec.HasField("podFailurePolicy") else TERMINATING_OR_FAILED


def default_patterns(spec: Any) -> None:
    """Of podFailurePolicy: a condition is True."""
    for rule in spec.podFailurePolicy.rules:
        for pattern in rule.onPodConditions:
            pattern.status = pattern.status or "True"


def generated_labels(item: Job) -> dict[str, str]:
    """Labels of the template of a Job without manualSelector, by which its pods are found."""
    name, uid = item.metadata.name, item.metadata.uid
    return {JOB_CONTROLLER_UID: uid, LEGACY_JOB_CONTROLLER_UID: uid, JOB_NAME: name, LEGACY_JOB_NAME: name}


def generate_selector(item: Job) -> None:
    """Of a new Job with a uid. What the user states of it is kept, and rejected by the rules."""
    if item.spec.manualSelector:
        return
    for key, value in generated_labels(item).items():
        if key not in item.spec.template.metadata.labels:
            item.spec.template.metadata.labels[key] = value
        if key not in item.metadata.labels:
            item.metadata.labels[key] = value
    if JOB_CONTROLLER_UID not in item.spec.selector.matchLabels:
        item.spec.selector.matchLabels[JOB_CONTROLLER_UID] = item.metadata.uid


def validate(item: Job) -> list[Cause]:
    return [*_generated(item), *_selector(item), *spec_errors(item.spec, "spec"), *_hostname(item)]


def _generated(item: Job) -> Iterator[Cause]:
    """A manifest that is checked without the server has no uid, and nothing generated yet."""
    if item.spec.manualSelector or not item.spec.HasField("selector") or not item.metadata.uid:
        return
    labels, path = item.spec.template.metadata.labels, "spec.template.metadata.labels"
    for key, value in generated_labels(item).items():
        if key not in labels:
            yield fielderrors.required(f"{path}[{key}]", f"must be '{value}'")
        elif labels[key] != value:
            yield fielderrors.invalid(f"{path}[{key}]", dict(labels), f"must be '{value}'")
    if not labelselectors.matches(item.spec.selector, generated_labels(item)):
        yield fielderrors.invalid("spec.selector", dict(item.spec.selector.matchLabels), "`selector` not auto-generated")


def _selector(item: Job) -> Iterator[Cause]:
    spec = item.spec
    if not spec.HasField("selector"):
        if spec.manualSelector or item.metadata.uid:
            yield fielderrors.required("spec.selector")
        return
    found = list(labelselectors.validate(spec.selector, "spec.selector"))
    yield from found
    labels = spec.template.metadata.labels
    if not found and item.metadata.uid and not labelselectors.matches(spec.selector, labels):
        text = "`selector` does not match template `labels`"
        yield fielderrors.invalid("spec.template.metadata.labels", dict(labels), text)


def _hostname(item: Job) -> Iterator[Cause]:
    if item.spec.completionMode != INDEXED or item.spec.completions <= 0:
        return
    longest = f"{item.metadata.name}-{item.spec.completions - 1}"
    if formats.dns_label(longest):
        text = f"will not able to create pod with invalid DNS label: {longest}"
        yield fielderrors.invalid("metadata.name", item.metadata.name, text)


def spec_errors(spec: Any, path: str) -> Iterator[Cause]:
    """Errors of a JobSpec at `path`, except of its selector."""
    yield from _managed_by(spec, path)
    if spec.completionMode == INDEXED:
        yield from _indexed(spec, path)
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.HasField(name):
                yield fielderrors.invalid(f"{path}.{name}", getattr(spec, name), "requires indexed completion mode")
    if spec.HasField("maxFailedIndexes") and not spec.HasField("backoffLimitPerIndex"):
        yield fielderrors.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    yield from jobpolicies.errors(spec, path)
    yield from _replacement(spec, f"{path}.podReplacementPolicy")
    yield from _template(spec, f"{path}.template")


def _managed_by(spec: Any, path: str) -> Iterator[Cause]:
    if not spec.HasField("managedBy"):
        return
    value, field = spec.managedBy, f"{path}.managedBy"
    yield from objectnames.domain_prefixed_path(field, value)
    if len(value.encode()) > MAX_MANAGED_BY:
        yield fielderrors.too_long(field, MAX_MANAGED_BY)


def _indexed(spec: Any, path: str) -> Iterator[Cause]:
    if not spec.HasField("completions"):
        yield fielderrors.required(f"{path}.completions", f"when completion mode is {INDEXED}")
    if spec.parallelism > MAX_PARALLELISM:
        text = f"must be less than or equal to {MAX_PARALLELISM} when completion mode is {INDEXED}"
        yield fielderrors.invalid(f"{path}.parallelism", spec.parallelism, text)
    if spec.HasField("completions") and spec.maxFailedIndexes > spec.completions:
        text = "must be less than or equal to completions"
        yield fielderrors.invalid(f"{path}.maxFailedIndexes", spec.maxFailedIndexes, text)
    if spec.maxFailedIndexes > MAX_FAILED_INDEXES:
        text = f"must be less than or equal to {MAX_FAILED_INDEXES}"
        yield fielderrors.invalid(f"{path}.maxFailedIndexes", spec.maxFailedIndexes, text)
    if spec.completions > MANY_COMPLETIONS and spec.HasField("backoffLimitPerIndex"):
        yield from _many(spec, path)


def _many(spec: Any, path: str) -> Iterator[Cause]:
    if not spec.HasField("maxFailedIndexes"):
        text = f"must be specified when completions is above {MANY_COMPLETIONS}"
        yield fielderrors.required(f"{path}.maxFailedIndexes", text)
    for name, most in (("parallelism", MAX_PARALLELISM_OF_MANY), ("maxFailedIndexes", MAX_FAILED_INDEXES_OF_MANY)):
        if getattr(spec, name) > most:
            text = (
                f"must be less than or equal to {most} when completions are above {MANY_COMPLETIONS} and used with backoff "
                "limit per index"
            )
            yield fielderrors.invalid(f"{path}.{name}", getattr(spec, name), text)


def _replacement(spec: Any, path: str) -> Iterator[Cause]:
    allowed = (FAILED,) if spec.HasField("podFailurePolicy") else (FAILED, TERMINATING_OR_FAILED)
    if spec.HasField("podReplacementPolicy") and spec.podReplacementPolicy not in allowed:
        yield fielderrors.not_supported(path, spec.podReplacementPolicy, allowed)


def _template(spec: Any, path: str) -> Iterator[Cause]:
    if not spec.HasField("template") or not spec.template.HasField("spec"):
        return
    yield from podtemplates.validate_spec(spec.template, path)
    policy = spec.template.spec.restartPolicy
    if policy in ("", "Always"):
        yield fielderrors.required(f"{path}.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif policy != "Never" and spec.HasField("podFailurePolicy"):
        text = 'only "Never" is supported when podFailurePolicy is specified'
        yield fielderrors.invalid(f"{path}.spec.restartPolicy", policy, text)


def validate_update(old: Job, new: Job) -> list[Cause]:
    found = [*_completions(old.spec, new.spec), *_template_update(old, new)]
    found += [
        fielderrors.invalid(f"spec.{name}", _shown(new.spec, name), "field is immutable")
        for name in _IMMUTABLE
        if not _same(old.spec, new.spec, name)
    ]
    return found


def _same(old: Any, new: Any, name: str) -> bool:
    if old.HasField(name) != new.HasField(name):
        return False
    before, after = getattr(old, name), getattr(new, name)
    return before == after if isinstance(after, str | int) else same(before, after)


def _shown(spec: Any, name: str) -> Any:
    """A value for an error: messages by name alone, since they may be long."""
    value = getattr(spec, name)
    if not spec.HasField(name):
        return None
    return value if isinstance(value, str | int) else {}


def _completions(old: Any, new: Any) -> Iterator[Cause]:
    """Those of an Indexed Job follow its parallelism."""
    if _same(old, new, "completions"):
        return
    if new.completionMode != INDEXED:
        yield fielderrors.invalid("spec.completions", _shown(new, "completions"), "field is immutable")
    elif new.HasField("completions") and new.completions != new.parallelism:
        text = "can only be modified in tandem with spec.parallelism"
        yield fielderrors.invalid("spec.completions", new.completions, text)


def _template_update(old: Job, new: Job) -> Iterator[Cause]:
    """Nodes and resources of the pods of a suspended Job may change while none of them is active; nothing else of the
    template."""
    allowed, template, path = clone(old.spec.template), new.spec.template, "spec.template"
    if _is_template_mutable(old):
        _take_placement(allowed, template)
        for mine, wanted in (
            (allowed.spec.containers, template.spec.containers),
            (allowed.spec.initContainers, template.spec.initContainers),
        ):
            _take_resources(mine, wanted)
        path = "spec.template.spec"
    if not same(allowed, template):
        yield fielderrors.invalid(path, {}, "field is immutable")


def _is_template_mutable(old: Job) -> bool:
    """Whether a Job is suspended and its controller knows it, or has never started it."""
    stopped = not old.status.HasField("startTime") or jobstatuses.is_true(old, jobstatuses.SUSPENDED)
    return bool(old.spec.suspend and stopped and not old.status.active)


def _take_placement(mine: Any, wanted: Any) -> None:
    """Copy labels, annotations, and the choice of nodes from one template to another."""
    for name in ("annotations", "labels"):
        _take_map(mine.metadata, wanted.metadata, name)
    _take_map(mine.spec, wanted.spec, "nodeSelector")
    del mine.spec.tolerations[:]
    mine.spec.tolerations.extend(wanted.spec.tolerations)
    del mine.spec.schedulingGates[:]
    mine.spec.schedulingGates.extend(wanted.spec.schedulingGates)
    mine.spec.affinity.ClearField("nodeAffinity")
    if wanted.spec.affinity.HasField("nodeAffinity"):
        mine.spec.affinity.nodeAffinity.CopyFrom(wanted.spec.affinity.nodeAffinity)
    elif not wanted.spec.HasField("affinity") and not mine.spec.affinity.ListFields():
        mine.spec.ClearField("affinity")


def _take_map(mine: Any, wanted: Any, name: str) -> None:
    getattr(mine, name).clear()
    getattr(mine, name).update(getattr(wanted, name))


def _take_resources(mine: Any, wanted: Any) -> None:
    """Copy the resources of containers that have the same names at the same places."""
    if len(mine) != len(wanted):
        return
    for each, other in zip(mine, wanted, strict=True):
        if each.name == other.name:
            each.resources.CopyFrom(other.resources)


RULES: KindRules[Job] = KindRules(
    prepare=prepare, default=default, validate=validate, validate_update=validate_update, validate_status=jobstatuses.validate
)
