"""StorageClasses: of an existing one, only metadata, mount options, topologies and expansion change.

Source: storage/v1's ValidateStorageClass and ValidateStorageClassUpdate.
"""

from __future__ import annotations

from collections.abc import Iterator

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.admission.persistentvolumes import POLICIES
from pinnace.errors import Cause
from pinnace.persistentvolumes import IMMEDIATE, WAIT_FOR_FIRST_CONSUMER
from pinnace.storage.v1.storageclass_pb2 import StorageClass

# Bytes of all parameters together, and their number.
MAX_PARAMETERS_SIZE, MAX_PARAMETERS = 256 * 1024, 512


def validate(item: StorageClass) -> list[Cause]:
    return [*_provisioner(item), *_parameters(item), *_modes(item), *_topologies(item)]


def _provisioner(item: StorageClass) -> Iterator[Cause]:
    if not item.provisioner:
        yield fielderrors.required("provisioner")
        return
    yield from meta.each("provisioner", item.provisioner.lower(), formats.qualified_name)


def _parameters(item: StorageClass) -> Iterator[Cause]:
    if len(item.parameters) > MAX_PARAMETERS:
        yield fielderrors.too_long("parameters", MAX_PARAMETERS)
    if "" in item.parameters:
        yield fielderrors.invalid("parameters", "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in item.parameters.items()) > MAX_PARAMETERS_SIZE:
        yield fielderrors.too_long("parameters", MAX_PARAMETERS_SIZE)


def _modes(item: StorageClass) -> Iterator[Cause]:
    if item.reclaimPolicy not in POLICIES:
        yield fielderrors.not_supported("reclaimPolicy", item.reclaimPolicy, POLICIES)
    modes = IMMEDIATE, WAIT_FOR_FIRST_CONSUMER
    if item.volumeBindingMode not in modes:
        yield fielderrors.not_supported("volumeBindingMode", item.volumeBindingMode, modes)


def _topologies(item: StorageClass) -> Iterator[Cause]:
    for index, term in enumerate(item.allowedTopologies):
        path, seen = f"allowedTopologies[{index}].matchLabelExpressions", set()
        for number, requirement in enumerate(term.matchLabelExpressions):
            here = f"{path}[{number}]"
            if not requirement.values:
                yield fielderrors.required(f"{here}.values")
            if len(set(requirement.values)) < len(requirement.values):
                yield fielderrors.duplicate(f"{here}.values", list(requirement.values))
            yield from meta.each(f"{here}.key", requirement.key, formats.qualified_name)
            if requirement.key in seen:
                yield fielderrors.duplicate(f"{here}.key", requirement.key)
            seen.add(requirement.key)


def validate_update(old: StorageClass, new: StorageClass) -> list[Cause]:
    errors = []
    for name in ("parameters", "provisioner", "reclaimPolicy"):
        if getattr(old, name) != getattr(new, name):
            errors.append(fielderrors.forbidden(name, f"updates to {name} are forbidden."))
    if old.volumeBindingMode != new.volumeBindingMode:
        errors.append(fielderrors.invalid("volumeBindingMode", new.volumeBindingMode, "field is immutable"))
    if list(old.allowedTopologies) != list(new.allowedTopologies):
        errors.append(fielderrors.invalid("allowedTopologies", [], "field is immutable"))
    return errors


RULES: KindRules[StorageClass] = KindRules(validate=validate, validate_update=validate_update)
