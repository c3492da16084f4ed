"""HTML of a message with tracked links and a pixel: compiled once, rendered per recipient.

What changes, and nothing else:

| question                      | answered in  | in short                                      |
|-------------------------------|--------------|-----------------------------------------------|
| which parts are touched?      | `parts.py`   | text/html that is not attached or signed      |
| which tags?                   | `markup.py`  | href of `a` and `area`; one `img`             |
| which addresses?              | `target.py`  | http and https without a placeholder          |
| in which texts?               | `charset.py` | all but those where markup cannot be found    |
| how do they get into octets?  | `splice.py`  | in place, whatever the transfer encoding      |

One pixel per message, in the first HTML part that has a place for one. A message that was rewritten
already is not changed again: links under our base URL stay, and so does a pixel. An inline PGP
message, and a part that one of these cannot read, stays as it is to the last octet.

Everything here is pure; keys and tokens are the caller's. Nothing here raises for a message,
whatever it holds, and everything is linear in its octets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from gatewayd.mail.header import MAX_LINE, HeaderSection
from gatewayd.tracking import charset, markup, parts, splice, target
from gatewayd.tracking.charset import Text
from gatewayd.tracking.markup import Link, Markup
from gatewayd.tracking.parts import Encoding, HtmlPart
from gatewayd.tracking.splice import Edit, Template

MAX_OPEN_URL = 900  # octets, so that it fits in a line

_IMAGE = "<img"
_PIXEL = 0  # of the addresses; clicks follow
_ARMOR = re.compile(rb"-----BEGIN PGP (?:SIGNED )?MESSAGE-----")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_ESCAPED = re.compile("[^ !#-&(-;=?-~]")  # what is not safe in an attribute, but for `&`


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part that changes. text: how addresses are encoded in it."""

    template: Template
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledBody:
    """A body whose links and pixel are still to be filled in.

    urls: the addresses of its tracked links, each once.
    """

    pieces: tuple[bytes | _Piece, ...]
    urls: tuple[str, ...]
    has_pixel: bool

    @property
    def is_changed(self) -> bool:
        """False if there is nothing to fill in: the body goes out as it is."""
        return bool(self.urls) or self.has_pixel

    def render(self, click: Callable[[str], str], open_url: str) -> bytes:
        """The body for one recipient.

        Args:
            click: the address to put in the place of another; it is asked once for each.
            open_url: of the pixel.

        Raises:
            ValueError: an address that was given holds a control character, or the pixel's is
                longer than 900 octets.
        """
        if len(open_url) > MAX_OPEN_URL:
            raise ValueError(f"the address of a pixel has at most {MAX_OPEN_URL} characters")
        addresses = [_escape(open_url), *(_escape(click(url)) for url in self.urls)]
        plain = [address.encode("ascii") for address in addresses]
        rendered: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                rendered.append(piece)
            elif piece.text.is_plain:
                rendered.append(piece.template.render(plain))
            else:
                rendered.append(piece.template.render([*map(piece.text.encode, addresses)]))
        return b"".join(rendered)


def compile_body(
    header: HeaderSection, body: bytes, *, opens: bool, clicks: bool, base_url: str = ""
) -> CompiledBody:
    """Find in a body what tracking changes.

    Args:
        header: the header section of the message.
        body: all of it, as it stands on the wire.
        opens: whether a pixel is put in.
        clicks: whether links are tracked.
        base_url: under which our own links are; without it they are known by their shape.
    """
    compiler = _Compiler(opens=opens, clicks=clicks, is_ours=target.ours(base_url))
    pieces: list[bytes | _Piece] = []
    end = 0
    for part in parts.find(header, body) if opens or clicks else ():
        piece = compiler.compile(part, body[part.start : part.end])
        if piece is not None:
            pieces += (body[end : part.start], piece)
            end = part.end
    pieces.append(body[end:])
    return CompiledBody(
        pieces=tuple(pieces), urls=tuple(compiler.urls), has_pixel=compiler.has_pixel
    )


class _Compiler:
    """One message on its way through: the addresses so far, and whether there is a pixel yet."""

    def __init__(self, *, opens: bool, clicks: bool, is_ours: Callable[[str], bool]) -> None:
        self.urls: dict[str, int] = {}
        self.has_pixel = False
        self._wants_pixel = opens
        self._clicks = clicks
        self._is_ours = is_ours

    def compile(self, part: HtmlPart, octets: bytes) -> _Piece | None:
        """The part with its slots, or None if nothing in it changes."""
        decoded = splice.decode(octets, part.encoding)
        text = None if decoded is None else charset.read(decoded, part.charset)
        if decoded is None or text is None or _ARMOR.search(text.view):
            return None
        if text.unit > 1 and part.encoding is Encoding.IDENTITY:
            return None
        found = markup.scan(text.view)
        edits = self._links(text, found.links) if self._clicks else []
        if (pixel := self._pixel(part, text, found)) is not None:
            edits.append(pixel)
            edits.sort(key=lambda edit: edit.start)
        if not edits:
            return None
        template = splice.compile_part(octets, decoded, part.encoding, edits)
        # The template has taken what it needs; the octets are not held a second time.
        return _Piece(template, replace(text, octets=b"", view=b""))

    def _links(self, text: Text, links: list[Link]) -> list[Edit]:
        edits: list[Edit] = []
        for link in links:
            href = text.decode(link.start, link.end)
            url = None if href is None else target.read(href, text.codec)
            if url is None or self._is_ours(url):
                continue
            number = self.urls.setdefault(url, _PIXEL + 1 + len(self.urls))
            quotes = int(link.is_quoted)
            start, end = (link.start - quotes) * text.unit, (link.end + quotes) * text.unit
            quote = text.octets[start : start + text.unit] if quotes else text.encode('"')
            edits.append(
                Edit(
                    at=link.at * text.unit,
                    start=start,
                    end=end,
                    link=number,
                    before=quote,
                    after=quote,
                )
            )
        return edits

    def _pixel(self, part: HtmlPart, text: Text, found: Markup) -> Edit | None:
        sources = (target.read(source.decode("latin-1"), None) for source in found.sources)
        if any(source is not None and self._is_ours(source) for source in sources):
            self._wants_pixel = False
        if not self._wants_pixel or found.pixel_at is None:
            return None
        if not _has_room(part, text.view, found.pixel_at):
            return None
        self._wants_pixel = False
        self.has_pixel = True
        at = found.pixel_at * text.unit
        attributes = ' width="1" height="1" alt="" style="border:0"'
        return Edit(
            at=at,
            start=at,
            end=at,
            link=_PIXEL,
            ahead=text.encode(_IMAGE),
            before=text.encode(' src="'),
            after=text.encode('"'),
            behind=(text.encode(attributes), text.encode(">")),
        )


def _has_room(part: HtmlPart, view: bytes, at: int) -> bool:
    """Whether a tag that may be broken inside fits in a line (RFC 5322 2.1.1)."""
    if part.encoding is not Encoding.IDENTITY:
        return True
    end = view.find(b"\r\n", at)
    run = (len(view) if end < 0 else end) - at
    column = at - view.rfind(b"\n", 0, at) - 1
    return column + len(_IMAGE) <= MAX_LINE and run < MAX_LINE


def _escape(address: str) -> str:
    address = address.replace("&", "&amp;")
    if _ESCAPED.search(address) is None:
        return address
    if _CONTROL.search(address):
        raise ValueError("a control character in an address of tracking")
    return _ESCAPED.sub(lambda match: f"&#{ord(match[0])};", address)
