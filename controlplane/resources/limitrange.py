"""LimitRanges, and what they make of a new pod's resources and a claim's size.

Source: the LimitRanger admission plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from controlplane.resources.columns import NAME_AND_CREATION
from controlplane.resources.plugin import CREATE, DELETE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds, podresources, quantity
from pinnace.admission import limitranges
from pinnace.admission.limitranges import CLAIM, CONTAINER, POD
from pinnace.errors import Forbidden
from pinnace.podresources import CPU, MIRROR

ANNOTATION = "kubernetes.io/limit-ranger"
# The text of an amount, as errors show it, by resource.
Stated = dict[str, str]

LIMIT_RANGE = Resource(kinds.LIMIT_RANGE, rules=limitranges.RULES, columns=NAME_AND_CREATION, creates_on_update=True)


class LimitRanger(BasePlugin):
    """Gives containers of new pods the defaults of their namespace, and refuses pods and claims outside its bounds, also in a
    resize."""

    name = "LimitRanger"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if not _concerns(request) or request.operation != CREATE:
            return
        pod = request.message
        done = [text for item in _items(tx, pod) if item.type == CONTAINER for text in _default(pod, item)]
        if done:
            pod.metadata.annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(done)

    def validate(self, tx: Tx, request: Attributes) -> None:
        kind, subject = request.resource.kind, request.message
        if _concerns(request):
            found = [error for item in _items(tx, subject) for error in _errors(subject, item)]
        elif kind is kinds.PERSISTENT_VOLUME_CLAIM and request.operation != DELETE and not request.subresource:
            found = [error for item in _items(tx, subject) for error in _claim_errors(subject, item)]
        else:
            return
        errors = list(dict.fromkeys(found))
        if errors:
            name = subject.metadata.name
            text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
            raise Forbidden(f'{kind.resource} "{name}" is forbidden: {text}', kind=kind.resource, name=name)


def _concerns(request: Attributes) -> bool:
    return (
        request.resource.kind is kinds.POD
        and (request.operation == CREATE or request.subresource == "resize")
        and MIRROR not in request.message.metadata.annotations
    )


def _items(tx: Tx, pod: Any) -> Iterator[Any]:
    """Untracked: a range is about pods that are created after it, and which of two requests came first nobody can say."""
    for found in tx.list_untracked(kinds.LIMIT_RANGE, pod.metadata.namespace):
        yield from found.message.spec.limits


def _containers(pod: Any) -> Iterator[tuple[str, Any]]:
    for container in pod.spec.containers:
        yield "container", container
    for container in pod.spec.initContainers:
        yield "init container", container


def _default(pod: Any, item: Any) -> Iterator[str]:
    """Fill in requests and limits; what was done, in Kubernetes' words."""
    for word, container in _containers(pod):
        for field, source in (("requests", item.defaultRequest), ("limits", item.default)):
            target = getattr(container.resources, field)
            missing = sorted(name for name in source if name not in target)
            for name in missing:
                target[name].CopyFrom(source[name])
            if missing:
                yield f"{', '.join(missing)} {field.removesuffix('s')} for {word} {container.name}"


def _errors(pod: Any, item: Any) -> Iterator[str]:
    if item.type == CONTAINER:
        for _, container in _containers(pod):
            resources = container.resources
            yield from _bounds(item, _stated(resources.requests), _stated(resources.limits))
    elif item.type == POD:
        yield from _bounds(item, _total(podresources.requests(pod.spec)), _total(podresources.limits(pod.spec)))


def _claim_errors(claim: Any, item: Any) -> Iterator[str]:
    """The bounds are on the request alone."""
    requests = _stated(claim.spec.resources.requests)
    for name, value in sorted(item.min.items()) if item.type == CLAIM else ():
        yield from _minimum(name, item.type, value.string, requests.get(name), None)
    for name, value in sorted(item.max.items()) if item.type == CLAIM else ():
        request, begin = requests.get(name), f"maximum {name} usage per {item.type} is {value.string}"
        if request is None:
            yield f"{begin}.  No request is specified"
        elif _value(request) > _value(value.string):
            yield f"{begin}, but request is {request}"


def _stated(items: Mapping[str, Any]) -> Stated:
    return {name: value.string for name, value in items.items()}


def _total(amounts: Mapping[str, int]) -> Stated:
    return {name: (quantity.format_milli if name == CPU else quantity.format_bytes)(value) for name, value in amounts.items()}


def _bounds(item: Any, requests: Stated, limits: Stated) -> Iterator[str]:
    for name, value in sorted(item.min.items()):
        yield from _minimum(name, item.type, value.string, requests.get(name), limits.get(name))
    for name, value in sorted(item.max.items()):
        yield from _maximum(name, item.type, value.string, requests.get(name), limits.get(name))
    for name, value in sorted(item.maxLimitRequestRatio.items()):
        yield from _ratio(name, item.type, value.string, requests.get(name), limits.get(name))


def _minimum(name: str, type_: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    begin = f"minimum {name} usage per {type_} is {bound}"
    if request is None:
        yield f"{begin}.  No request is specified"
    elif _value(request) < _value(bound):
        yield f"{begin}, but request is {request}"
    elif limit is not None and _value(limit) < _value(bound):
        yield f"{begin}, but limit is {limit}"


def _maximum(name: str, type_: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    begin = f"maximum {name} usage per {type_} is {bound}"
    if limit is None:
        yield f"{begin}.  No limit is specified"
    elif _value(limit) > _value(bound):
        yield f"{begin}, but limit is {limit}"
    elif request is not None and _value(request) > _value(bound):
        yield f"{begin}, but request is {request}"


def _ratio(name: str, type_: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    begin = f"{name} max limit to request ratio per {type_} is {bound}"
    if request is None or not _value(request):
        yield f"{begin}, but no request is specified or request is 0"
    elif limit is None or not _value(limit):
        yield f"{begin}, but no limit is specified or limit is 0"
    elif _value(limit) / _value(request) > _value(bound):
        yield f"{begin}, but provided ratio is {float(_value(limit) / _value(request)):f}"


def _value(text: str) -> Fraction:
    return quantity.parse(text)
