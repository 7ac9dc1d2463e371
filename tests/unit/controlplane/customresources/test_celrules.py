"""Rules in CEL: what is refused with the definition, what they say of an object, and what they may take."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from controlplane.customresources import celcheck, celrules, celtypes, schemaparser, structuralcheck
from controlplane.customresources.structural import Structural


def parsed(spec: dict[str, Any], *rules: Any) -> Structural:
    """Rules are of `spec`: a text, or a rule with further fields."""
    listed = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    schema, errors = schemaparser.parse(
        {"type": "object", "properties": {"spec": {**spec, **({"x-kubernetes-validations": listed} if listed else {})}}},
        "schema",
    )
    assert not errors
    assert structuralcheck.check(schema, "schema") == []
    return schema


def refused(spec: dict[str, Any], *rules: Any) -> list[str]:
    return [str(error) for error in celcheck.check(parsed(spec, *rules), "schema")]


def broken(spec: dict[str, Any], value: Any, *rules: Any, old: Any = None) -> list[str]:
    schema = parsed(spec, *rules)
    assert celcheck.check(schema, "schema") == []
    whole = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}}
    before = None if old is None else {**whole, "spec": old}
    return [str(error) for error in celrules.validate({**whole, "spec": value}, before, celtypes.root_of(schema))]


SIZES = {"type": "object", "properties": {
    "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string", "maxLength": 63},
    "hosts": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 253}},
    "ratio": {"type": "number"}, "at": {"type": "string", "format": "date-time"}, "for": {"type": "string", "format": "duration"},
    "dash-ed": {"type": "integer"}, "none": {"type": "string", "maxLength": 9}, "any": {"x-kubernetes-int-or-string": True},
    "labels": {"type": "object", "maxProperties": 10, "additionalProperties": {"type": "string", "maxLength": 63}},
    "ports": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
              "items": {"type": "object", "required": ["name"],
                        "properties": {"name": {"type": "string", "maxLength": 15}, "port": {"type": "integer"}}}}}}  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [
        "self.min <= self.max // a comment",
        "!has(self.name) || self.name.startsWith('a')",
        "self.hosts.all(h, h.endsWith('.example.com'))",
        "self.ports.exists_one(p, p.name == 'http')",
        "self.ratio > 0.5 && self.ratio < 2.0",
        "self.at < timestamp('2030-01-01T00:00:00Z')",
        "self.__for__ >= duration('1m')",
        "self.dash__dash__ed == 1",
        "type(self.any) == int ? self.any > 0 : self.any.endsWith('%')",
        "self.labels.all(k, self.labels[k] != '')",
        "'http' in self.ports.map(p, p.name)",
        "self.?name.orValue('x').size() > 0 && self.?name.orValue('x').find('[a-z]') != ''",
        "cel.bind(n, self.ports.size(), n > 0 && n < 5)",
        "self.hosts.isSorted() && sets.contains(self.hosts, ['a.example.com'])",
        "self.name.find('[a-z]+') == 'abc' && self.name.matches('^[a-z]+$')",
        "quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1').add(quantity('500m')).compareTo(quantity('1.5')) == 0",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && isURL('https://a.example.com/x')",
        "url('https://a.example.com:80/x').getHost() == 'a.example.com:80'",
        "math.greatest(self.min, self.max) == self.max && 'a-b'.split('-').size() == 2",
        "self.hosts.indexOf('b.example.com') == 1 && self.hosts.lastIndexOf('c') == -1 && [1, 2, 1].lastIndexOf(1) == 2",
        "self.ports.indexOf(self.ports[0]) == 0 && [1, 2.0, 3].indexOf(2) == 1 && [true].indexOf(true) == 0",
        "self.name.indexOf('c') == 2 && 'abcabc'.indexOf('a', 1) == 3 && 'abcabc'.lastIndexOf('b', 3) == 1",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.2').isGreaterThan(semver('1.0.0-rc.1'))",
        "semver('1.0.0-a').compareTo(semver('1.0.0+b')) == -1 && semver('v01.2', true).minor() == 2 && !isSemver('1.2')",
        "!format.dns1123Label().validate(self.name).hasValue() && format.dns1123Label().validate('A_').value().size() > 0",
        "format.named('uuid').value().validate('x').orValue([]) == ['invalid uuid'] && !format.named('none').hasValue()",
        "self.hosts.all(i, h, i < 3 && h != '') && self.labels.existsOne(k, v, k == 'a' && v == 'b')",
        "self.hosts.transformList(i, h, i > 0, h + string(i)) == ['b.example.com1']",
        "self.labels.transformMap(k, v, v + k) == {'a': 'ba'} && self.labels.transformMap(k, v, k == 'x', v) == {}",
        "self.labels.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
        "self.hosts.all(i, h, self.hosts.exists(j, g, g == h && i <= j || i > j)) && self.ports.exists(i, p, p.port == 80)",
        "self.?name.orValue('x') != '' && self.hosts.isSorted() && self.?hosts.orValue([]).isSorted()",
        "self.?hosts.optMap(h, h.isSorted()).orValue(true) && optional.of(self.hosts).value().isSorted()",
        "[?self.?min, ?self.?dash__dash__ed].sum() == 2 && sets.contains([self.hosts[?0].orValue('')], self.hosts.filter(h, h < 'b'))",
        "url(self.?none.orValue('https://a.b/')).getHost() == 'a.b'",
    ],
)  # fmt: skip
def test_a_rule_that_holds_says_nothing(rule: str) -> None:
    """Fields, macros, times, escaped names, optional access and Kubernetes' libraries."""
    value = {
        "min": 1, "max": 2, "name": "abc", "hosts": ["a.example.com", "b.example.com"], "ratio": 1, "at": "2026-01-01T00:00:00Z",
        "for": "1h30m", "dash-ed": 1, "any": "50%", "labels": {"a": "b"}, "ports": [{"name": "http", "port": 80}],
    }  # fmt: skip
    assert broken(SIZES, value, rule) == []


