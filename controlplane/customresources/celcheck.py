"""Checking of rules with their definition: against the types of their schema, and what they may cost.

Source: apiextensions-apiserver's schema/cel and its validation of x-kubernetes-validations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.customresources import celcost, celenv, celfunctions, celoptionals, celsyntax, celtypes
from controlplane.customresources.celenv import Unsupported
from controlplane.customresources.structural import MAX_ERRORS, Rule, Structural
from pinnace import fielderrors
from pinnace.errors import Cause


def check(schema: Structural, path: str) -> list[Cause]:
    """Errors of all rules of an object's schema."""
    if not schema.ruled:
        return []
    root = celtypes.root_of(schema)
    try:
        checker = _Checker(root)
    except (TypeError, ValueError, RuntimeError) as error:
        # Of the schema, not of one rule: protobuf cannot express its types.
        return [fielderrors.invalid(path, "...", f"x-kubernetes-validations cannot be checked: {str(error)[:1000]}")]
    checker.walk(root, path, times=1, correlated=True)
    if checker.total > celcost.MAX_SCHEMA and not checker.errors:
        subject = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        checker.errors.append(_too_expensive(path, subject, checker.total / celcost.MAX_SCHEMA))
    return checker.errors


class _Checker:
    """One environment for all rules, as a new one costs milliseconds: it has a variable for each schema with rules."""

    def __init__(self, root: Structural) -> None:
        from cel_expr_python import cel

        types = celtypes.Types(root)
        variables: dict[str, Any] = {}
        self._numbers = {id(schema): at for at, schema in enumerate(_with_rules(root))}
        for at, schema in enumerate(_with_rules(root)):
            own = types.type_of(schema)
            variables |= {f"__self{at}": own, f"__olds{at}": cel.Type.List(own)}
        self._env = celenv.environment(types.pool, variables)
        self.errors: list[Cause] = []
        self.total = 0.0

    def walk(self, schema: Structural, path: str, *, times: float, correlated: bool) -> None:
        """`times`: how often the schema can apply in one object; `correlated`: whether its value has an old one."""
        for at, rule in enumerate(schema.rules):
            if len(self.errors) < MAX_ERRORS:
                self._rule(schema, rule, f"{path}.x-kubernetes-validations[{at}]", times, correlated)
        for name, below in schema.nested():
            if below.ruled:
                more = 1 if name.startswith("properties[") else celcost.most_items(schema)
                keeps = correlated and (name != "items" or schema.list_type == "map")
                self.walk(below, f"{path}.{name}", times=times * more, correlated=keeps)

    def _rule(self, schema: Structural, rule: Rule, path: str, times: float, correlated: bool) -> None:
        try:
            compiled = self._compile(schema, rule, rule.rule, "BOOL", f"{path}.rule", times)
            if "oldSelf" in compiled and not correlated:
                detail = "oldSelf cannot be used on the uncorrelatable portion of the schema"
                self.errors.append(fielderrors.invalid(f"{path}.rule", rule.rule, detail))
            if rule.optional_old_self and "oldSelf" not in compiled:
                detail = "may not be set if oldSelf is not used in rule"
                self.errors.append(fielderrors.invalid(f"{path}.optionalOldSelf", True, detail))
        except Unsupported as error:
            self.errors.append(fielderrors.invalid(f"{path}.rule", rule.rule, f"compilation failed: {error}"))
        if rule.message_expression:
            try:
                self._compile(schema, rule, rule.message_expression, "STRING", f"{path}.messageExpression", times)
            except Unsupported as error:
                detail = f"messageExpression compilation failed: {error}"
                self.errors.append(fielderrors.invalid(f"{path}.messageExpression", rule.message_expression, detail))

    def _compile(self, schema: Structural, rule: Rule, source: str, wanted: str, path: str, times: float) -> set[str]:
        """The names that an expression uses. Raises Unsupported."""
        source = celsyntax.rewritten(source)
        # By itself first: a text that is no expression must not become one between the parentheses.
        alone = celenv.compiled(celenv.dynamic(), source).serialize()
        names = celcost.names_in(alone)
        number = self._numbers[id(schema)]
        old = f"__olds{number}[?0]" if rule.optional_old_self else f"__self{number}"
        expression = celenv.compiled(self._env, celenv.bound("self", f"__self{number}", celenv.bound("oldSelf", old, source)))
        if expression.return_type().name().upper() not in (wanted, "DYN"):
            raise Unsupported(f"must evaluate to a {wanted.lower()}")
        _refuse_passed_optionals(expression.serialize())
        shape = celcost.shape_of(schema)
        variables = {f"__self{number}": shape, f"__olds{number}": celcost.Shape(1, shape)}
        cost = celcost.estimate(expression.serialize(), variables) * times
        self.total += cost
        if cost > celcost.MAX_RULE:
            self.errors.append(_too_expensive(path, "estimated rule cost", cost / celcost.MAX_RULE))
        return names


def _refuse_passed_optionals(serialized: bytes) -> None:
    """Raises Unsupported where the library could end the process."""
    ours = sorted(celcost.functions_in(serialized) & celfunctions.OF_CONTAINERS)
    if ours and celoptionals.are_kept(serialized):
        raise Unsupported(f"function {ours[0]} is not supported in a rule that puts optional values into lists or maps")


def _too_expensive(path: str, subject: str, factor: float) -> Cause:
    by = f"factor of {factor:.1f}x" if factor <= 100 else "factor of more than 100x"
    return fielderrors.forbidden(
        path,
        f"{subject} exceeds budget by {by} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where "
        "arrays, maps, and strings are declared)",
    )


def _with_rules(schema: Structural) -> Iterator[Structural]:
    if schema.rules:
        yield schema
    for _, below in schema.nested():
        if below.ruled:
            yield from _with_rules(below)
