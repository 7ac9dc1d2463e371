"""kubectl's templates."""

from __future__ import annotations

import pytest

from cli import jsonpath, tables
from pinnace.errors import BadRequest

DATA = {
    "items": [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/x": "1"}}, "status": {"n": 3, "ok": True}},
        {"metadata": {"name": "b", "labels": {}}, "status": {"n": 5, "ok": False}},
    ]
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].metadata.name}", "a b"), (".items[0].metadata.name", "a"), ("items[1].status.n", "5"),
        ("{.items[-1].metadata.name}", "b"), ("{.items[0:1].status.n}", "3"), ("{.items[0,1].status.n}", "3 5"),
        ('{range .items[*]}{.metadata.name}={.status.n}{"\\n"}{end}', "a=3\nb=5\n"), ("{..name}", "a b"),
        ("{.items[?(@.status.n>3)].metadata.name}", "b"), ('{.items[?(@.metadata.name=="a")].status.ok}', "true"),
        ("{.items[0].metadata.labels.app\\.kubernetes\\.io/x}", "1"), ("{.items[0].metadata.labels['app.kubernetes.io/x']}", "1"),
        ("{.nothing}", ""), ("name: {.items[0].metadata.name}!", "name: a!"), ("{.items[0].status}", '{"n":3,"ok":true}'),
        ("{$.items[0].metadata.name}", "a"),
    ],
)  # fmt: skip
def test_templates_print_what_kubectl_prints(template: str, text: str) -> None:
    """Fields, indexes, slices, filters, ranges, text."""
    assert jsonpath.evaluate(template, DATA) == text


@pytest.mark.parametrize("template", ["{.items[", "{range .items[*]}x", "{end}", "{.items[a]}", "{.items[?(]}"])
def test_broken_templates_are_refused(template: str) -> None:
    """With BadRequest, never a traceback."""
    with pytest.raises(BadRequest):
        jsonpath.evaluate(template, DATA)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (900, "15m"), (4 * 3600 + 60, "4h1m"), (9 * 3600, "9h"), (50 * 3600, "2d2h"),
     (9 * 86400, "9d"), (800 * 86400, "2y"), (-5, "0s")],
)  # fmt: skip
def test_ages_have_two_units_while_they_matter(seconds: float, text: str) -> None:
    """As kubectl's."""
    assert tables.duration(seconds) == text


def test_control_characters_of_a_name_reach_no_terminal() -> None:
    """An escape sequence in a hostile object is shown as question marks."""
    assert "\x1b" not in tables.render([["a\x1b[2Jb"]])
