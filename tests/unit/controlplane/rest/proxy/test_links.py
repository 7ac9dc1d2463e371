"""Links of HTML documents are found as browsers find them; everything else passes byte by byte, however the document comes."""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rest.proxy import links
from controlplane.rest.proxy.links import Links


def marked(raw: bytes) -> bytes:
    return b"[" + raw + b"]"


def rewritten(pieces: Iterable[bytes]) -> bytes:
    """A document with each of its links in brackets."""
    reader = Links(marked)
    return b"".join([*map(reader.feed, pieces), reader.end()])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('<a href="/x">t</a>', '<a href="[/x]">t</a>'), ("<A HREF=/x class=b>", "<A HREF=[/x] class=b>"),
        ("<a class=it's href='/x'>", "<a class=it's href='[/x]'>"), ('<a title="a > b" href="/x">', '<a title="a > b" href="[/x]">'),
        ("<a\n\thref\r\n=\n'/x'\n>", "<a\n\thref\r\n=\n'[/x]'\n>"), ("<a/href=/x/>", "<a/href=[/x/]>"),
        ('<img src="/a.png" alt="<a href=\'/no\'>"/>', '<img src="[/a.png]" alt="<a href=\'/no\'>"/>'),
        ('<form action="/f"><button formaction="/g">', '<form action="[/f]"><button formaction="[/g]">'),
        ('<a data-href="/no" href="/x?a=1&amp;b=2#c">', '<a data-href="/no" href="[/x?a=1&amp;b=2#c]">'),
        ('<div href="/no" src="/no">', '<div href="/no" src="/no">'), ('<abbr href="/no">', '<abbr href="/no">'),
        ("<a href=><b>", "<a href=><b>"), ('<a href="">', '<a href="[]">'), ("<a href>", "<a href>"),
        ("1 < 2 <3 </a href='/no'> <!doctype html> <? x ?>", "1 < 2 <3 </a href='/no'> <!doctype html> <? x ?>"),
        ("<!-- <a href='/no'> --><a href=/x>", "<!-- <a href='/no'> --><a href=[/x]>"),
        ("<!--><a href=/x><!---><a href=/y>", "<!--><a href=[/x]><!---><a href=[/y]>"),
        ("<!-- a --!><a href=/x>", "<!-- a --!><a href=[/x]>"), ("<!-- no end <a href=/no>", "<!-- no end <a href=/no>"),
        ('<script src="/s.js">x = "<a href=\'/no\'>"</script><a href=/x>', '<script src="[/s.js]">x = "<a href=\'/no\'>"</script><a href=[/x]>'),
        ("<style><a href=/no></STYLE ><a href=/x>", "<style><a href=/no></STYLE ><a href=[/x]>"),
        ("<title></titles><a href=/no></title><a href=/x>", "<title></titles><a href=/no></title><a href=[/x]>"),
        ("<textarea><a href=/no>", "<textarea><a href=/no>"), ("text", "text"), ("", ""), ("<a href='/cut", "<a href='/cut"), ("<", "<"),
    ],
)  # fmt: skip
def test_links_are_those_that_a_browser_follows(document: str, expected: str) -> None:
    """In attributes of start tags: not in text, comments, scripts, and values of other attributes."""
    assert rewritten([document.encode()]).decode() == expected


PARTS = st.sampled_from([
    b"<a", b"<img", b"<script", b"</script", b"<title>", b"</title>", b" href", b"src", b"=", b" ", b"\n", b'"', b"'", b">", b"/", b"/x",
    b"<", b"!", b"--", b"<!--", b"-->", b"t", b"\xff", b"\0", b"<div", b"class=b",
])  # fmt: skip


@given(st.lists(PARTS, max_size=40), st.integers(1, 7))
def test_it_does_not_matter_how_a_document_is_cut(parts: list[bytes], size: int) -> None:
    document = b"".join(parts)
    whole = rewritten([document])
    assert rewritten(parts) == whole
    assert rewritten(document[at : at + size] for at in range(0, len(document), size)) == whole


@given(st.lists(PARTS, max_size=40))
def test_a_document_keeps_its_bytes(parts: list[bytes]) -> None:
    """But for its links."""
    reader = Links(lambda raw: raw)
    assert b"".join([*map(reader.feed, parts), reader.end()]) == b"".join(parts)


class _Tags(HTMLParser):
    """The links that the standard library finds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if (tag, name) in {("a", "href"), ("img", "src")} and value]


WORDS = st.text("abc /'x", max_size=5)
TAG = st.builds(
    lambda name, attributes: f"<{name}{''.join(attributes)}>",
    st.sampled_from(["a", "img", "p", "b"]),
    st.lists(
        st.builds(lambda name, value: f' {name}="{value}"', st.sampled_from(["href", "src", "title"]), WORDS), max_size=3,
        unique_by=lambda text: text.split("=")[0],
    ),
)  # fmt: skip


@given(st.lists(TAG | st.sampled_from(["text", "</a>", "<!-- c -->", "a < b", " "]), max_size=8))
def test_links_are_those_of_the_standard_library(parts: list[str]) -> None:
    """Of documents without errors."""
    document, found = "".join(parts), list[str]()
    reader = Links(lambda raw: found.append(raw.decode()) or raw)  # type: ignore[func-returns-value]
    reader.feed(document.encode())
    other = _Tags()
    other.feed(document)
    assert [link for link in found if link] == other.found


@pytest.mark.parametrize("beginning", [b"<a ", b"<a href='/", b"<" + b"a" * 10])
def test_a_tag_without_an_end_is_not_kept(beginning: bytes) -> None:
    """It passes as it is from a size on; what follows it is read again."""
    reader = Links(marked)
    passed, fed = len(reader.feed(beginning)), len(beginning)
    for _ in range(100):
        passed, fed = passed + len(reader.feed(b"x" * 1000)), fed + 1000
        assert fed - passed <= links.MAX_TAG
    assert passed > 80_000
    assert reader.feed(b"'><a href=/x>").endswith(b"'><a href=[/x]>")
