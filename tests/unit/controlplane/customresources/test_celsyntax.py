"""How macros are written in those of the library, and that nothing else of a rule changes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.customresources.celsyntax import rewritten


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("x.all(i, v, i < v)", "cel.bind(_c0, x, _c0._keys().all(i, cel.bind(v, _c0[i],  i < v)))"),
        ("a.b[0].?c.exists(k, v, v)", "cel.bind(_c0, a.b[0].?c, _c0._keys().exists(k, cel.bind(v, _c0[k],  v)))"),
        ("f(x).y.existsOne(i, v, v)", "cel.bind(_c0, f(x).y, _c0._keys().exists_one(i, cel.bind(v, _c0[i],  v)))"),
        ("- (a + b).all(i,v,v)", "- cel.bind(_c0, (a + b), _c0._keys().all(i, cel.bind(v, _c0[i], v)))"),
        ("x in [1].all(i,v,v)", "x in cel.bind(_c0, [1], _c0._keys().all(i, cel.bind(v, _c0[i], v)))"),
        ("a ? [1].all(i,v,v) : b", "a ? cel.bind(_c0, [1], _c0._keys().all(i, cel.bind(v, _c0[i], v))) : b"),
        ("a // b.all(i,v,\n.all(i,v,v)", "cel.bind(_c0, a , _c0._keys().all(i, cel.bind(v, _c0[i], v)))"),
        ("x.transformList(i, v, v > 0, i)", "cel.bind(_c0, x, _c0._keys().filter(i, cel.bind(v, _c0[i],  v > 0)).map(i, cel.bind(v, _c0[i],  i)))"),
        ("a.indexOf(b, 1) + x.filter(a, a).lastIndexOf(c)", "a._indexOf([b], 1) + x.filter(a, a)._lastIndexOf([c])"),
        ("format.named(n).value().validate(f(x))", "format._named(n)[?0].value()._validate(f(x))[?0]"),
    ],
)  # fmt: skip
def test_a_macro_in_other_words(rule: str, expected: str) -> None:
    """Its operand is the whole expression whose member it is, and nothing before."""
    assert rewritten(rule) == expected


@pytest.mark.parametrize(
    "rule",
    [
        "x.all(v, v > 1)", "x.all(1, v, v)", "x.map(i, v, v)", r"""'x.indexOf(1)' + r'\' + "a.all(i, v, v)" """, "x.indexOf",
        "indexOf(x, y)", "x.validate(a, b)", "x.all(i, v, v", "x.all(i, v, (]))", "'''a.all(i,v,v)''' == `a.indexOf(1)`",
        "x.all()", "x.indexOf()",
    ],
)  # fmt: skip
def test_what_is_no_such_macro_stays(rule: str) -> None:
    """Texts, other numbers of arguments, and what is no expression."""
    assert rewritten(rule) == rule


@given(st.text("aiv.,()[]{}?'\"/ \n`rb\\", max_size=60).map(lambda text: text + ".all(i,v,a)" + text))
def test_any_text_has_a_result(text: str) -> None:
    """The library judges it."""
    assert rewritten(text)


def test_a_long_rule_is_rewritten_in_linear_time() -> None:
    """Also one that is nested, as far as rules may be."""
    begun = time.process_time()
    rewritten("a.b.all(i, v, v) && " * 5000 + "true")
    rewritten("x.all(i, v, " * 99 + "true" + ")" * 99)
    rewritten("(" * 100_000 + ".all(")
    assert time.process_time() - begun < 5
