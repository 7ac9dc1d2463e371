"""Address families of a Service: its policy and families, as far as it does not state them, by those of the cluster. Pure.

Source: initIPFamilyFields of registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.serviceranges import ServiceRanges
from pinnace import fielderrors, kinds, services
from pinnace.admission import clusterips
from pinnace.core.v1.service_pb2 import Service
from pinnace.errors import Cause, Invalid
from pinnace.services import IPV4, IPV6, PREFER_DUAL_STACK, REQUIRE_DUAL_STACK, SINGLE_STACK, family_of

_OTHER = {IPV4: IPV6, IPV6: IPV4}
_POLICY = "spec.ipFamilyPolicy"


def settle_families(new: Service, old: Service | None, ranges: ServiceRanges) -> None:
    """Set ipFamilyPolicy and ipFamilies of a Service that is no alias. Raises Invalid for malformed addresses, and for
    families that the cluster does not have."""
    spec = new.spec
    if _is_settled(new, old):
        return
    if not spec.HasField("ipFamilyPolicy"):
        spec.ipFamilyPolicy = _policy(new, old)
    _refuse(new, clusterips.validate(new))
    if old is not None and spec.ipFamilyPolicy == SINGLE_STACK:
        _shrink(new, old)
    _refuse(new, [*_reduced(new, old), *_too_many(new)])
    _refuse(new, [*_infer(new, ranges)])
    if services.is_headless(new) and not spec.selector:
        _without_selector(new, ranges)
        return
    _refuse(new, [*_absent(new, ranges)])
    if not spec.ipFamilies:
        spec.ipFamilies.append(ranges.addresses[0].family)
    if spec.ipFamilyPolicy != SINGLE_STACK and len(spec.ipFamilies) == 1 and len(ranges.addresses) == 2:
        spec.ipFamilies.append(_OTHER[spec.ipFamilies[0]])


def _is_settled(new: Service, old: Service | None) -> bool:
    """A Service that prefers two families keeps what it has when the cluster's families change."""
    if old is None or old.spec.type != new.spec.type:
        return False
    if not new.spec.ipFamilyPolicy == PREFER_DUAL_STACK == old.spec.ipFamilyPolicy:
        return False
    return _same_addresses(new, old) and _same_families(new, old)


def _same_addresses(new: Service, old: Service) -> bool:
    return list(new.spec.clusterIPs) == list(old.spec.clusterIPs)


def _same_families(new: Service, old: Service) -> bool:
    return list(new.spec.ipFamilies) == list(old.spec.ipFamilies)


def _policy(new: Service, old: Service | None) -> str:
    if old is not None and old.spec.HasField("ipFamilyPolicy"):
        return old.spec.ipFamilyPolicy
    return REQUIRE_DUAL_STACK if services.is_headless(new) and not new.spec.selector else SINGLE_STACK


def _shrink(new: Service, old: Service) -> None:
    """The policy alone says that the second family goes."""
    if _same_addresses(new, old):
        del new.spec.clusterIPs[1:]
    if _same_families(new, old):
        del new.spec.ipFamilies[1:]


def _reduced(new: Service, old: Service | None) -> Iterator[Cause]:
    if old is None or new.spec.ipFamilyPolicy == SINGLE_STACK:
        return
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        if 0 < len(getattr(new.spec, field)) < len(getattr(old.spec, field)):
            text = f"must be 'SingleStack' to release the secondary {what}"
            yield fielderrors.invalid(_POLICY, new.spec.ipFamilyPolicy, text)


def _too_many(new: Service) -> Iterator[Cause]:
    if new.spec.ipFamilyPolicy != SINGLE_STACK:
        return
    for field, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
        if len(getattr(new.spec, field)) == 2:
            text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            yield fielderrors.invalid(_POLICY, new.spec.ipFamilyPolicy, text)


def _infer(new: Service, ranges: ServiceRanges) -> Iterator[Cause]:
    """Families from addresses."""
    spec = new.spec
    for index, address in enumerate(spec.clusterIPs):
        if address == services.NONE:
            return
        if index < len(spec.ipFamilies):
            continue
        family = family_of(address)
        if ranges.of(family) is None:
            text = f"{family} is not configured on this cluster"
            yield fielderrors.invalid(f"spec.clusterIPs[{index}]", list(spec.clusterIPs), text)
        else:
            spec.ipFamilies.append(family)


def _without_selector(new: Service, ranges: ServiceRanges) -> None:
    """A headless Service whose endpoints others write may have families that the cluster does not have."""
    spec = new.spec
    if not spec.ipFamilies:
        spec.ipFamilies.append(ranges.addresses[0].family)
    if len(spec.ipFamilies) == 1 and spec.ipFamilyPolicy != SINGLE_STACK:
        spec.ipFamilies.append(_OTHER[spec.ipFamilies[0]])


def _absent(new: Service, ranges: ServiceRanges) -> Iterator[Cause]:
    if new.spec.ipFamilyPolicy == REQUIRE_DUAL_STACK and len(ranges.addresses) < 2:
        text = "this cluster is not configured for dual-stack services"
        yield fielderrors.invalid(_POLICY, new.spec.ipFamilyPolicy, text)
    for index, family in enumerate(new.spec.ipFamilies):
        if ranges.of(family) is None:
            yield fielderrors.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")


def _refuse(item: Service, causes: list[Cause]) -> None:
    if causes:
        raise Invalid.of(kinds.SERVICE.group_kind, item.metadata.name[:253], tuple(causes))
