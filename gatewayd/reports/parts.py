"""The MIME parts of a returned message, read leniently within limits (RFC 2045, RFC 2046).

What comes back was often cut, refolded or made by hand, so nothing here raises and nothing asks for
more than it needs. An attached message stays octets: what it holds is somebody else's mail.

| limit          | what is over it                        |
|----------------|----------------------------------------|
| MAX_OCTETS     | is not looked at                       |
| MAX_HEADER     | of a header section is skipped         |
| MAX_FIELDS     | of a header section are skipped        |
| MAX_DEPTH      | a multipart is read as text            |
| MAX_PARTS      | of the whole message are skipped       |
| MAX_TEXT       | of one text part is skipped            |

Each level looks at each octet once, so reading takes at most MAX_DEPTH passes.
"""

from __future__ import annotations

import binascii
import html
import re
from dataclasses import dataclass, field
from typing import Final

from gatewayd.mail import encoded_word

MAX_OCTETS: Final = 4 * 1024 * 1024
MAX_HEADER: Final = 65536
MAX_FIELDS: Final = 1000
MAX_DEPTH: Final = 6
MAX_PARTS: Final = 64
MAX_TEXT: Final = 65536
_MAX_PARAMETERS: Final = 2048

_FIELD: Final = re.compile(rb"([!-9;-~]{1,76}+)[ \t]*+:")
_PARAMETER: Final = re.compile(
    rb';[ \t]*+([A-Za-z0-9*_-]{1,40}+)[ \t]*+=[ \t]*+(?:"([^"]*+)"?|([^;"]*+))'
)
_GUESSED_BOUNDARY: Final = re.compile(rb"(?:\A|\n)--([!-~][ -~]{0,99}+)\n")
_CHARSET: Final = re.compile(
    r"iso-?8859-(?:[1-9]|1[0-6])|latin-?1|(?:windows-|cp)(?:125[0-8]|437|85[0-9]|866|874|932|936"
    r"|949|950)|koi8-[rut]|gb2312|gbk|gb18030|big5|shift_?jis|iso-2022-(?:jp|kr)|euc-(?:jp|kr)"
    r"|ks_c_5601-1987|tis-620|macintosh"
)
_SPOKEN_AS: Final = {"gb2312": "gbk", "ks_c_5601-1987": "cp949", "iso-2022-jp": "iso2022_jp_ext"}
_UNSEEN_HTML: Final = ((b"<!--", b"-->"), (b"<style", b"</style"), (b"<script", b"</script"))
_LINE_TAG: Final = re.compile(
    r"<(?:br|/?p|/?div|/?tr|/?li|/?h[1-6]|/?table|hr)\b[^<>]{0,2000}+>", re.IGNORECASE
)
_TAG: Final = re.compile(r"<[A-Za-z/!?][^<>]{0,2000}+>")


@dataclass(frozen=True, slots=True)
class Part:
    """One entity. Line ends are LF, whatever they were.

    fields: name in lower case, value unfolded, in order.
    kind: media type in lower case; `text/plain` when it is not told.
    raw: header section and body, as sent.
    """

    fields: tuple[tuple[str, bytes], ...]
    kind: str
    parameters: dict[str, str]
    body: bytes
    raw: bytes
    parts: tuple[Part, ...] = field(default=())

    def find(self, name: str) -> bytes:
        """The value of the first field with this lower-case name, b"" without one."""
        return next((value for key, value in self.fields if key == name), b"")

    def shown(self, name: str) -> str:
        """The same, as a reader would show it."""
        return encoded_word.decode(self.find(name)[:4096])

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.fields)

    def octets(self, limit: int = MAX_OCTETS) -> bytes:
        """The body without its content-transfer-encoding, at most so many octets."""
        return _decoded(self.body, self.find("content-transfer-encoding"), limit)

    def text(self, limit: int = MAX_TEXT) -> str:
        """The body as text, HTML without its tags; at most so many octets of it."""
        octets = self.octets(limit)
        if self.kind == "text/html":
            return _plain(octets, self.parameters.get("charset", ""))
        return decode(octets, self.parameters.get("charset", ""))


def parse(octets: bytes) -> Part:
    """The tree of a message."""
    octets = octets[:MAX_OCTETS]
    if b"\r" in octets:
        octets = octets.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
        if b"\n" not in octets:  # it came over an old Macintosh
            octets = octets.replace(b"\r", b"\n")
    return _entity(octets.lstrip(b"\n"), depth=0, left=[MAX_PARTS])


def header_fields(section: bytes) -> tuple[tuple[str, bytes], ...]:
    """Fields of a header section with LF; lines that are none are skipped."""
    found: list[tuple[str, bytearray]] = []
    for line in section[:MAX_HEADER].split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            if found:
                found[-1][1].extend(b" " + line.strip())
        elif len(found) >= MAX_FIELDS:
            break
        elif match := _FIELD.match(line):
            found.append((match[1].decode("ascii").lower(), bytearray(line[match.end() :].strip())))
    return tuple((name, bytes(value)) for name, value in found)


