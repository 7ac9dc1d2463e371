"""CronJobs: a schedule that can be read, a time zone that exists, and a template of valid Jobs.

Source: batch/validation (ValidateCronJobCreate, ValidateCronJobUpdate) and batch/v1's defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pinnace import cronexpressions, fielderrors
from pinnace.admission import jobs, workloads
from pinnace.admission.kindrules import KindRules
from pinnace.batch.v1.cronjob_pb2 import CronJob
from pinnace.errors import Cause

if TYPE_CHECKING:
    import zoneinfo

FORBID, REPLACE = "Forbid", "Replace"
# The name of a Job has 11 characters more, and at most 63.
MAX_NAME = 52
_ZONE_PART = r"[A-Za-z.\-_0-9+]{1,14}"


def prepare(item: CronJob, _: CronJob | None) -> None:
    workloads.prepare(item.spec.jobTemplate.spec)


def default(item: CronJob) -> None:
    workloads.default(item.spec.jobTemplate.spec)
    jobs.default_patterns(item.spec.jobTemplate.spec)


def validate(item: CronJob) -> list[Cause]:
    return [*_schedule(item.spec.schedule), *_zone(item.spec), *_template(item.spec.jobTemplate)]


def _schedule(text: str) -> Iterator[Cause]:
    if not text:
        return
    if "TZ" in text:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield fielderrors.invalid("spec.schedule", text, detail)
        return
    try:
        cronexpressions.parse(text)
    except ValueError as error:
        yield fielderrors.invalid("spec.schedule", text, str(error))


def _zone(spec: Any) -> Iterator[Cause]:
    if not spec.HasField("timeZone"):
        return
    name, path = spec.timeZone, "spec.timeZone"
    if not name:
        yield fielderrors.invalid(path, name, "timeZone must be nil or non-empty string")
    elif name.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield fielderrors.invalid(path, name, detail)
    elif zone(name) is None:
        yield fielderrors.invalid(path, name, f"unknown time zone {name}")


def zone(name: str) -> zoneinfo.ZoneInfo | None:
    """The time zone of a name; None for an unknown one."""
    parts = name.split("/")
    if any(part in (".", "..") or part.startswith("-") or not re.fullmatch(_ZONE_PART, part) for part in parts):
        return None
    # With `sysconfig` 0.3 MB, which clusters without time zones do not need.
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _template(template: Any) -> Iterator[Cause]:
    if not template.HasField("spec"):
        return
    spec, path = template.spec, "spec.jobTemplate.spec"
    yield from jobs.spec_errors(spec, path)
    if spec.HasField("selector"):
        yield fielderrors.invalid(f"{path}.selector", {}, "`selector` will be auto-generated")
    if spec.manualSelector:
        yield fielderrors.not_supported(f"{path}.manualSelector", True, ("nil", "false"))


def validate_create(item: CronJob) -> list[Cause]:
    if len(item.metadata.name) <= MAX_NAME:
        return []
    return [fielderrors.invalid("metadata.name", item.metadata.name, f"must be no more than {MAX_NAME} characters")]


RULES: KindRules[CronJob] = KindRules(prepare=prepare, default=default, validate=validate, validate_create=validate_create)