def test_a_broken_rule_has_the_words_of_kube_apiserver() -> None:
    """Its message, or the rule itself."""
    assert broken(SIZES, {"min": 3, "max": 2}, "self.min <= self.max") == [
        'spec: Invalid value: "object": failed rule: self.min <= self.max'
    ]
    rule = {"rule": "self.min <= self.max", "message": "min is above max", "reason": "FieldValueForbidden", "fieldPath": ".min"}
    assert broken(SIZES, {"min": 3, "max": 2}, rule) == ["spec.min: Forbidden: min is above max"]
    rule = {"rule": "self.min <= self.max", "message": "fixed", "messageExpression": "'min is %d'.format([self.min])"}
    assert broken(SIZES, {"min": 3, "max": 2}, rule) == ['spec: Invalid value: "object": min is 3']
    assert broken(SIZES, {"max": 2}, rule | {"rule": "has(self.min)"}) == ['spec: Invalid value: "object": fixed']


def test_a_rule_that_cannot_be_evaluated_is_broken() -> None:
    """An absent field, a division by zero."""
    assert broken(SIZES, {"min": 3}, "self.max > 1") == [
        'spec: Invalid value: "object": no such key: max evaluating rule: self.max > 1'
    ]
    assert "divide by zero" in broken(SIZES, {"min": 0}, "1 / self.min == 1")[0]


