"""xtext, the escaping of ENVID and ORCPT, and its UTF-8 relatives.

RFC 3461 4 (xtext, ENVID, ORCPT); RFC 6533 3 (the `utf-8` address type).
"""

from __future__ import annotations

import re

ENVID_CHARACTERS = 100  # RFC 3461 4.4
ORCPT_CHARACTERS = 500  # RFC 3461 4.2

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+").fullmatch
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")

# utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 3). Code points that a QCHAR stands for itself
# are not written as \x{..}, but out there they are, so any but the surrogates is read.
_UNITEXT = re.compile(
    r"(?:[!-*,-<>-\[\]-~\x80-\ud7ff\ue000-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})*+"
).fullmatch
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")

_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}").fullmatch


class XtextSyntaxError(ValueError):
    """The text is no xtext, or what it stands for is no text."""


def is_xtext(text: str) -> bool:
    """Whether it is well-formed xtext; the empty text is (RFC 3461 4)."""
    return _XTEXT(text) is not None


def encode(text: str) -> str:
    """Text as xtext; what is not ASCII as the octets of its UTF-8."""
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], text.encode()).decode("ascii")


def decode(text: str) -> str:
    """What an xtext stands for. It may hold any character, controls too: it is not for a wire.

    Raises:
        XtextSyntaxError: no xtext, or the octets are no UTF-8.
    """
    if not is_xtext(text):
        raise XtextSyntaxError("not xtext (RFC 3461 4)")
    octets = _HEXCHAR.sub(lambda match: bytes([int(match[1], 16)]), text.encode("ascii"))
    try:
        return octets.decode()
    except UnicodeDecodeError as fault:
        raise XtextSyntaxError("xtext that stands for no UTF-8") from fault


def encode_utf8_address(text: str) -> str:
    r"""An address in utf-8-addr-xtext: ASCII, code points as `\x{JJJ}` (RFC 6533 3)."""
    return _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


def decode_utf8_address(text: str) -> str:
    """What utf-8-addr-xtext or utf-8-addr-unitext stands for (RFC 6533 3).

    Raises:
        XtextSyntaxError: neither of them, or a code point that does not exist.
    """
    if _UNITEXT(text) is None:
        raise XtextSyntaxError("not utf-8-addr-xtext (RFC 6533 3)")
    points = [int(point, 16) for point in _EMBEDDED.findall(text)]
    if any(point > 0x10FFFF or 0xD800 <= point < 0xE000 for point in points):
        raise XtextSyntaxError("utf-8-addr-xtext with a code point that does not exist")
    return _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), text)


def is_envid(text: str) -> bool:
    """Whether it may be the value of ENVID: xtext for printable ASCII (RFC 3461 4.4)."""
    if not text or len(text) > ENVID_CHARACTERS or not is_xtext(text):
        return False
    return all(0x20 <= int(code, 16) < 0x7F for code in _HEXCHAR.findall(text.encode("ascii")))


def is_orcpt(text: str, *, smtputf8: bool = False) -> bool:
    """Whether it may be the value of ORCPT: address type, semicolon, address (RFC 3461 4.2).

    smtputf8: a `utf-8` address may be raw UTF-8 (RFC 6533 3).
    """
    kind, semicolon, address = text.partition(";")
    if not semicolon or not address or len(text) > ORCPT_CHARACTERS or not _ADDRESS_TYPE(kind):
        return False
    if kind.lower() == "utf-8":
        return _UNITEXT(address) is not None and (smtputf8 or address.isascii())
    return is_xtext(address)
