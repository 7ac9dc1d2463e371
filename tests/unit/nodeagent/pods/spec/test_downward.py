"""Fields of a pod as text."""

from __future__ import annotations

import pytest

from nodeagent.pods.spec import downward
from tests.support.objects import pod


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", '"plain"'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("two\nlines\ttab", '"two\\nlines\\ttab"'),
        ("\x00\x7f", '"\\x00\\x7f"'),
        ("größe ☃", '"größe ☃"'),
        ("\u200b\U000e0001", '"\\u200b\\U000e0001"'),
    ],
)
def test_values_are_quoted_as_go_does(text: str, quoted: str) -> None:
    """One line each, whatever is in them."""
    assert downward.quote(text) == quoted


def test_labels_and_annotations_are_lines_in_order_of_key() -> None:
    """Without a newline at the end; none at all make an empty text."""
    subject = pod("web", meta={"labels": {"b": "2", "a": "1"}})
    assert downward.field_of(subject, "metadata.labels", {}) == 'a="1"\nb="2"'
    assert downward.field_of(subject, "metadata.annotations", {}) == ""
    assert downward.field_of(subject, "metadata.labels['b']", {}) == "2"
