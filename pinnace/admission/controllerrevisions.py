"""ControllerRevisions: their data is there and does not change.

Source: apps/validation (ValidateControllerRevision, ValidateControllerRevisionUpdate).
"""

from __future__ import annotations

import json

from pinnace import fielderrors
from pinnace.admission.kindrules import KindRules
from pinnace.apps.v1.controllerrevision_pb2 import ControllerRevision
from pinnace.errors import Cause


def validate(item: ControllerRevision) -> list[Cause]:
    if not item.data.raw:
        return [fielderrors.required("data", "data is mandatory")]
    if not isinstance(json.loads(item.data.raw), dict):
        return [fielderrors.invalid("data", item.data.raw.decode(errors="replace"), "data should be a valid JSON object")]
    return []


def validate_update(old: ControllerRevision, new: ControllerRevision) -> list[Cause]:
    return [fielderrors.forbidden("data", "field is immutable")] if new.data != old.data else []


RULES: KindRules[ControllerRevision] = KindRules(validate=validate, validate_update=validate_update)
