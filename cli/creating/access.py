"""Roles and their bindings from flags.

Source: kubectl's pkg/cmd/create (create_role.go, create_clusterrole.go, create_rolebinding.go, create_clusterrolebinding.go).
"""

from __future__ import annotations

from typing import Any

from cli import discovery
from cli.complaints import report
from cli.creating.workloads import split
from pinnace.errors import BadRequest, NotFound

GROUP = "rbac.authorization.k8s.io"
VERBS = frozenset((
    "*", "get", "delete", "list", "create", "update", "patch", "watch", "proxy", "deletecollection", "use", "bind", "escalate",
    "impersonate",
))  # fmt: skip
PATH_VERBS = frozenset(("get", "put", "post", "head", "options", "delete", "patch", "*"))


def add_role(parser: Any) -> None:
    parser.add_argument("--verb", action="append", default=[], help="comma-separated verbs, such as get,list (repeatable)")
    parser.add_argument(
        "--resource", action="append", default=[],
        help="comma-separated resources, such as pods,pods/log,deployments.apps (repeatable)",
    )  # fmt: skip
    parser.add_argument("--resource-name", action="append", default=[], help="name of an object that the rule is limited to")


def add_cluster_role(parser: Any) -> None:
    add_role(parser)
    parser.add_argument("--non-resource-url", action="append", default=[], help="comma-separated paths, such as /healthz")
    parser.add_argument(
        "--aggregation-rule", action="append", default=[], metavar="KEY=VALUE,...", help="labels of ClusterRoles to aggregate"
    )  # fmt: skip


def role(args: Any, command: list[str]) -> dict[str, Any]:
    verbs = _verbs(args)
    if not split(args.resource):
        raise BadRequest("at least one resource must be specified")
    return {"rules": _rules(args, verbs)}


def cluster_role(args: Any, command: list[str]) -> dict[str, Any]:
    paths = split(args.non_resource_url)
    if args.aggregation_rule:
        if args.verb or args.resource or args.resource_name or paths:
            text = "aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames"
            raise BadRequest(text)
        return {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": _labels(split(args.aggregation_rule))}]}}
    verbs = _verbs(args)
    if not split(args.resource) and not paths:
        raise BadRequest("one of resource or nonResourceURL must be specified")
    rules = _rules(args, verbs) if split(args.resource) else []
    return {"rules": [*rules, {"verbs": verbs, "nonResourceURLs": _paths(paths, verbs)}] if paths else rules}


def _labels(items: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    if wrong := next((key for key, sign, _ in pairs if not sign or not key), None):
        raise BadRequest(f'--aggregation-rule: unexpected "{wrong[:80]}": expected KEY=VALUE')
    return {key: value for key, _, value in pairs}


def _verbs(args: Any) -> list[str]:
    found = split(args.verb)
    if not found:
        raise BadRequest("at least one verb must be specified")
    return ["*"] if "*" in found else found


def _rules(args: Any, verbs: list[str]) -> list[dict[str, Any]]:
    """One for each group, in the order of their names."""
    for verb in verbs:
        if verb not in VERBS:
            report(f"Warning: '{verb}' is not a standard resource verb")
    resources = split(args.resource)
    groups: dict[str, list[str]] = {}
    for word in ["*"] if "*" in resources else resources:
        group, name = _resource(word)
        groups.setdefault(group, []).append(name)
    names = {"resourceNames": split(args.resource_name)} if args.resource_name else {}
    return [{"verbs": verbs, "apiGroups": [group], "resources": found, **names} for group, found in sorted(groups.items())]


def _resource(word: str) -> tuple[str, str]:
    """Group and plural with its subresource, of `po`, `pods/log`, `deployments.apps`; as it is written if it is not known."""
    whole, slash, part = word.partition("/")
    name, _, group = whole.partition(".")
    if not name:
        raise BadRequest("resource must be specified if apiGroup/subresource specified")
    try:
        kind = discovery.by_word(whole)
        name, group = kind.plural, kind.group
    except NotFound:
        pass
    return group, f"{name}{slash}{part}"


def _paths(paths: list[str], verbs: list[str]) -> list[str]:
    for verb in verbs:
        if verb not in PATH_VERBS:
            raise BadRequest(f"invalid verb: '{verb}' for nonResourceURL")
    for path in paths:
        if path != "*" and not path.startswith("/"):
            raise BadRequest("nonResourceURL should start with /")
        if "*" in path[:-1]:
            raise BadRequest("nonResourceURL only supports wildcard matches when '*' is at the end")
    return paths


def add_subjects(parser: Any) -> None:
    parser.add_argument("--clusterrole", default="", help="ClusterRole to bind")
    parser.add_argument("--user", action="append", default=[], help="name of a user (repeatable)")
    parser.add_argument("--group", action="append", default=[], help="name of a group (repeatable)")
    parser.add_argument(
        "--serviceaccount", action="append", default=[], metavar="NAMESPACE:NAME", help="service account (repeatable)"
    )  # fmt: skip


def add_role_binding(parser: Any) -> None:
    parser.add_argument("--role", default="", help="Role to bind")
    add_subjects(parser)


def role_binding(args: Any, command: list[str]) -> dict[str, Any]:
    if bool(args.role) == bool(args.clusterrole):
        raise BadRequest("exactly one of clusterrole or role must be specified")
    return _binding("Role" if args.role else "ClusterRole", args.role or args.clusterrole, args)


def cluster_role_binding(args: Any, command: list[str]) -> dict[str, Any]:
    if not args.clusterrole:
        raise BadRequest('required flag(s) "clusterrole" not set')
    return _binding("ClusterRole", args.clusterrole, args)


def _binding(kind: str, name: str, args: Any) -> dict[str, Any]:
    named = [("User", user) for user in args.user] + [("Group", group) for group in args.group]
    subjects = [{"kind": word, "apiGroup": GROUP, "name": who} for word, who in named]
    for account in args.serviceaccount:
        namespace, _, owner = account.partition(":")
        if not namespace or not owner or ":" in owner:
            raise BadRequest("serviceaccount must be <namespace>:<name>")
        subjects.append({"kind": "ServiceAccount", "namespace": namespace, "name": owner})
    found = {"roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}}
    return {**found, "subjects": subjects} if subjects else found