def test_rules_of_items_name_the_item() -> None:
    """Rules run wherever their schema applies."""
    spec = {"type": "array", "maxItems": 10, "items": {
        "type": "object", "properties": {"port": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.port > 0"}]}}  # fmt: skip
    assert broken(spec, [{"port": 1}, {"port": 0}]) == ['spec[1]: Invalid value: "object": failed rule: self.port > 0']


def test_transition_rules_run_only_where_there_is_an_old_value() -> None:
    """Also for the items of a keyed list, found by their key."""
    rule = {"rule": "self.name == oldSelf.name", "message": "name is immutable"}
    assert broken(SIZES, {"name": "b"}, rule) == []
    assert broken(SIZES, {"name": "b"}, rule, old={"name": "a"}) == ['spec: Invalid value: "object": name is immutable']
    spec = {**SIZES, "properties": {"ports": {**SIZES["properties"]["ports"]}}}
    items = {**spec["properties"]["ports"]["items"], "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port"}]}
    spec["properties"]["ports"]["items"] = items
    old = {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}
    new = {"ports": [{"name": "b", "port": 3}, {"name": "c", "port": 9}, {"name": "a", "port": 1}]}
    assert broken(spec, new, old=old) == ['spec.ports[0]: Invalid value: "object": failed rule: self.port == oldSelf.port']


def test_an_optional_old_value_lets_a_rule_run_at_creation() -> None:
    """oldSelf is an optional then."""
    rule = {"rule": "oldSelf.hasValue() ? self.min >= oldSelf.value().min : self.min == 0", "optionalOldSelf": True}
    assert broken(SIZES, {"min": 0}, rule) == []
    assert len(broken(SIZES, {"min": 1}, rule)) == 1
    assert broken(SIZES, {"min": 5}, rule, old={"min": 4}) == []
    assert len(broken(SIZES, {"min": 3}, rule, old={"min": 4})) == 1


def test_an_optional_old_value_is_passed_to_no_function_of_lists() -> None:
    """As any other optional value, which the library cannot pass on without ending the process."""
    [error] = refused(SIZES, {"rule": "[oldSelf].sum() == 1", "optionalOldSelf": True})
    assert "function sum is not supported in a rule that puts optional values into lists or maps" in error
    assert broken(SIZES, {"min": 1}, {"rule": "[oldSelf.hasValue() ? 0 : 1].sum() == 1", "optionalOldSelf": True}) == []


@pytest.mark.parametrize("rule", ["dyn({'a': optional.of(1)})", "dyn([optional.of(1)])", "dyn(1)"])
def test_a_result_that_is_no_bool_breaks_the_rule(rule: str) -> None:
    """Its type is not known before it is evaluated."""
    [error] = broken(SIZES, {"min": 1}, rule)
    assert "unexpected type" in error


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ("self.mni > 1", "undefined field 'mni'"),
        ("self.name > 1", "found no matching overload for '_>_'"),
        ("self.min", "must evaluate to a bool"),
        ("self.min >", "Syntax error"),
        ("self.min.indexOf(1) == 0", "found no matching overload for 'indexOf'"),
        ("self.hosts.indexOf() == 0", "undeclared reference to 'indexOf'"),
        ("self.hosts.flatten() == []", "undeclared reference to 'flatten'"),
        ("self.min.all(i, v, true)", "found no matching overload for '_keys'"),
        ("self.hosts.all(i, v, v > 1)", "found no matching overload for '_>_'"),
        ("self.hosts.all(i, v, nope)", "undeclared reference to 'nope'"),
        ("format.none().validate('x').hasValue()", "undeclared reference to"),
        ("(" * 500 + "true" + ")" * 500, "recursion limit exceeded"),
        ("true), cel.bind(x, 1, true", "Syntax error"),
        ("oldSelf.mni == 1", "undefined field 'mni'"),
        ("[optional.of(1)].sum() == 1", "function sum is not supported in a rule that puts optional values into lists or maps"),
        ("[1].map(x, optional.of(x)).sum() == 1", "function sum is not supported"),
        ("[dyn(optional.of(1))].sum() == 1", "function sum is not supported"),
        ("[{'a': dyn(self.hosts[?0])}].sum() == 1", "function sum is not supported"),
        ("[{'a': self.?any.orValue(optional.of(1))}].sum() == 1", "function sum is not supported"),
        ("[{'a': self.min > 1 ? optional.of(1) : optional.none()}].sum() == 1", "function sum is not supported"),
        ("[{'a': optional.of(optional.of(1)).value()}].sum() == 1", "function sum is not supported"),
        ("cel.bind(x, {'a': self.?min}, [x].sum() == 1)", "function sum is not supported"),
        ("[self.?min].max() == 1", "function max is not supported"),
        ("sets.contains([self.hosts[?0]], [optional.none()])", "function sets.contains is not supported"),
        ("cel.bind(x, optional.of(1), [x].isSorted())", "function isSorted is not supported"),
        ("[{'a': self.hosts.first()}].sum() == 1", "function sum is not supported"),
    ],
)
def test_a_rule_that_does_not_fit_its_schema_is_refused(rule: str, part: str) -> None:
    """Misspelled fields, wrong types, and functions that are not there are errors of the definition, by name."""
    found = refused(SIZES, rule)
    assert len(found) == 1
    assert found[0].startswith("schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ")
    assert part in found[0]


