"""clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy of Services: what they may be together, and how they may change.

Source: core/v1's ValidateServiceClusterIPsRelatedFields and validateUpgradeDowngrade*, and patchAllocatedValues and
normalizeClusterIPs of registry/core/service.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pinnace import fielderrors, formats
from pinnace.admission.meta import each
from pinnace.core.v1.service_pb2 import Service
from pinnace.errors import Cause
from pinnace.services import (
    EXTERNAL_NAME,
    IPV4,
    IPV6,
    NONE,
    PREFER_DUAL_STACK,
    REQUIRE_DUAL_STACK,
    SINGLE_STACK,
    family_of,
    is_headless,
)

FAMILIES = (IPV4, IPV6)
POLICIES = (PREFER_DUAL_STACK, REQUIRE_DUAL_STACK, SINGLE_STACK)
_ADDRESSES, _FAMILIES, _POLICY = "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"
_FIXED = "may not change once set"


def normalize(item: Service, old: Service | None) -> None:
    """Complete what clients state of one of the two fields alone; an update that states neither keeps both."""
    new = item.spec
    if old is None:
        if new.clusterIP and not new.clusterIPs:
            new.clusterIPs.append(new.clusterIP)
        return
    before = old.spec
    if EXTERNAL_NAME not in (before.type, new.type):
        new.clusterIP = new.clusterIP or before.clusterIP
        if not new.clusterIPs:
            new.clusterIPs.extend(before.clusterIPs)
    if new.clusterIP == before.clusterIP:
        if not new.clusterIPs:
            new.clusterIPs.extend(before.clusterIPs)
    elif list(new.clusterIPs) == list(before.clusterIPs):
        new.clusterIPs[:] = [new.clusterIP] if new.clusterIP else []


def validate(item: Service) -> list[Cause]:
    """Of a Service that is no alias."""
    spec = item.spec
    errors = [*_agreement(spec.clusterIP, spec.clusterIPs), *_families(spec.ipFamilies)]
    if spec.HasField("ipFamilyPolicy") and spec.ipFamilyPolicy not in POLICIES:
        errors.append(fielderrors.not_supported(_POLICY, spec.ipFamilyPolicy, POLICIES))
    wrong = [*_syntax(spec.clusterIPs)]
    if len(spec.clusterIPs) > 2:
        errors.append(fielderrors.invalid(_ADDRESSES, list(spec.clusterIPs), "may only hold up to 2 values"))
    return [*errors, *wrong, *([] if wrong or is_headless(item) else _by_family(spec.clusterIPs, spec.ipFamilies))]


def _agreement(first: str, addresses: Sequence[str]) -> Iterator[Cause]:
    if first and not addresses:
        yield fielderrors.required(_ADDRESSES)
    elif first and addresses[0] != first:
        yield fielderrors.invalid(_ADDRESSES, list(addresses), "first value must match `clusterIP`")
    elif addresses and not first:
        yield fielderrors.invalid(_ADDRESSES, list(addresses), "must be empty when `clusterIP` is not specified")


def _families(families: Sequence[str]) -> Iterator[Cause]:
    for index, family in enumerate(families):
        if family not in FAMILIES:
            yield fielderrors.not_supported(f"{_FAMILIES}[{index}]", family, FAMILIES)
        if family in families[:index]:
            yield fielderrors.duplicate(f"{_FAMILIES}[{index}]", family)


def _syntax(addresses: Sequence[str]) -> Iterator[Cause]:
    for index, address in enumerate(addresses):
        if index == 0 and address == NONE:
            if len(addresses) > 1:
                yield fielderrors.invalid(_ADDRESSES, list(addresses), "'None' must be the first and only value")
            continue
        yield from each(f"{_ADDRESSES}[{index}]", address, formats.ip)


def _by_family(addresses: Sequence[str], families: Sequence[str]) -> Iterator[Cause]:
    if len(addresses) > 1 and len({family_of(address) for address in addresses}) < 2:
        text = "may specify no more than one IP for each IP family"
        yield fielderrors.invalid(_ADDRESSES, list(addresses), text)
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in FAMILIES and family_of(address) != family:
            text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield fielderrors.invalid(f"{_ADDRESSES}[{index}]", address, text)


def validate_update(old: Service, new: Service) -> list[Cause]:
    if EXTERNAL_NAME in (old.spec.type, new.spec.type):
        return []
    errors = [] if is_headless(old) and is_headless(new) else [*_changed_addresses(old, new)]
    if not is_headless(old) and not is_headless(new):
        errors += _changed_families(old, new)
    return errors


def _changed_addresses(old: Service, new: Service) -> Iterator[Cause]:
    before, after = list(old.spec.clusterIPs), list(new.spec.clusterIPs)
    if before and not after:
        yield fielderrors.invalid(f"{_ADDRESSES}[0]", after, "primary clusterIP can not be unset")
    # A second address may come and go; while there are two, both stay.
    kept = len(before) if len(before) == len(after) else 1
    for index, (one, other) in enumerate(zip(before[:kept], after[:kept], strict=False)):
        if one != other:
            yield fielderrors.invalid(f"{_ADDRESSES}[{index}]", after, _FIXED)
    if len(before) > len(after) == 1 and new.spec.ipFamilyPolicy != SINGLE_STACK:
        yield _must_be_single(new, "clusterIP")


def _changed_families(old: Service, new: Service) -> Iterator[Cause]:
    before, after = list(old.spec.ipFamilies), list(new.spec.ipFamilies)
    kept = len(before) if len(before) == len(after) else 1
    if before and after and before[:kept] != after[:kept]:
        yield fielderrors.invalid(f"{_FAMILIES}[0]", after, _FIXED)
    if len(before) > len(after) == 1 and new.spec.ipFamilyPolicy != SINGLE_STACK:
        yield _must_be_single(new, "ipFamily")


def _must_be_single(item: Service, what: str) -> Cause:
    policy = item.spec.ipFamilyPolicy or None
    return fielderrors.invalid(_POLICY, policy, f"must be set to 'SingleStack' when releasing the secondary {what}")
