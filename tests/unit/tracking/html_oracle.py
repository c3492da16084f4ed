"""What a browser sees: html5lib reads a document, and tracking is taken out of what it saw."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote

import html5lib
from html5lib import treewalkers

OPEN = "https://t.example/track/open/abc.gif"

_ASCII = "".join(map(chr, range(0x20, 0x7F)))
_XHTML = "http://www.w3.org/1999/xhtml"
_ADDRESS = re.compile(rb"https://t\.example/track/click/abc\?url=[0-9a-f]*&amp;sig=s")
_PIXEL = b'<img src="%s" width="1" height="1" alt="" style="border:0">' % OPEN.encode()
_UNQUOTED = re.compile(rb"[^\t\n\x0c\r >]*")
_walk = treewalkers.getTreeWalker("etree")


def click(url: str) -> str:
    """A tracked link that still tells where it leads."""
    return f"https://t.example/track/click/abc?url={url.encode().hex()}&sig=s"


def target_of(href: str) -> str | None:
    """Where a link made by `click` leads; None for any other."""
    match = re.fullmatch(r"https://t\.example/track/click/abc\?url=([0-9a-f]*)&sig=s", href)
    return bytes.fromhex(match[1]).decode() if match else None


@dataclass(slots=True)
class Seen:
    """A document: its nodes without pixels and hrefs, the hrefs in order, how many pixels."""

    nodes: list[tuple[object, ...]] = field(default_factory=list)
    hrefs: list[str | None] = field(default_factory=list)
    pixels: int = 0


def see(octets: bytes, charset: str) -> Seen:
    """Read a document as a browser does that was told its charset."""
    document = html5lib.parse(octets, transport_encoding=charset, useChardet=False)
    seen = Seen()
    for token in _walk(document):
        kind = token["type"]
        if kind in {"StartTag", "EmptyTag"}:
            _see_tag(seen, token["name"], token["namespace"], dict(token["data"]))
        elif kind in {"Characters", "SpaceCharacters"}:
            # Text on both sides of a pixel is one text without it.
            before = seen.nodes.pop()[1] if seen.nodes and seen.nodes[-1][0] == "text" else ""
            seen.nodes.append(("text", f"{before}{token['data']}"))
        else:
            seen.nodes.append(tuple(map(str, token.values())))
    return seen


def _see_tag(
    seen: Seen, name: str, namespace: str, attributes: dict[tuple[str | None, str], str]
) -> None:
    if name == "img" and attributes.get((None, "src")) == OPEN:
        seen.pixels += 1
        return
    if name in {"a", "area"} and namespace == _XHTML:
        seen.hrefs.append(attributes.pop((None, "href"), None))
    seen.nodes.append((name, namespace, tuple(sorted(map(str, attributes.items())))))


def assert_same_document(before: bytes, after: bytes, charset: str) -> None:
    """They differ by hrefs that lead to the same place, and by pixels."""
    first, second = see(before, charset), see(after, charset)
    assert first.nodes == second.nodes
    assert len(first.hrefs) == len(second.hrefs)
    for old, new in zip(first.hrefs, second.hrefs, strict=True):
        if old != new:
            assert old is not None
            assert new is not None
            target = target_of(new)
            assert target is not None
            assert _requested(old, charset) == _requested(target, charset)


def _requested(href: str, charset: str) -> str:
    """What a browser asks for: a query goes in the document's charset (URL 4.4)."""
    url = re.sub("[\t\n\r]", "", href.strip("".join(map(chr, range(0x21)))))
    before, mark, query = url.partition("?")
    return quote(before, _ASCII) + mark + quote(query, _ASCII, charset)


def assert_only_spliced(before: bytes, after: bytes) -> None:
    """Less pixel and addresses, `after` is `before` less the values that they replaced.

    The quotes around a value that had none are let pass.
    """
    fragments = _ADDRESS.split(after.replace(_PIXEL, b"", 1))
    at = 0
    unquoted = False
    for number, fragment in enumerate(fragments, start=1):
        expected = fragment[1:] if unquoted else fragment
        is_last = number == len(fragments)
        unquoted = not is_last and not before.startswith(expected, at)
        if unquoted:
            assert expected.endswith(b'"')
            expected = expected[:-1]
        assert expected == before[at : at + len(expected)]
        at += len(expected)
        if not is_last:
            at = _value_end(before, at, is_unquoted=unquoted)
    assert at == len(before)


def _value_end(octets: bytes, at: int, *, is_unquoted: bool) -> int:
    if is_unquoted:
        match = _UNQUOTED.match(octets, at)
        assert match is not None
        return match.end()
    return octets.index(octets[at - 1 : at], at)
