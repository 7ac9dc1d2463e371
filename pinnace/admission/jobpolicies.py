"""Policies of a Job: what failed pods mean, and which indexes suffice.

Source: batch/validation (validatePodFailurePolicy, validateSuccessPolicy).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, jobindexes
from pinnace.errors import Cause

COUNT, FAIL_INDEX, FAIL_JOB, IGNORE = "Count", "FailIndex", "FailJob", "Ignore"
ACTIONS = (COUNT, FAIL_INDEX, FAIL_JOB, IGNORE)
IN, NOT_IN = "In", "NotIn"
MAX_RULES, MAX_EXIT_CODES, MAX_CONDITIONS, MAX_SUCCESS_RULES = 20, 255, 20, 20
MAX_SUCCEEDED_INDEXES = 64 * 1024
_STATUSES = ("False", "True", "Unknown")


def errors(spec: Any, path: str) -> Iterator[Cause]:
    """Errors of both policies of a JobSpec at `path`."""
    if spec.HasField("podFailurePolicy"):
        yield from _failure(spec, f"{path}.podFailurePolicy.rules")
    if spec.HasField("successPolicy"):
        if spec.completionMode != "Indexed":
            yield fielderrors.invalid(f"{path}.successPolicy", {}, "requires indexed completion mode")
        elif spec.HasField("completions"):
            yield from _success(spec, f"{path}.successPolicy.rules")


def _failure(spec: Any, path: str) -> Iterator[Cause]:
    rules = spec.podFailurePolicy.rules
    if len(rules) > MAX_RULES:
        yield fielderrors.too_many(path, len(rules), MAX_RULES)
    pod = spec.template.spec
    names = {container.name for container in (*pod.containers, *pod.initContainers)}
    for index, rule in enumerate(rules):
        yield from _failure_rule(spec, rule, f"{path}[{index}]", names)


def _failure_rule(spec: Any, rule: Any, path: str, names: set[str]) -> Iterator[Cause]:
    if not rule.action:
        yield fielderrors.required(f"{path}.action", _choices(ACTIONS))
    elif rule.action not in ACTIONS:
        yield fielderrors.not_supported(f"{path}.action", rule.action, ACTIONS)
    elif rule.action == FAIL_INDEX and not spec.HasField("backoffLimitPerIndex"):
        yield fielderrors.invalid(f"{path}.action", rule.action, "requires the backoffLimitPerIndex to be set")
    by_code, by_condition = rule.HasField("onExitCodes"), bool(rule.onPodConditions)
    if by_code:
        yield from _exit_codes(rule.onExitCodes, f"{path}.onExitCodes", names)
    yield from _conditions(rule.onPodConditions, f"{path}.onPodConditions")
    if by_code and by_condition:
        yield Cause(path, "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported")
    if not by_code and not by_condition:
        yield Cause(path, "Invalid value: specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(item: Any, path: str, names: set[str]) -> Iterator[Cause]:
    if not item.operator:
        yield fielderrors.required(f"{path}.operator", _choices((IN, NOT_IN)))
    elif item.operator not in (IN, NOT_IN):
        yield fielderrors.not_supported(f"{path}.operator", item.operator, (IN, NOT_IN))
    if item.HasField("containerName") and item.containerName not in names:
        text = "must be one of the container or initContainer names in the pod template"
        yield fielderrors.invalid(f"{path}.containerName", item.containerName, text)
    values = list(item.values)
    if not values:
        yield fielderrors.invalid(f"{path}.values", [], "at least one value is required")
    elif len(values) > MAX_EXIT_CODES:
        yield fielderrors.too_many(f"{path}.values", len(values), MAX_EXIT_CODES)
    for index, value in enumerate(values):
        if value == 0 and item.operator == IN:
            yield fielderrors.invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
    if values != sorted(values):
        yield fielderrors.invalid(f"{path}.values", values, "must be ordered")


def _conditions(patterns: Any, path: str) -> Iterator[Cause]:
    if len(patterns) > MAX_CONDITIONS:
        yield fielderrors.too_many(path, len(patterns), MAX_CONDITIONS)
    for index, pattern in enumerate(patterns):
        for detail in formats.qualified_name(pattern.type):
            yield fielderrors.invalid(f"{path}[{index}].type", pattern.type, detail)
        if pattern.status not in _STATUSES:
            yield fielderrors.not_supported(f"{path}[{index}].status", pattern.status, _STATUSES)


def _choices(values: tuple[str, ...]) -> str:
    return "valid values: [{}]".format(" ".join(f'"{value}"' for value in values))


def _success(spec: Any, path: str) -> Iterator[Cause]:
    rules = spec.successPolicy.rules
    if not rules:
        yield fielderrors.required(path, "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > MAX_SUCCESS_RULES:
        yield fielderrors.too_many(path, len(rules), MAX_SUCCESS_RULES)
    for index, rule in enumerate(rules):
        yield from _success_rule(rule, f"{path}[{index}]", spec.completions)


def _success_rule(rule: Any, path: str, completions: int) -> Iterator[Cause]:
    by_set, by_count = rule.HasField("succeededIndexes"), rule.HasField("succeededCount")
    if not by_set and not by_count:
        yield fielderrors.required(path, "at least one of succeededCount or succeededIndexes must be specified")
    total = 0
    if by_set:
        field = f"{path}.succeededIndexes"
        if len(rule.succeededIndexes) > MAX_SUCCEEDED_INDEXES:
            yield fielderrors.too_long(field, MAX_SUCCEEDED_INDEXES)
        try:
            total = len(jobindexes.read(rule.succeededIndexes, completions))
        except ValueError as error:
            yield fielderrors.invalid(field, rule.succeededIndexes, f"error parsing succeededIndexes: {error}")
    if rule.succeededCount > completions:
        text = f"must be less than or equal to {completions} (the number of specified completions)"
        yield fielderrors.invalid(f"{path}.succeededCount", rule.succeededCount, text)
    if by_set and rule.succeededCount > total:
        text = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        yield fielderrors.invalid(f"{path}.succeededCount", rule.succeededCount, text)