def split(octets: bytes) -> tuple[bytes, bytes]:
    """Header section and body, at the first blank line."""
    if octets.startswith(b"\n"):
        return b"", octets[1:]
    header, _, body = octets.partition(b"\n\n")
    return header, body


def decode(octets: bytes, charset: str) -> str:
    """Text of any charset; what cannot be told is read as UTF-8, then as Latin-1."""
    name = charset.strip().lower()
    if name not in ("", "utf-8", "us-ascii") and _CHARSET.fullmatch(name):
        try:
            return octets.decode(_SPOKEN_AS.get(name, name), "replace")
        except (LookupError, UnicodeError):
            pass  # a codec that this Python was built without
    try:
        return octets.decode()
    except UnicodeDecodeError as fault:
        # A limit may have cut the last character.
        if fault.start > len(octets) - 4 or name == "utf-8":
            return octets.decode("utf-8", "replace")
        return octets.decode("latin-1")


def _entity(octets: bytes, *, depth: int, left: list[int]) -> Part:
    header, body = split(octets)
    fields = header_fields(header)
    content_type = next((value for name, value in fields if name == "content-type"), b"")
    kind, parameters = _content_type(content_type)
    parts: tuple[Part, ...] = ()
    if kind.startswith("multipart/") and depth < MAX_DEPTH:
        boundary = parameters.get("boundary", "").encode("latin-1", "replace").rstrip()
        parts = tuple(
            _entity(part, depth=depth + 1, left=left) for part in _parts(body, boundary, left)
        ) or (Part((), "text/plain", {}, body, body),)
    return Part(fields, kind, parameters, body, octets, parts)


def _content_type(value: bytes) -> tuple[str, dict[str, str]]:
    value = value[:_MAX_PARAMETERS]
    # "text/plain charset=..." without the semicolon is seen too.
    words = value.partition(b";")[0].split(None, 1)
    kind = words[0].lower().decode("latin-1") if words else ""
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(value):
        name = match[1].decode("ascii").lower().rstrip("*0")
        text = (match[2] if match[2] is not None else match[3].strip()).decode("latin-1")
        parameters.setdefault(name, text)
    return kind if "/" in kind else "text/plain", parameters


def _parts(body: bytes, boundary: bytes, left: list[int]) -> list[bytes]:
    """The octets of the parts of a multipart, as many as are left."""
    body = b"\n" + body
    if not boundary or b"\n--" + boundary not in body:
        guess = _GUESSED_BOUNDARY.search(body[:MAX_TEXT])
        if guess is None:
            return []
        boundary = guess[1].rstrip()
    delimiter = b"\n--" + boundary
    found: list[bytes] = []
    start, at = -1, body.find(delimiter)
    while at >= 0 and left[0] > 0:
        line_end = body.find(b"\n", at + len(delimiter))
        line_end = len(body) if line_end < 0 else line_end
        rest = body[at + len(delimiter) : min(line_end, at + len(delimiter) + 80)].strip()
        if rest in (b"", b"--"):
            if start >= 0:
                found.append(body[start:at])
                left[0] -= 1
            start = -1 if rest else line_end + 1
        at = body.find(delimiter, at + len(delimiter))
    if start >= 0 and left[0] > 0:
        found.append(body[start:])
        left[0] -= 1
    return found


def _decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    name = encoding.strip().lower()
    if name == b"quoted-printable":
        return binascii.a2b_qp(body[: limit * 3])[:limit]
    if name == b"base64":
        encoded = body[: limit * 2]
        for end in (len(encoded), len(encoded.rstrip(b"=\n")) // 4 * 4):
            try:
                return binascii.a2b_base64(encoded[:end])[:limit]
            except binascii.Error:
                continue  # cut inside a group of four
    return body[:limit]


def _plain(octets: bytes, charset: str) -> str:
    """Text of HTML, a line for each block."""
    for opening, closing in _UNSEEN_HTML:
        octets = _without(octets, opening, closing)
    text = decode(octets, charset).replace("\n", " ")
    return html.unescape(_TAG.sub(" ", _LINE_TAG.sub("\n", text))).replace("\xa0", " ")


def _without(octets: bytes, opening: bytes, closing: bytes) -> bytes:
    lower = octets.lower()
    kept: list[bytes] = []
    at = 0
    while (start := lower.find(opening, at)) >= 0:
        kept.append(octets[at:start])
        end = lower.find(closing, start)
        if end < 0:
            return b"".join(kept)
        at = end if closing.startswith(b"</") else end + len(closing)  # a tag is removed as one
    kept.append(octets[at:])
    return b"".join(kept)
