"""Answers to reviews: the user of a token, the caller, what users may do. Nothing is stored.

Both APIs hand a review and its caller to `Reviews.create`; the permission to ask is checked here.
Source: registry/authentication and registry/authorization of kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from controlplane.access.attributes import Attributes, at, on
from controlplane.access.authorizer import Authorizer, require
from controlplane.access.bearer import BearerTokens
from controlplane.access.identity import Identity
from controlplane.access.tokenrequest import TokenRequests
from pinnace import fielderrors, kinds
from pinnace.authentication.v1.authentication_pb2 import SelfSubjectReview, TokenRequest, TokenReview, UserInfo
from pinnace.authorization.v1.authorization_pb2 import (
    LocalSubjectAccessReview,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
)
from pinnace.errors import BadRequest, Cause, Invalid, Unauthenticated
from pinnace.kinds import Kind

T = TypeVar("T")
Answer = Callable[[Any, Identity, float], Any]


class Reviews:
    def __init__(self, authorizer: Authorizer, tokens: BearerTokens, requests: TokenRequests) -> None:
        self._authorizer = authorizer
        self._tokens = tokens
        self._requests = requests
        self._answers: Mapping[Kind, Answer] = {
            kinds.TOKEN_REVIEW: self._token,
            kinds.TOKEN_REQUEST: lambda item, caller, now: self._requests.create(item, caller, now=now),
            kinds.SELF_SUBJECT_REVIEW: self._self,
            kinds.SELF_SUBJECT_REVIEW_BETA: self._self,
            kinds.SUBJECT_ACCESS_REVIEW: self._access,
            kinds.LOCAL_SUBJECT_ACCESS_REVIEW: self._local_access,
            kinds.SELF_SUBJECT_ACCESS_REVIEW: self._self_access,
            kinds.SELF_SUBJECT_RULES_REVIEW: self._rules,
        }

    def create(self, kind: Kind, review: Any, caller: Identity, *, now: float) -> Any:
        """The review with its status. Of a TokenRequest, metadata names the service account.

        Raises Forbidden, Invalid, BadRequest; of a TokenRequest also NotFound and Conflict."""
        meta = review.metadata
        if kind is kinds.TOKEN_REQUEST:
            account = kinds.SERVICE_ACCOUNT
            request = on(caller, "create", account, namespace=meta.namespace, name=meta.name, subresource="token")
        else:
            request = on(caller, "create", kind, namespace=meta.namespace)
        require(self._authorizer, request)
        return self._answers[kind](review, caller, now)

    def create_token(self, request: TokenRequest, caller: Identity, *, now: float) -> TokenRequest:
        """`create` of a TokenRequest."""
        answer: TokenRequest = self.create(kinds.TOKEN_REQUEST, request, caller, now=now)
        return answer

    def _token(self, review: TokenReview, caller: Identity, now: float) -> TokenReview:
        if not review.spec.token:
            raise BadRequest("token is required for TokenReview in authentication")
        answer = _copy(review)
        try:
            found = self._tokens.authenticate(review.spec.token, review.spec.audiences, now=now)
        except Unauthenticated as error:
            answer.status.error = error.message
            return answer
        answer.status.authenticated = True
        answer.status.user.CopyFrom(user_info(found.identity))
        answer.status.audiences.extend(found.audiences)
        return answer

    def _self(self, review: SelfSubjectReview, caller: Identity, now: float) -> SelfSubjectReview:
        answer = _copy(review)
        answer.status.userInfo.CopyFrom(user_info(caller))
        return answer

    def _access(self, review: SubjectAccessReview, caller: Identity, now: float) -> SubjectAccessReview:
        spec = review.spec
        errors = list(_check_request(spec))
        if not spec.user and not spec.groups:
            errors.append(fielderrors.required("spec.user", "at least one of user or group must be specified"))
        _raise("SubjectAccessReview", errors)
        extra = {key: tuple(value.items) for key, value in spec.extra.items()}
        return self._decide(review, Identity(spec.user, tuple(spec.groups), uid=spec.uid, extra=extra))

    def _local_access(self, review: LocalSubjectAccessReview, caller: Identity, now: float) -> LocalSubjectAccessReview:
        spec, namespace = review.spec, review.metadata.namespace
        errors = []
        if spec.HasField("nonResourceAttributes"):
            errors.append(fielderrors.forbidden("spec.nonResourceAttributes", "disallowed on this kind of request"))
        elif spec.resourceAttributes.namespace != namespace:
            text = "must match metadata.namespace"
            errors.append(fielderrors.invalid("spec.resourceAttributes.namespace", spec.resourceAttributes.namespace, text))
        _raise("LocalSubjectAccessReview", errors)
        answered = self._access(SubjectAccessReview(spec=spec), caller, now)
        answer = _copy(review)
        answer.status.CopyFrom(answered.status)
        return answer

    def _self_access(self, review: SelfSubjectAccessReview, caller: Identity, now: float) -> SelfSubjectAccessReview:
        _raise("SelfSubjectAccessReview", _check_request(review.spec))
        return self._decide(review, caller)

    def _decide(self, review: T, user: Identity) -> T:
        answer: Any = _copy(review)
        decision = self._authorizer.authorize(_attributes(answer.spec, user))
        answer.status.allowed = decision.allowed
        answer.status.reason = decision.reason
        return cast("T", answer)

    def _rules(self, review: SelfSubjectRulesReview, caller: Identity, now: float) -> SelfSubjectRulesReview:
        if not review.spec.namespace:
            raise BadRequest("no namespace on request")
        answer = _copy(review)
        found = self._authorizer.rules_for(caller, review.spec.namespace)
        for rule in found.rules:
            if rule.nonResourceURLs:
                answer.status.nonResourceRules.add(verbs=rule.verbs, nonResourceURLs=rule.nonResourceURLs)
            if rule.resources:
                answer.status.resourceRules.add(
                    verbs=rule.verbs, apiGroups=rule.apiGroups, resources=rule.resources, resourceNames=rule.resourceNames
                )
        answer.status.incomplete = found.incomplete
        answer.status.evaluationError = ", ".join(found.errors)
        return answer


def user_info(identity: Identity) -> UserInfo:
    """An identity as reviews and admission show it."""
    made = UserInfo(username=identity.user, uid=identity.uid, groups=identity.groups)
    for key, values in identity.extra.items():
        made.extra[key].items.extend(values)
    return made


def _copy(review: T) -> T:
    """Without the status that the caller sent."""
    made: Any = type(review)()
    made.CopyFrom(review)
    made.ClearField("status")
    made.status.SetInParent()
    return cast("T", made)


def _check_request(spec: Any) -> Iterable[Cause]:
    resource, path = spec.HasField("resourceAttributes"), spec.HasField("nonResourceAttributes")
    if resource and path:
        text = "cannot be specified in combination with resourceAttributes"
        yield fielderrors.invalid("spec.nonResourceAttributes", spec.nonResourceAttributes.path, text)
    elif not resource and not path:
        yield fielderrors.invalid(
            "spec.resourceAttributes", None, "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )


def _raise(kind: str, errors: Iterable[Cause]) -> None:
    """Raises Invalid unless there are none."""
    found = tuple(errors)
    if found:
        raise Invalid.of(f"{kind}.authorization.k8s.io", "", found)


def _attributes(spec: Any, user: Identity) -> Attributes:
    if spec.HasField("nonResourceAttributes"):
        return at(user, spec.nonResourceAttributes.verb, spec.nonResourceAttributes.path)
    found = spec.resourceAttributes
    return Attributes(
        user=user.user, groups=user.groups, extra=user.extra, verb=found.verb, group=found.group, version=found.version,
        resource=found.resource, subresource=found.subresource, namespace=found.namespace, name=found.name,
    )  # fmt: skip
