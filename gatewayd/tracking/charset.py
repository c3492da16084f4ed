"""The text of an HTML part as octets in which markup can be found, in every charset.

Markup is found in a *view*: one octet for each unit of the text, ASCII where the text is ASCII.
Offsets in the view times the size of a unit are offsets in the text.

| charset                            | unit | view                                       |
|------------------------------------|------|--------------------------------------------|
| UTF-8, ISO 8859, windows-125x, ... | 1    | the octets themselves                      |
| Shift_JIS, Big5, GBK, EUC, ...     | 1    | the octets themselves                      |
| none, unknown                      | 1    | the octets themselves                      |
| UTF-16, UTF-32                     | 2, 4 | the unit if it is ASCII, else a filler     |
| ISO-2022-JP                        | 1    | fillers for the octets of other characters |
| UTF-7                              | 1    | fillers for shifted sequences              |
| EBCDIC, ISO-2022-KR and -CN, HZ    |      | none: the part is left alone               |

In Shift_JIS, Big5, GBK and the like an octet below 0x80 may be the second half of a character, but
never one that is markup: `< > " ' = &` and white space are not among them.

Left alone as well: a text that holds NUL in a unit of one octet (it is UTF-16 in disguise), one
that is not valid in its stateful charset, and UTF-7 that hides markup in a shifted sequence.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from dataclasses import dataclass

_FILLER = b"\xbf"
_MARKUP = b"<>\"'=&/`\t\n\x0c\r "
# What must mean itself for markup to be found in octets.
_ASCII = bytes(range(0x20, 0x7F)).translate(None, b"\\~") + b"\t\n\r"
_KNOWN = re.compile(
    r"utf-8(?:-sig)?|ascii|iso8859-\d+|cp\d+|koi8-\w+|gb\w+|big5\w*|euc_\w+|shift_jis\w*|johab"
    r"|mac-\w+|tis-620|hp-roman8|kz1048|ptcp154"
)
_UNREADABLE = re.compile(r"hz|hz-gb.*|iso-?2022-(?:kr|cn).*|csiso2022kr|scsu|bocu-1|.*ebcdic.*")
_WIDE = {
    "utf-16be": "utf-16-be", "utf-16le": "utf-16-le", "utf-16": "utf-16", "utf16": "utf-16",
    "unicode": "utf-16", "iso-10646-ucs-2": "utf-16", "ucs-2": "utf-16",
    "utf-32be": "utf-32-be", "utf-32le": "utf-32-le", "utf-32": "utf-32", "utf32": "utf-32",
}  # fmt: skip
_BYTE_ORDER_MARKS = {
    "utf-16": ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")),
    "utf-32": ((b"\xff\xfe\x00\x00", "utf-32-le"), (b"\x00\x00\xfe\xff", "utf-32-be")),
}
_ESCAPE = re.compile(rb"\x1b(\$[@B]|\$\([@BDOPQ]|\([BJI])")
_UTF7_SHIFT = re.compile(rb"\+([A-Za-z0-9+/]*+)(-?)")
_UTF7_NAMES = frozenset(
    ("utf-7", "utf7", "unicode-1-1-utf-7", "csunicode11utf7", "x-unicode-2-0-utf-7")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One part's text.

    octets: as they are without transfer encoding; view: one octet per unit; unit: octets in a unit.
    codec: decodes it, None if the charset is unknown.
    reserved: ASCII characters that are not safe here and are written as references.
    """

    octets: bytes
    view: bytes
    unit: int = 1
    codec: str | None
    reserved: str = ""

    @property
    def is_plain(self) -> bool:
        """Any ASCII is encoded as itself."""
        return self.unit == 1 and not self.reserved

    def decode(self, start: int, end: int) -> str | None:
        """The characters between two offsets of the view; None if they are not known."""
        seen = self.view[start:end]
        if seen.isascii():
            return seen.decode("ascii")
        piece = self.octets[start * self.unit : end * self.unit]
        if self.codec is None:
            return None
        try:
            return piece.decode(self.codec)
        except UnicodeError:
            return None

    def encode(self, ascii_text: str) -> bytes:
        """ASCII markup in this charset."""
        if self.unit > 1 and self.codec is not None:
            return ascii_text.encode(self.codec)
        for character in self.reserved:
            ascii_text = ascii_text.replace(character, f"&#{ord(character)};")
        return ascii_text.encode("ascii")


