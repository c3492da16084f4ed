"""What tracking touches in an HTML document: href values, and the place of one pixel.

A scanner for tags after the tokenizer of HTML 13.2.5. It builds no tree: changing the value of an
href moves no node, so where tags begin and end is all there is to know. One pass, one regular
expression without backtracking, linear in the octets whatever they are.

| in the document                                              | links in it     |
|--------------------------------------------------------------|-----------------|
| `a` and `area`, the first href of a tag                      | found           |
| comment, conditional comment, `<![CDATA[`, doctype           | not seen        |
| script, style, textarea, title, iframe, noframes, noembed    | not seen        |
| xmp, plaintext, template, svg, math                          | not seen        |
| a tag, comment or raw text that never ends                   | scan stops here |
| raw text with `<` inside svg, math, select or frameset       | scan stops here |

The last row is where a scanner without a tree cannot know how to read on; nothing behind it is
changed.

The pixel goes before the last `</body>`, else to the end. An `img` makes a parser open again the
formatting elements that were left open (HTML 13.2.4.3), and the document would change by more than
the pixel. So if one may be open, and no text stands right before the place, the pixel follows the
last text before it: that text has opened them already. So it does where the scan stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_WS = rb"\t\n\x0c\r "
_ATTRIBUTE = (
    rb"[^" + _WS + rb"/>][^" + _WS + rb"/>=]*+"
    rb"(?:[" + _WS + rb"]*+=[" + _WS + rb"]*+"
    rb"(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|(?=>)|[^" + _WS + rb">\"'][^" + _WS + rb">]*+|\Z))?+"
)
_TOKEN = re.compile(
    rb"<(?:"
    rb"(/?+)([a-zA-Z][^" + _WS + rb"/>]*+)((?:[" + _WS + rb"/]++|" + _ATTRIBUTE + rb")*+)(>?+)"
    rb"|!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>|(\Z)))"
    rb"|(!\[CDATA\[)[^>]*+>?+"
    rb"|[!?][^>]*+>?+"
    rb"|/>|/[^a-zA-Z>][^>]*+>?+|/\Z"
    rb")"
)
_HREF = re.compile(
    rb"(?:[" + _WS + rb"/]++|(?![hH][rR][eE][fF][" + _WS + rb"/>=])" + _ATTRIBUTE + rb")*+"
    rb"([hH][rR][eE][fF][" + _WS + rb"]*+=[" + _WS + rb"]*+)"
    rb"(?:\"([^\"]*+)\"|'([^']*+)'|([^" + _WS + rb">\"'][^" + _WS + rb">]*+))"
)
_SOURCE = re.compile(
    rb"[sS][rR][cC][" + _WS + rb"]*+=[" + _WS + rb"]*+[\"']?+([^\"'" + _WS + rb">]++)"
)
_SCRIPT = re.compile(rb"<!--|-->|<(/?+)script(?=[" + _WS + rb"/>])", re.IGNORECASE)
_RAW_TEXT = frozenset(
    (b"style", b"script", b"textarea", b"title", b"iframe", b"noembed", b"noframes", b"xmp")
)
_RAW_END = {
    name: re.compile(rb"</" + name + rb"(?=[" + _WS + rb"/>])", re.IGNORECASE) for name in _RAW_TEXT
}
_FORMATTING = frozenset(
    (b"a", b"b", b"big", b"code", b"em", b"font", b"i", b"nobr", b"s", b"small", b"strike",
     b"strong", b"tt", b"u")
)  # fmt: skip
_FOREIGN = frozenset((b"svg", b"math"))
_ODD = frozenset((b"select", b"frameset"))
_COUNTED = _FORMATTING | _FOREIGN | _ODD | {b"table", b"template"}
_LINKS = frozenset((b"a", b"area"))
_SELF_CLOSING = re.compile(rb"(?:\A|[" + _WS + rb"\"'])/\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The first href of a tag, as offsets: where its name begins, and its value without quotes."""

    at: int
    start: int
    end: int
    is_quoted: bool


@dataclass(slots=True, kw_only=True)
class Markup:
    """What was found.

    sources: of images, as they stand in the document.
    pixel_at: before which octet the pixel goes; None if there is no place for one.
    """

    links: list[Link] = field(default_factory=list)
    sources: list[bytes] = field(default_factory=list)
    pixel_at: int | None = None


def scan(octets: bytes) -> Markup:
    """Read a document; never raises, linear in its length."""
    return _Scan(octets).run()