def test_a_transition_rule_below_an_unordered_list_is_refused() -> None:
    """No old item corresponds to a new one there."""
    spec = {
        "type": "array",
        "maxItems": 5,
        "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
    }
    assert "oldSelf cannot be used on the uncorrelatable portion" in refused(spec)[0]


LOOSE = {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}, "text": {"type": "string"}}}
BOMBS = [
    "self.list.all(a, self.list.all(b, a == b))",
    "self.list.all(a, self.text.matches('(a|b)*c'))",
    "self.list.all(a, self.list.exists(b, self.list.exists(c, a + b == c)))",
    "[self.text]" + ".map(a, a + a)" * 24 + ".size() > 0",
    "[1,2,3,4,5,6,7,8,9]" + ".map(a, [1,2,3,4,5,6,7,8,9]" * 8 + ".map(z, z)" + ")" * 8 + ".size() > 0",
]  # fmt: skip


@pytest.mark.parametrize("rule", BOMBS)
def test_a_rule_that_could_run_for_minutes_is_refused_at_once(rule: str) -> None:
    """The estimate takes the largest request where the schema sets no bound."""
    started = time.process_time()
    found = refused(LOOSE, rule)
    assert time.process_time() - started < 5
    assert "exceeds budget by factor of" in found[0]


@pytest.mark.parametrize("rule", BOMBS)
def test_even_an_unchecked_bomb_ends_within_a_moment(rule: str) -> None:
    """The library's limit of iterations holds whatever the estimate says; strings here are small."""
    schema = parsed(LOOSE, rule)
    whole = {"apiVersion": "a/v1", "kind": "K", "metadata": {}, "spec": {"list": ["a"] * 400, "text": ""}}
    started = time.process_time()
    celrules.validate(whole, None, celtypes.root_of(schema))
    assert time.process_time() - started < 10


