"""Where the HTML of a message lies: octet offsets of the parts that tracking may touch (RFC 2046).

| part                                                         | is         |
|--------------------------------------------------------------|------------|
| text/html with no disposition, or `inline`                   | found      |
| inside multipart/alternative, related, mixed, any unknown    | looked for |
| any other disposition, on the part or on a multipart around  | left alone |
| inside multipart/signed, encrypted, report, digest           | left alone |
| inside message/rfc822, application/pkcs7-mime                | left alone |
| two Content-Type or two Content-Transfer-Encoding fields     | left alone |
| an encoding that is none of RFC 2045 6.1                     | left alone |

The body is read once, from delimiter line to delimiter line. As in `mail/structure.py` a delimiter
ends the parts inside it wherever it stands, in a header too (RFC 2046 5.1.2).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gatewayd.mail.header import HeaderSection
from gatewayd.mail.structure import MAX_BOUNDARY, MAX_NESTING, MAX_PART_HEADER

_DELIMITER = re.compile(rb"(?:\A|(?<=\r\n))--([^\r\n]*+)(?:\r\n|\Z)")
_HEADER_END = re.compile(rb"\r\n(?:\r\n|(--))")
_PARAMETER = re.compile(
    rb';[ \t]*+([^\s=;"]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_CLOSED_MULTIPARTS = frozenset((b"signed", b"encrypted", b"report", b"digest"))


class Encoding(enum.Enum):
    """How the octets of a part stand on the wire (RFC 2045 6.1)."""

    IDENTITY = "identity"  # 7bit, 8bit, binary
    QUOTED_PRINTABLE = "quoted-printable"
    BASE64 = "base64"


_ENCODINGS = {
    b"": Encoding.IDENTITY,
    b"7bit": Encoding.IDENTITY,
    b"8bit": Encoding.IDENTITY,
    b"binary": Encoding.IDENTITY,
    b"quoted-printable": Encoding.QUOTED_PRINTABLE,
    b"base64": Encoding.BASE64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlPart:
    """One text/html part: body[start:end] are its octets, still encoded.

    charset: the parameter as it was given, in lower case; empty if there is none.
    """

    start: int
    end: int
    encoding: Encoding
    charset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entity:
    """What a header says about what follows it: a multipart, HTML, or neither."""

    boundary: bytes = b""
    encoding: Encoding | None = None
    charset: str = ""


_OPAQUE = _Entity()


def find(header: HeaderSection, body: bytes) -> list[HtmlPart]:
    """The HTML parts of a message in order. Never raises; linear in the body."""
    entity = _read(header)
    if entity.encoding is not None:
        return [HtmlPart(start=0, end=len(body), encoding=entity.encoding, charset=entity.charset)]
    return list(_walk(body, entity.boundary)) if entity.boundary else []


def _walk(body: bytes, boundary: bytes) -> Iterator[HtmlPart]:
    open_at = {boundary: 0}  # boundary to its depth, outermost first
    leaf: tuple[int, _Entity] | None = None
    for delimiter in _DELIMITER.finditer(body):
        name = _open_boundary(delimiter[1], open_at)
        if name is None:
            continue
        if leaf is not None and (part := _part(leaf, delimiter.start() - 2)) is not None:
            yield part
        leaf = None
        is_close = delimiter[1].startswith(name + b"--")
        while len(open_at) > open_at[name] + 1:
            open_at.popitem()
        if is_close:
            del open_at[name]
            continue
        start, entity = _enter(body, delimiter.end())
        if entity.encoding is not None:
            leaf = start, entity
        # A boundary that is open already means two trees to two readers: none of it is touched.
        elif entity.boundary and entity.boundary not in open_at and len(open_at) < MAX_NESTING:
            open_at[entity.boundary] = len(open_at)
    if leaf is not None and (part := _part(leaf, len(body))) is not None:
        yield part


def _open_boundary(line: bytes, open_at: dict[bytes, int]) -> bytes | None:
    """The boundary that a line after two dashes ends or goes on with, if it is open."""
    name = line.rstrip(b" \t")
    if name in open_at:
        return name
    return name[:-2] if name.endswith(b"--") and name[:-2] in open_at else None


def _part(leaf: tuple[int, _Entity], end: int) -> HtmlPart | None:
    start, entity = leaf
    if entity.encoding is None or start >= end:
        return None
    return HtmlPart(start=start, end=end, encoding=entity.encoding, charset=entity.charset)


def _enter(body: bytes, at: int) -> tuple[int, _Entity]:
    """Where the content of the part whose header starts here begins, and what it is."""
    end = _HEADER_END.search(body, at - 2, at + MAX_PART_HEADER)
    # A line of dashes in a header may be a delimiter; the walk goes on to see it.
    if end is None or end[1]:
        return at, _OPAQUE
    if end.start() < at:
        return end.end(), _OPAQUE
    return end.end(), _read(HeaderSection(body[at : end.start() + 2]))


def _read(header: HeaderSection) -> _Entity:
    types = header.find("Content-Type")
    encodings = header.find("Content-Transfer-Encoding")
    disposition = header.first("Content-Disposition") or b"inline"
    if len(types) != 1 or len(encodings) > 1 or _token(disposition) != b"inline":
        return _OPAQUE
    kind, _, subtype = _token(types[0]).partition(b"/")
    if kind == b"multipart" and subtype not in _CLOSED_MULTIPARTS:
        boundary = _parameter(types[0], b"boundary").rstrip(b" \t")
        return _Entity(boundary=boundary) if len(boundary) <= MAX_BOUNDARY else _OPAQUE
    if (kind, subtype) != (b"text", b"html"):
        return _OPAQUE
    encoding = _ENCODINGS.get(_token(encodings[0]) if encodings else b"")
    charset = _parameter(types[0], b"charset").strip().lower().decode("ascii", "replace")
    return _Entity(encoding=encoding, charset=charset)


def _token(value: bytes) -> bytes:
    """What stands before the first parameter, in lower case, without white space."""
    return b"".join(value.partition(b";")[0].split()).lower()


def _parameter(value: bytes, name: bytes) -> bytes:
    for match in _PARAMETER.finditer(value):
        if match[1].lower() == name:
            quoted, plain = match[2], match[3]
            return bytes(plain) if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
    return b""
