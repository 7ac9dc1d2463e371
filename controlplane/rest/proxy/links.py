"""Links in HTML that a pod sends: those to a path of the pod's become links to the path below the proxy. Pure.

The document is read once, as it comes, by the rules by which browsers find tags; everything else passes byte by byte, so its
character set does not matter where it agrees with ASCII. What is held back is at most the beginning of one tag. Scripts and
style sheets are left alone: a page that makes its links by itself needs relative ones.

Instead of `html.parser`, which takes time that grows with the square of the size of a hostile document, and has no positions of
attributes, so that tags would be written anew.
Source: the HTML standard, section 13.2.5 (tokenization); Transport of k8s.io/apimachinery's pkg/util/proxy for the attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

# Bytes of a tag; a longer one passes as it is. Those that are, have an image in them, which is no link.
MAX_TAG = 16 << 10
_LINKS: dict[bytes, frozenset[bytes]] = {
    name.encode(): frozenset(attribute.encode() for attribute in attributes.split())
    for name, attributes in {
        "a": "href", "applet": "codebase", "area": "href", "audio": "src", "base": "href", "blockquote": "cite",
        "body": "background", "button": "formaction", "command": "icon", "del": "cite", "embed": "src", "form": "action",
        "frame": "longdesc src", "head": "profile", "html": "manifest", "iframe": "longdesc src", "img": "longdesc src usemap",
        "input": "src usemap formaction", "ins": "cite", "link": "href", "object": "classid codebase data usemap", "q": "cite",
        "script": "src", "source": "src", "video": "poster src",
    }.items()
}  # fmt: skip
# Elements that have text and no tags, up to their end.
_TEXTS = (b"iframe", b"noembed", b"noframes", b"script", b"style", b"textarea", b"title", b"xmp")
_TEXT_ENDS = {name: re.compile(rb"</%s(?=[\s/>])" % name, re.IGNORECASE) for name in _TEXTS}
_COMMENT_END, _TAG_END = re.compile(rb"--!?>"), re.compile(rb">")
# Longer than what can begin one of these ends.
_TAIL = 16
# A comment, a start tag, or what may be the beginning of one at the end of the data.
_OPENING = re.compile(rb"<(?:!--|([a-zA-Z][^\s/>]*)|(?:!-?)?\Z)")
_ATTRIBUTE = re.compile(rb"""[\s/]*+(=?[^\s/>=]*+)\s*+(?:(=)\s*+(?:"([^"]*)"|'([^']*)'|([^\s>"'][^\s>]*))?)?""")
# Its groups that are a value.
_VALUES = (3, 4, 5)
_QUOTES, _CLOSE, _NONE = b"\"'", ord(">"), frozenset[bytes]()


@dataclass(slots=True)
class _Tag:
    """A start tag that is being read. `at` and the spans of `links` are counted from its beginning."""

    name: bytes
    at: int
    links: list[tuple[int, int]] = field(default_factory=list)


class Links:
    """`feed` pieces of a document and pass on what they return, then what `end` does. `rewrite` is given each link as it stands
    in its attribute."""

    def __init__(self, rewrite: Callable[[bytes], bytes]) -> None:
        self._rewrite = rewrite
        # What has not been passed on; `_from` is where that begins.
        self._data = b""
        self._from = 0
        self._tag: _Tag | None = None
        # What ends the part that passes as it is.
        self._ends: re.Pattern[bytes] | None = None

    def feed(self, data: bytes) -> bytes:
        self._data, self._from = self._data[self._from :] + data, 0
        out = list[bytes]()
        while self._part(out):
            pass
        return b"".join(out)

    def end(self) -> bytes:
        return self._data[self._from :]

    def _part(self, out: list[bytes]) -> bool:
        """Pass on one part of the document. False: it takes more data."""
        if self._ends is not None:
            return self._pass(self._ends, out)
        return self._text(out) if self._tag is None else self._attributes(self._tag, out)

    def _until(self, end: int, out: list[bytes]) -> None:
        out.append(self._data[self._from : end])
        self._from = end

    def _pass(self, ends: re.Pattern[bytes], out: list[bytes]) -> bool:
        found = ends.search(self._data, self._from)
        if found is None:
            self._until(max(self._from, len(self._data) - _TAIL), out)
            return False
        self._until(found.end(), out)
        self._ends = None
        return True

    def _text(self, out: list[bytes]) -> bool:
        """Up to the beginning of a tag or a comment; of what may be one, more data is awaited."""
        found = _OPENING.search(self._data, self._from)
        if found is None:
            self._until(len(self._data), out)
            return False
        self._until(found.start(), out)
        name, end = found[1], found.end()
        if name is None and found[0] == b"<!--":
            # The dashes may be those of its end.
            self._until(found.start() + 2, out)
            self._ends = _COMMENT_END
        elif name is None or end == len(self._data):
            return self._is_long()
        else:
            self._tag = _Tag(name.lower(), end - found.start())
        return True

    def _attributes(self, tag: _Tag, out: list[bytes]) -> bool:
        data, start, wanted = self._data, self._from, _LINKS.get(tag.name, _NONE)
        at, size = start + tag.at, len(data)
        while True:
            found = _ATTRIBUTE.match(data, at)
            assert found is not None
            end, last = found.end(), found.lastindex
            # A value may go on; one in quotes is not there without the second one.
            if end == size or (last == 2 and data[end] in _QUOTES):
                return self._is_long()
            if last in _VALUES and found[1].lower() in wanted:
                tag.links.append((found.start(last) - start, found.end(last) - start))
            at, tag.at = end, end - start
            if data[end] == _CLOSE:
                self._close(tag, out)
                return True

    def _close(self, tag: _Tag, out: list[bytes]) -> None:
        start, data = self._from, self._data
        for first, last in tag.links:
            self._until(start + first, out)
            out.append(self._rewrite(data[start + first : start + last]))
            self._from = start + last
        self._until(start + tag.at + 1, out)
        self._tag, self._ends = None, _TEXT_ENDS.get(tag.name)

    def _is_long(self) -> bool:
        """Of a tag that has not ended: whether it passes as it is from here."""
        if len(self._data) - self._from <= MAX_TAG:
            return False
        self._tag, self._ends = None, _TAG_END
        return True