def test_bounds_in_the_schema_make_a_nested_rule_affordable() -> None:
    """As the error advises."""
    bounded = {
        "type": "object",
        "properties": {"list": {"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 50}}},
    }
    assert refused(bounded, BOMBS[0]) == []


def test_an_object_too_large_for_its_rules_is_one_error() -> None:
    """The work for one object has a bound of its own."""
    found = broken(LOOSE, {"list": ["a"] * 400_000}, "self.list.size() >= 0")
    assert found == [
        "spec: Forbidden: validation rules cannot be run on an object of this size: the rule cost budget is exceeded"
    ]


def test_a_process_without_rules_does_not_load_the_library() -> None:
    """17 MB that a cluster without custom resources does not pay."""
    program = (
        "import sys; from controlplane import resources; resources.built_in();"
        "assert not [name for name in sys.modules if name.startswith(('cel_expr_python', 're2'))]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_large_schema_with_rules_is_checked_in_a_moment() -> None:
    """Ten thousand fields, and a rule on each of a hundred objects."""
    fields = {f"p{at}": {"type": "string", "maxLength": 5} for at in range(100)}
    part = {"type": "object", "properties": fields, "x-kubernetes-validations": [{"rule": "has(self.p1) || self.p2 == 'a'"}]}
    spec = {"type": "object", "properties": {f"o{at}": part for at in range(100)}}
    started = time.process_time()
    assert refused(spec) == []
    assert time.process_time() - started < 15


@pytest.mark.parametrize("type_", ["number", "integer"])
@pytest.mark.parametrize("digits", [20, 310, 400])
def test_a_number_beyond_a_double_is_one_error(type_: str, digits: int) -> None:
    """In a condition and in a message; the old value alone may be so large too."""
    spec = {"type": "object", "properties": {"n": {"type": type_}}}
    rule = {"rule": "self.n < oldSelf.n", "messageExpression": "'%d'.format([int(self.n)])"}
    large = int("9" * digits)
    for value, old in ((large, 1), (1, large), (large, large)):
        assert len(broken(spec, {"n": value}, rule, old={"n": old})) <= 1
    assert len(broken(spec, {"n": large}, rule, old={"n": 1})) == 1


COUNTS = {"type": "object", "maxProperties": 9, "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"fooBar": {"type": "integer"}, "foo_bar": {"type": "integer"}}, "self.fooBar < self.foo_bar"),
        ({"aB": COUNTS, "ab": COUNTS}, "self.aB.size() < self.ab.size()"),
        ({"aB": COUNTS, "a_b": COUNTS, "AB": COUNTS}, "self.aB['x'] < self.a_b['x']"),
        ({"a": COUNTS, "AEntry": {"type": "integer"}}, "self.a.size() < self.AEntry"),
        ({"a.b": {"type": "integer"}, "a__dot__b": {"type": "integer"}, "c": {"type": "integer"}}, "self.c > 1"),
        ({"nodeSelector": COUNTS}, "self.nodeSelector.size() > 1"),
    ],
)
def test_names_of_properties_that_are_one_in_protobuf_are_two_in_rules(fields: dict[str, Any], rule: str) -> None:
    """Also a map in camel case, whose entries protobuf names after it."""
    assert refused({"type": "object", "properties": fields}, rule) == []


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("sets.contains([dyn(1), dyn(2.0), dyn('a')], [dyn(2), dyn(1.0)])", True),
        ("sets.contains([1], [1, 2])", False),
        ("sets.contains([dyn(true)], [dyn(1)])", False),
        ("sets.contains([[dyn(1), dyn([2])]], [[dyn(1.0), dyn([2.0])]])", True),
        ("sets.contains([{'a': 1, 'b': 2}], [{'b': 2, 'a': 1}])", True),
        ("sets.contains([1], [])", True),
        ("sets.intersects(['a', 'b'], ['b', 'c'])", True),
        ("sets.intersects(['a'], [])", False),
        ("sets.intersects([b'a'], [dyn('a')])", False),
        ("sets.equivalent([1, 1, 2], [2, 1])", True),
        ("sets.equivalent([timestamp('2020-01-01T00:00:00Z')], [timestamp('2020-01-01T01:00:00+01:00')])", True),
        ("sets.equivalent([1, 2], [1])", False),
    ],
)
def test_sets_compare_as_cel_does(rule: str, holds: bool) -> None:
    """Whatever the form of their items."""
    assert (broken(SIZES, {}, rule) == []) is holds


def test_large_sets_are_compared_in_linear_time() -> None:
    """Sixty thousand items took a minute when each was looked for in a list."""
    spec = {"type": "object", "properties": {
        name: {"type": "array", "maxItems": 60_000, "items": {"type": "integer"}} for name in ("one", "other")}}  # fmt: skip
    value = {"one": list(range(60_000)), "other": list(range(60_000))[::-1]}
    start = time.perf_counter()
    assert broken(spec, value, "sets.equivalent(self.one, self.other)", "sets.contains(self.one, self.other)") == []
    assert time.perf_counter() - start < 5


def test_sets_in_a_loop_cost_their_size_each_time() -> None:
    """So does a set whose size has no bound."""
    items = {"type": "array", "items": {"type": "integer"}}
    rule = "self.a.all(x, sets.contains(self.a, [x]))"
    assert refused({"type": "object", "properties": {"a": {**items, "maxItems": 1000}}}, rule) == []
    assert "exceeds budget" in refused({"type": "object", "properties": {"a": items}}, rule)[0]
