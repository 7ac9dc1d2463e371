"""`kctl auth can-i` and `kctl auth whoami`: what one may do, and who one is."""

from __future__ import annotations

from typing import Any

from cli import discovery, flags, output, reviewing, tables
from cli.client import Client
from cli.complaints import report
from pinnace import kinds
from pinnace.authentication.v1.authentication_pb2 import SelfSubjectReview
from pinnace.authorization.v1.authorization_pb2 import (
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectRulesReviewStatus,
)
from pinnace.errors import BadRequest, NotFound


def run(arguments: list[str]) -> int:
    parser = flags.Parser("auth", "Check permissions and identities: kctl auth can-i create pods")
    verbs = parser.verbs()
    can = verbs.add_parser("can-i", help="check whether an action is allowed; exit code 1 if not")
    can.add_argument("question", nargs="*", metavar="VERB TYPE[/NAME]|PATH [NAME]", help="action to check; *: all")
    can.add_argument("--subresource", default="", help="subresource, such as log")
    can.add_argument("-A", "--all-namespaces", action="store_true", help="check in all namespaces")
    can.add_argument("--list", action="store_true", help="list all that is allowed in the namespace")
    can.add_argument("-q", "--quiet", action="store_true", help="print nothing, only set the exit code")
    who = verbs.add_parser("whoami", help="show user, UID and groups")
    who.add_argument("-o", "--output", default="", help=output.FORMATS)
    for verb in (can, who):
        verb.add_argument("--as", dest="user", default="", metavar="USER", help="user to impersonate")
        verb.add_argument("--as-group", dest="groups", action="append", default=[], metavar="GROUP",
                          help="group to impersonate (repeatable)")  # fmt: skip
        verb.add_argument("--as-uid", dest="uid", default="", metavar="UID", help="UID to impersonate")
    args = parser.parse_args(arguments)
    if args.verb == "whoami":
        return _whoami(args)
    return _list(args) if args.list else _can_i(args)


def _ask(client: Client, args: Any, kind: Any, question: Any) -> Any:
    return reviewing.ask(client, kind, question, user=args.user, groups=args.groups, uid=args.uid)


def _whoami(args: Any) -> int:
    output.check(args.output)
    answer = _ask(flags.client(args), args, kinds.SELF_SUBJECT_REVIEW, SelfSubjectReview())
    if args.output:
        print(output.structured(args.output, [output.document(kinds.SELF_SUBJECT_REVIEW, answer)], single=True), end="")
        return 0
    user = answer.status.userInfo
    rows = [["ATTRIBUTE", "VALUE"], ["Username", user.username]]
    if user.uid:
        rows.append(["UID", user.uid])
    if user.groups:
        rows.append(["Groups", _listed(user.groups)])
    rows += [[f"Extra: {key}", _listed(value.items)] for key, value in sorted(user.extra.items())]
    print(tables.render(rows))
    return 0


def _can_i(args: Any) -> int:
    if not 2 <= len(args.question) <= 3:
        raise BadRequest("specify two or three arguments: VERB TYPE [NAME], or --list")
    client = flags.client(args)
    answer = _ask(client, args, kinds.SELF_SUBJECT_ACCESS_REVIEW, _question(client, args)).status
    if not args.quiet:
        print("yes" if answer.allowed else f"no - {answer.reason}" if answer.reason else "no")
    return 0 if answer.allowed else 1


def _question(client: Client, args: Any) -> SelfSubjectAccessReview:
    verb, what, *rest = args.question
    review = SelfSubjectAccessReview()
    if what.startswith("/"):
        if rest or args.subresource:
            raise BadRequest("NAME and --subresource cannot be used with a path")
        review.spec.nonResourceAttributes.verb, review.spec.nonResourceAttributes.path = verb, what
        return review
    word, _, name = what.partition("/")
    if name and rest:
        raise BadRequest("specify the name once: TYPE/NAME, or TYPE NAME")
    found = review.spec.resourceAttributes
    found.verb, found.name, found.subresource = verb, name or "".join(rest), args.subresource
    found.resource, found.group, namespaced = _resource(word)
    found.namespace = client.context.namespace if namespaced and not args.all_namespaces else ""
    return review


def _resource(word: str) -> tuple[str, str, bool]:
    """Plural, group, and whether it is in namespaces; a word that the server does not know is taken as it is."""
    if word == "*":
        return "*", "*", True
    try:
        kind = discovery.by_word(word)
    except NotFound:
        report(f"Warning: the server doesn't have a resource type '{word}'")
        plural, _, group = word.partition(".")
        return plural, group, True
    if not kind.namespaced:
        report(f"Warning: resource '{kind.plural}' is not namespace scoped")
    return kind.plural, kind.group, kind.namespaced


def _list(args: Any) -> int:
    if args.question:
        raise BadRequest("--list cannot be used with an action")
    client = flags.client(args)
    question = SelfSubjectRulesReview()
    question.spec.namespace = client.context.namespace
    status = _ask(client, args, kinds.SELF_SUBJECT_RULES_REVIEW, question).status
    if status.incomplete:
        report(f"Warning: the list may be incomplete: {status.evaluationError}")
    print(tables.render([["RESOURCES", "NON-RESOURCE URLS", "RESOURCE NAMES", "VERBS"], *_rows(status)]))
    return 0


def _rows(status: SubjectRulesReviewStatus) -> list[list[str]]:
    rows: list[list[str]] = []
    for rule in status.resourceRules:
        for resource in rule.resources:
            for group in rule.apiGroups:
                name = resource if not group else f"{resource}.{group}"
                rows.append([name, "[]", _listed(rule.resourceNames), _listed(rule.verbs)])
    for item in status.nonResourceRules:
        rows.append(["", _listed(item.nonResourceURLs), "[]", _listed(item.verbs)])
    return sorted(rows, key=lambda row: (row[0] == "", row))


def _listed(items: Any) -> str:
    return f"[{' '.join(items)}]"
