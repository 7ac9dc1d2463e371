"""kubectl's templates: what they print, what is refused, and that a hostile one is refused in time.

The expected texts are what kubectl 1.37 prints for the same object and template, unless a test says otherwise.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from pinnace import jsonpath
from pinnace.errors import BadRequest
from pinnace.jsonpath import evaluation

# The object of the JSONPath page in kubectl's reference.
PAGE: dict[str, Any] = {
    "kind": "List",
    "items": [
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
            "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]},
        },
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.2"},
            "status": {
                "capacity": {"cpu": "8"},
                "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}],
            },
        },
    ],
    "users": [{"name": "myself", "user": {}}, {"name": "e2e", "user": {"username": "admin", "password": "secret"}}],
}
DATA: dict[str, Any] = {
    "kind": "ConfigMap",
    "data": {"a.b": "v", "n": "x"},
    "f": 1.5, "f2": 5e10, "f3": 1e21, "f4": 1.0, "whole": 12345678901234, "b": True, "z": None,
    "l": [1, 2, 3, 'q"<>&é'],
    "m": [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"v": 3}],
    "o": {"p": [True, None, 1.5, {"x": "<"}]},
    "n": [{"in": [{"k": "a", "v": 1}]}, {"in": [{"k": "b", "v": 2}]}],
}  # fmt: skip


def render(template: str, data: Any = DATA) -> str:
    return jsonpath.Template(template).render(data)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("the kind is {.kind}", "the kind is List"), ("{.kind}", "List"), ("{['kind']}", "List"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"), ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.users[0].name}", "myself"), ("{.users[-2:].name}", "myself e2e"),
        ("{.items[*]['metadata.name', 'status.capacity']}", '127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}'),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        ("{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}", '[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] '),
        ("{range .items[*]}{.metadata.name}{'\\t'}{end}", "127.0.0.1\t127.0.0.2\t"),
        ("{.items[0].metadata.labels.kubernetes\\.io/hostname}", "127.0.0.1"),
        ("{.items[0].metadata.name}", "127.0.0.1"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.startTime}{"\\n"}{end}', "127.0.0.1\t\n127.0.0.2\t\n"),
        ("{range .items[*]}{.metadata.name}{'\\t'}{.status.startTime}{'\\n'}{end}", "127.0.0.1\t\n127.0.0.2\t\n"),
        ("{.items[0]}", '{"kind":"None","metadata":{"labels":{"kubernetes.io/hostname":"127.0.0.1"},"name":"127.0.0.1"},'
         '"status":{"addresses":[{"address":"127.0.0.1","type":"LegacyHostIP"}],"capacity":{"cpu":"4"}}}'),
    ],
)  # fmt: skip
def test_every_example_of_kubectls_page(template: str, text: str) -> None:
    """In the order of the page; `{@}` is another test."""
    assert render(template, PAGE) == text


def test_the_object_itself() -> None:
    """`{@}`, `{$}` and `{}` print the input as JSON with sorted keys."""
    assert render("{@}", {"b": 1, "a": [None]}) == render("{$}", {"b": 1, "a": [None]}) == '{"a":[null],"b":1}'
    assert render("{}", {"b": 1}) == '{"b":1}'


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # Values as Go prints them.
        ("{.f} {.whole} {.f2} {.f3} {.f4} {.b} {.z}", "1.5 12345678901234 5e+10 1e+21 1 true null"),
        ("{.l}", '[1,2,3,"q\\"\\u003c\\u003e\\u0026é"]'), ("{.o}", '{"p":[true,null,1.5,{"x":"\\u003c"}]}'), ("{.l[3]}", 'q"<>&é'),
        # Missing keys print nothing.
        ("{.nope}", ""), ("{.kind.nope}", ""), ("{.m[*].nope}", ""), ("{.z.x}{.z[0]}{.z[*]}", ""), ("{.}", ""),
        # Quotes and their escapes.
        ("""{"a\\"b"}{'a\\'b'}{"a'b"}{'a"b'}{'\\t'}{"\\u00e9"}{'\\x41'}{"\\101"}""", "a\"ba'ba'ba\"b\téAA"),
        ('{"{"}{.kind}{"}"}', "{ConfigMap}"), ('{"日本\\n"}', "日本\n"), ("{1}{true}{-1.5}{+2}", "1true-1.52"),
        # Keys with dots.
        ("{.data.a\\.b}", "v"), ("{.data['a\\.b']}", "v"), ("{.data['n','a\\.b']}", "x v"), ("{.data.a\\\\.b}", ""),
        # Unions.
        ("{['kind','f']}", "ConfigMap 1.5"), ("{.l[0,2]}", "1 3"), ("{.m[0]['k','v']}", "a 1"), ("{.m[1 ,0].k}", "b a"),
        ("{.l[0:2,3]}", '1 2 q"<>&é'), ("{['nope','kind']}", "ConfigMap"),
        # Indexes and slices.
        ("{.m[-1:].v}{.m[-3].k}", "3a"), ("{.l[0:3:2]}", "1 3"), ("{.l[::2]}", "1 3"), ("{.l[:-1]}", "1 2 3"), ("{.l[1:-1]}", "2 3"),
        ("{.l[-2:]}", '3 q"<>&é'), ("{.l[0:0]}{.l[9:9]}", ""), ("{.m[]}", '{"k":"a","v":1}'), ("{.l[:]}", '1 2 3 q"<>&é'),
        # Wildcards and descent.
        ("{.data.*}", "v x"), ("{.l.*}", '1 2 3 q"<>&é'), ("{.o.*}", '[true,null,1.5,{"x":"\\u003c"}]'), ("{..p}", '[true,null,1.5,{"x":"\\u003c"}]'),
        ("{.m..k}", "a b"), ("{.m..}", '[{"k":"a","v":1},{"k":"b","v":2},{"v":3}] {"k":"a","v":1} a {"k":"b","v":2} b {"v":3}'),
        # Filters.
        ("{.m[?(@.v==1)].k}", "a"), ("{.m[?(@.v!=1)].v}", "2 3"), ("{.m[?(@.v>=2)].v}|{.m[?(@.v<=2)].v}|{.m[?(@.v<2)].v}|{.m[?(@.v>2)].v}", "2 3|1 2|1|3"),
        ("{.m[?(@.k)].v}", "1 2"), ("{.m[?(@.nope)].v}", ""), ('{.m[?(@.k!="a")].v}', "2"), ("{.m[?( @.k == 'a' )].v}", "1"),
        ('{.m[?("a"==@.k)].v}', "1"), ("{.m[?(@['k']==\"a\")].v}", "1"), ('{.m[?(.k=="b")].v}', "2"), ("{.m[?(@.v==@.v)].k}", "a b"),
        ('{.m[?(@.k>"a")].v}', "2"), ("{.l[?(@.x==1)]}", ""), ('{.m[?(@.k=="a)")].v}', ""), ("{.l[?(true)]}", '1 2 3 q"<>&é'),
        # Ranges; $ and @ both mean the current object.
        ("{range .m[*]}{.k}{end}{range .l[0:2]}{@}{end}", "ab12"), ("{range .m[*]}[{$.kind}]{end}", "[][][]"), ("{range .nope[*]}x{end}y", "y"),
        ("{ range .m[*] }{.k},{ end }", "a,b,,"), ("{range .m[*]}{range @.k}<{@}>{end}{end}", "<a><b>"), ("{range .m[0]}{.k}{end}", "a"),
        ("{range .m[0:2]}{range .nope[*]}q{end}{.k}{end}!", "ab!"), ("{range .m[*]}[{@.k}]{end}{.kind}", "[a][b][]ConfigMap"),
        # Text and blanks.
        ("{ .kind }{.kind }", "ConfigMapConfigMap"), ("{.kind}}", "ConfigMap}"), ("text only", "text only"), ("{.l[0]} and {.l[1]}", "1 and 2"), ("", ""),
    ],
)  # fmt: skip
def test_templates_print_what_kubectl_prints(template: str, text: str) -> None:
    """Values, missing keys, escapes, unions, slices, descent, filters, ranges, text."""
    assert render(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{.data["n"]}', "x"), ("{.data['a.b']}", "v"), ("{.data['a.b','n']}", "v x"), ("{.m[ 1 ].k}", "b"),
        ("{..*}", None), ("{.m[?(@.v==1.0)].k}", "a"),
        ('{.n[?(@.in[?(@.k=="b")])].in[0].v}', "2"), ('{.n[?(@.in[?(@.k=="b")].v==2)].in[0].k}', "b"),
    ],
)  # fmt: skip
def test_what_kubectl_refuses_and_kctl_reads(template: str, text: str | None) -> None:
    """Double-quoted keys, keys with dots in brackets, filters in filters, `..*`; an existing key wins over a path."""
    assert text is None or render(template) == text
    assert render("{['a.b']}", {"a.b": 1, "a": {"b": 2}}) == "1"
    assert render("{['a.b']}", {"a": {"b": 2}}) == "2"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{.l[1}", "unterminated array"), ("{.kind", "unclosed action"), ("{.m[?(@.k==", "unterminated filter"), ("{end}", "nothing to end"),
        ('{.m[?(@.k=="a") ]}', "unclosed array"), ("{range .m[*]}x", "{range} without {end}"), ("{.l[a]}", "invalid array index a"),
        ("{.l[1.5]}", "invalid array index"), ("{.l[-]}", "invalid array index"), ("{.l[99999999999999999999]}", "invalid array index"),
        ("{kind}", "unrecognized identifier kind"), ("{.m[?(@.k==a)]}", "unrecognized identifier a"), ("{....k}", "multiple recursive descent"),
        ("{'x}", "unterminated quoted string"), ("{'a\\\"b'}", "unquote string"), ('{"a\\qb"}', "unquote string"), ('{"\\ud800"}', "unquote string"),
        ("{.kind,.f}", "U+002C"), ("{`a`}", "U+0060"), ("{.kind}{{.kind}}", "U+007B"), ("{.kind\t.x}", "U+0009"), ("{-}", "cannot parse number"),
        ("{1.2.3}", "cannot parse number"), ('{.m[?(@.k=="a" && @.v==1)].v}', "U+0026"), ("{.m[?(@.k=~'a')].v}", "unrecognized filter operator ="),
        ("{.m[?(@.k=\"a\")].v}", "unrecognized filter operator ="), ("{.m[?(@.k<>'a')].v}", "unrecognized filter operator <>"),
        ("{.m[?(@.k==)].v}", "is empty"), ("{.l[9]}", "out of bounds: index 9, length 4"), ("{.l[-9]}", "out of bounds: index -5"),
        ("{.l[0:9]}", "out of bounds: index 8"), ("{.l[3:1]}", "starting index 3 is greater"), ("{.l[::0]}", "step must be > 0"),
        ("{.l[::-1]}", "step must be > 0"), ("{.kind[0]}", "a string is not a list"), ("{.o[?(@.p)]}", "an object is not a list and cannot be filtered"), ("{.o[*]}", "an object is not a list"),
        ("{.m[?(@.k==1)].k}", "incompatible types for comparison: a string with a number"), ("{.m[?(@.*=='a')].v}", "one element at a time"),
        ("{.o.p[?(@>=true)]}", "a boolean cannot be compared with >="),
    ],
)  # fmt: skip
def test_what_kubectl_refuses_is_refused_with_the_reason(template: str, said: str) -> None:
    """One line that names the template and the reason; never a traceback."""
    with pytest.raises(BadRequest) as caught:
        render(template)
    assert said in caught.value.message
    assert caught.value.message.startswith(("error parsing jsonpath ", "error executing jsonpath "))
    assert "\n" not in caught.value.message.replace(template, "")


def test_a_missing_key_can_be_an_error() -> None:
    """--allow-missing-template-keys=false."""
    assert jsonpath.Template("{.m[*].k}", allow_missing=False).render(DATA) == "a b"
    with pytest.raises(BadRequest, match="nope is not found"):
        jsonpath.Template("{.m[*].nope}", allow_missing=False).render(DATA)


def test_results_as_json() -> None:
    """-o jsonpath-as-json prints one array for each part of the template."""
    text = jsonpath.Template("{.m[*].k} x {.f}{.nope}{'<'}").render_json(DATA)
    assert text == '[\n    "a",\n    "b"\n]\n[\n    " x "\n]\n[\n    1.5\n]\n[]\n[\n    "\\u003c"\n]\n'


@pytest.mark.parametrize(
    "path", ["kind", ".kind", "{kind}", "{.kind}", " {.kind} ", "$.kind", "{$.kind}", "@.kind", "['kind']"]
)
def test_paths_of_columns_and_waits_are_read_in_every_spelling(path: str) -> None:
    """Braces, the first dot and the $ may be left out."""
    assert render(jsonpath.relaxed(path)) == "ConfigMap"


@pytest.mark.parametrize("path", ["", "{}", "{.a}{.b}", "{.a", "a}"])
def test_what_is_no_single_path_is_refused(path: str) -> None:
    """Two pairs of braces, or half of one."""
    with pytest.raises(BadRequest, match=r"is not a path such as \.metadata\.name"):
        jsonpath.relaxed(path)


def _deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"k": [value]}
    return value


HOSTILE = {
    "descents that multiply": "{" + "..*" * 40 + "}",
    "ranges that multiply": "{range ..*}" * 20 + "{.}" + "{end}" * 20,
    "filters in filters": "{.m" + "[?(@.m" * 5_000 + ")]" * 5_000 + "}",
    "ranges in ranges": "{range .m[*]}" * 4_000 + "x" + "{end}" * 4_000,
    "opened brackets": "{" + "[" * 60_000 + "}",
    "opened filters": "{" + "[?(" * 20_000 + "}",
    "quotes": "{" + "'" * 59_999 + "}",
    "keys of keys": "{" + "['" * 30_000 + "}",
    "digits": "{.l[" + "9" * 60_000 + "]}",
    "a number of digits": "{" + "9" * 60_000 + ".5.5}",
    "too long": "{.a}" * 20_000,
    "unions": "{[" + ",".join(["?(@.a"] * 10_000) + "]}",
    "lone surrogates": "{'\udcff\\q'}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_are_refused_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth, length and the number of values are bounded."""
    monkeypatch.setattr(evaluation, "MAX_VALUES", 200_000)
    began = time.monotonic()
    with pytest.raises(BadRequest) as caught:
        render(HOSTILE[name], {**DATA, "deep": _deep(60)})
    assert time.monotonic() - began < 10
    assert len(caught.value.message) < 1_000


def test_many_subscripts_are_read_in_linear_time() -> None:
    """Twenty thousand indexes take no minute."""
    began = time.monotonic()
    jsonpath.Template("{.a" + "[0]" * 20_000 + "}")
    assert time.monotonic() - began < 10
