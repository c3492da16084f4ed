"""Content-transfer-encodings for what we compose: 7bit, quoted-printable, base64 (RFC 2045 6).

| content                                                             | encoding         |
|---------------------------------------------------------------------|------------------|
| ASCII, lines <= 76, none with a space at its end or `From ` at its start | 7bit        |
| text with at most one octet in six above 127                        | quoted-printable |
| other text, every attachment                                        | base64           |

A space at the end of a line is lost on the way to some readers and `From ` becomes `>From ` in
some mailboxes; both would break a signature, so neither is ever sent as it is.
"""

from __future__ import annotations

import binascii
import re

MAX_LINE = 76  # RFC 2045 6.7 (5), 6.8

_PLAIN_LINES = re.compile(rb"(?:(?!From )[^\r]{0,76}+(?<![\t ])\r\n)*+")
_PLAIN_OCTETS = b"\t\r\n" + bytes(range(0x20, 0x7F))
_LINE_END = re.compile(r"\r\n|\r|\n")
_ASCII = bytes(range(128))
_SOFT_BREAK = b"=\r\n"


def encode_text(text: str) -> tuple[str, bytes]:
    """Name of the encoding and the encoded text; both are empty lines and all of one kind: CRLF.

    Line ends of any kind become CRLF, and a text that does not end with one gets it.
    UnicodeEncodeError if the text holds a lone surrogate.
    """
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    if text and not text.endswith("\n"):
        text += "\n"
    octets = text.encode().replace(b"\n", b"\r\n")
    # One look at the octets and one at the lines: half the time of one expression for both.
    if not octets.translate(None, _PLAIN_OCTETS) and _PLAIN_LINES.fullmatch(octets):
        return "7bit", octets
    if 6 * len(octets.translate(None, _ASCII)) > len(octets):
        return "base64", encode_base64(octets)
    return "quoted-printable", encode_quoted_printable(octets)


def encode_base64(octets: bytes) -> bytes:
    """Lines of 76, each with CRLF."""
    encoded = binascii.b2a_base64(octets, newline=False)
    lines = [encoded[at : at + MAX_LINE] for at in range(0, len(encoded), MAX_LINE)]
    lines.append(b"")
    return b"\r\n".join(lines)


def encode_quoted_printable(octets: bytes) -> bytes:
    """Text whose lines, the last one too, end with CRLF."""
    encoded = binascii.b2a_qp(octets, istext=True)
    if encoded.startswith(b"From "):
        encoded = b"=46" + encoded[1:]
    encoded = encoded.replace(b"\r\nFrom ", b"\r\n=46rom ")
    lines = encoded.split(b"\r\n")
    if max(map(len, lines)) > MAX_LINE:
        # Escaping a space at the end of a line, or the F of From, makes a full line too long.
        lines = [_wrap(line) if len(line) > MAX_LINE else line for line in lines]
        encoded = b"\r\n".join(lines)
    return encoded


def _wrap(line: bytes) -> bytes:
    pieces: list[bytes] = []
    start = 0
    while len(line) - start > MAX_LINE:
        end = start + MAX_LINE - 1
        escape = line.rfind(b"=", end - 2, end)
        if escape > 0:
            end = escape
        pieces.append(line[start:end] + _SOFT_BREAK)
        start = end
    pieces.append(line[start:])
    return b"".join(pieces)