def read(octets: bytes, charset: str) -> Text | None:
    """The text of a part, or None if it is to be left alone. Never raises."""
    if charset in _WIDE:
        return _wide(octets, _WIDE[charset])
    if b"\0" in octets or _UNREADABLE.fullmatch(charset):
        return None
    if charset.startswith(("iso-2022-jp", "iso2022-jp", "csiso2022jp")):
        return _iso_2022_jp(octets)
    if charset in _UTF7_NAMES:
        return _utf_7(octets)
    return _plain(octets, charset)


def _plain(octets: bytes, charset: str) -> Text | None:
    if charset in {"", "us-ascii", "ascii"}:
        return Text(octets=octets, view=octets, codec=_guess(octets))
    codec = _known(charset)
    if codec is not None and _ASCII.decode(codec, "replace") != _ASCII.decode("ascii"):
        return None
    return Text(octets=octets, view=octets, codec=codec)


def _known(charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    if not _KNOWN.fullmatch(name):
        return None
    # What is labelled Latin-1 is windows-1252 to every reader (Encoding 4.2).
    return "cp1252" if name == "iso8859-1" else name


def _guess(octets: bytes) -> str:
    """Text without a charset, or that says ASCII and is not: UTF-8 if it can be."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _wide(octets: bytes, codec: str) -> Text | None:
    for mark, with_order in _BYTE_ORDER_MARKS.get(codec, ()):
        if octets.startswith(mark):
            codec = with_order
    if codec in _BYTE_ORDER_MARKS:
        codec += "-be"  # without a mark (RFC 2781 4.3)
    unit = 2 if codec.startswith("utf-16") else 4
    if len(octets) % unit:
        return None
    try:
        octets.decode(codec)
    except UnicodeDecodeError:
        return None
    return Text(octets=octets, view=_narrow(octets, unit, codec), unit=unit, codec=codec)


def _narrow(octets: bytes, unit: int, codec: str) -> bytes:
    text = octets.decode(codec)
    if unit == 2:
        text = re.sub("[\U00010000-\U0010ffff]", "\xbf\xbf", text)
    return re.sub("[^\x00-\x7f]", "\xbf", text.replace("\ufeff", " ")).encode("latin-1")


def _iso_2022_jp(octets: bytes) -> Text | None:
    """Each line begins and ends unshifted (RFC 1468); a text where one does not is left alone."""
    pieces: list[bytes] = []
    at = 0
    is_shifted = False
    for escape in _ESCAPE.finditer(octets):
        piece = octets[at : escape.start()]
        if is_shifted and (b"\n" in piece or b"\r" in piece):
            return None
        pieces.append(_FILLER * len(piece) if is_shifted else piece)
        pieces.append(_FILLER * len(escape[0]))
        is_shifted = escape[1] not in {b"(B", b"(J"}
        at = escape.end()
    if is_shifted:
        return None
    pieces.append(octets[at:])
    # Where the Roman set of JIS X 0201 is on, these two are other characters.
    return Text(octets=octets, view=b"".join(pieces), codec="iso2022_jp_ext", reserved="\\~")


def _utf_7(octets: bytes) -> Text | None:
    pieces: list[bytes] = []
    at = 0
    for shift in _UTF7_SHIFT.finditer(octets):
        encoded = shift[1]
        if encoded and _hides_markup(encoded):
            return None
        pieces.append(octets[at : shift.start()])
        pieces.append(_FILLER * len(shift[0]))
        at = shift.end()
    pieces.append(octets[at:])
    # Readers disagree whether `+` shifts at all: an address with one in it is not known.
    return Text(octets=octets, view=b"".join(pieces), codec=None, reserved="+")


def _hides_markup(encoded: bytes) -> bool:
    padded = encoded + b"A" * (-len(encoded) % 4)
    try:
        hidden = base64.b64decode(padded)
    except binascii.Error:
        return True
    units = zip(hidden[0::2], hidden[1::2], strict=False)
    return any(high == 0 and low in _MARKUP for high, low in units)