class _Open:
    """How many elements of some kinds are open, as far as tags tell."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, int] = {}
        self._all = 0

    def __bool__(self) -> bool:
        return self._all > 0

    def add(self, name: bytes) -> None:
        self._by_name[name] = self._by_name.get(name, 0) + 1
        self._all += 1

    def remove(self, name: bytes) -> None:
        if self._by_name.get(name):
            self._by_name[name] -= 1
            self._all -= 1


class _Scan:
    """One pass over a document. What it counts says how a parser would take an `img` here."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._found = Markup()
        self._formatting = _Open()
        self._foreign = _Open()
        self._tables = 0
        self._templates = 0
        self._odd = 0
        self._text_end: int | None = None  # of the last text that is more than white space
        self._body_end: int | None = None

    def run(self) -> Markup:
        octets = self._octets
        at = 0
        while True:
            token = _TOKEN.search(octets, at)
            start = len(octets) if token is None else token.start()
            if start > at:
                self._text(at, start)
            after = -1 if token is None else self._take(token, follows_text=start > at)
            if after < 0:
                break
            at = after
        if self._body_end is not None:
            self._found.pixel_at = self._body_end
        elif token is None:
            self._found.pixel_at = self._place(start, follows_text=start > at)
        else:
            self._found.pixel_at = self._text_end
        return self._found

    def _text(self, start: int, end: int) -> None:
        if not self._is_apart() and not self._octets[start:end].isspace():
            self._text_end = end

    def _take(self, token: re.Match[bytes], *, follows_text: bool) -> int:
        """Where to read on after a token; -1 if what comes is not to be understood."""
        start, end = token.span()
        name = token[2]
        if name is None:
            return end if self._is_whole(token) else -1
        if not token[4]:
            return -1
        name = name.lower()
        if token[1]:
            self._end_tag(name, start, follows_text=follows_text)
            return end
        if name in _LINKS:
            self._link(token)
        if name in _COUNTED:
            self._count(name, token[3])
        elif name == b"img":
            if source := _SOURCE.search(token[3]):
                self._found.sources.append(source[1])
        elif name in _RAW_TEXT:
            return self._raw_text(name, end)
        return -1 if name == b"plaintext" else end

    def _is_whole(self, token: re.Match[bytes]) -> bool:
        """A comment or the like has its end, and where it ends does not depend on the tree."""
        if token[5] is not None or not token[0].endswith(b">"):
            return False
        if token[6] is None or not self._foreign:
            return True
        return self._octets.find(b"]]>", token.start()) + 3 == token.end()

    def _link(self, token: re.Match[bytes]) -> None:
        if self._templates or self._foreign:
            return
        href = _HREF.match(self._octets, token.start(3), token.end(3))
        if href is None:
            return
        group = href.lastindex or 0
        self._found.links.append(
            Link(
                at=href.start(1), start=href.start(group), end=href.end(group), is_quoted=group < 4
            )
        )

    def _count(self, name: bytes, attributes: bytes) -> None:
        if name in _FORMATTING:
            self._formatting.add(name)
        elif name == b"table":
            self._tables += 1
        elif name == b"template":
            self._templates += 1
        elif name in _ODD:
            self._odd += 1
            if name == b"frameset":  # there may be no body at all
                self._body_end = self._text_end = None
        elif not _SELF_CLOSING.search(attributes):
            self._foreign.add(name)

    def _end_tag(self, name: bytes, start: int, *, follows_text: bool) -> None:
        if name == b"body":
            self._body_end = self._place(start, follows_text=follows_text)
        elif name in _FORMATTING:
            self._formatting.remove(name)
        elif name in _FOREIGN:
            self._foreign.remove(name)
        elif name == b"table":
            self._tables = max(0, self._tables - 1)
        elif name == b"template":
            self._templates = max(0, self._templates - 1)
        elif name == b"select":
            self._odd = max(0, self._odd - 1)

    def _raw_text(self, name: bytes, start: int) -> int:
        octets = self._octets
        if name == b"script":
            end = _script_end(octets, start)
        else:
            close = _RAW_END[name].search(octets, start)
            end = -1 if close is None else close.start()
        if (self._foreign or self._odd) and octets.find(b"<", start, end) >= 0:
            return -1
        return end

    def _is_apart(self) -> bool:
        """What is put here is not shown, or changes how the document is read."""
        return bool(self._templates or self._foreign or self._odd)

    def _place(self, at: int, *, follows_text: bool) -> int | None:
        """Where the pixel goes that is wanted here."""
        opens_nothing = not self._formatting or (follows_text and not self._tables)
        return at if opens_nothing and not self._is_apart() else self._text_end


def _script_end(octets: bytes, start: int) -> int:
    """Where the `</script>` of a script stands, -1 if nowhere (HTML 13.2.5.15 to 31)."""
    is_escaped = is_twice_escaped = False
    at = start
    while (found := _SCRIPT.search(octets, at)) is not None:
        at = found.end()
        if found[1] is None:
            is_escaped = found[0] == b"<!--"
            if is_escaped:
                at -= 2  # `<!-->` is a whole comment
            else:
                is_twice_escaped = False
        elif found[1] and not is_twice_escaped:
            return found.start()
        else:
            is_twice_escaped = is_escaped and not found[1]
    return -1
