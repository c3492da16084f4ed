"""Encoded words: text that is not ASCII in a header field that must be (RFC 2047).

`encode` is for what we write: UTF-8, the shorter of B and Q, words of at most 75 characters that
never split a character. `decode` is for showing what others wrote: it never fails, takes time in
proportion to its input, knows a closed list of charsets (some codecs are slow on purpose-made
input) and gives back no control character, whatever was encoded.
"""

from __future__ import annotations

import base64
import binascii
import re

MAX_WORD = 75  # characters, RFC 2047 2
_FRAME = len("=?utf-8?q??=")
_MIN_ROOM = 12  # one character of four octets in Q

# What may stand for itself in a phrase, the narrowest place (RFC 2047 5 (3)).
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = tuple("_" if o == 0x20 else chr(o) if o in _SAFE else f"={o:02X}" for o in range(256))
_Q_SIZE = tuple(map(len, _Q))

_WORD = re.compile(
    rb"=\?([A-Za-z0-9_.:()+-]{1,40})(?:\*[A-Za-z0-9-]{1,40})?\?([bBqQ])\?([^?\r\n]*+)\?="
)
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_CHARSET = re.compile(
    r"utf-?8|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|(windows-|cp)\d{3,4}|koi8-[rut]|gb2312|gbk|gb18030"
    r"|big5|shift_?jis|iso-2022-(jp|kr)|euc-(jp|kr)|ks_c_5601-1987|tis-620|macintosh"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def encode(text: str, *, first_width: int = MAX_WORD) -> str:
    """Text as encoded words with one space between them.

    Args:
        text: any text; UnicodeEncodeError if it holds a lone surrogate.
        first_width: characters left on the line for the first word.
    """
    octets = text.encode()
    quoted = sum(map(_Q_SIZE.__getitem__, octets)) <= (len(octets) + 2) // 3 * 4
    words: list[str] = []
    room = max(min(first_width, MAX_WORD) - _FRAME, _MIN_ROOM)
    start = 0
    while start < len(octets):
        end = _q_end(octets, start, room) if quoted else start + room // 4 * 3
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        words.append(_word(octets[start:end], quoted=quoted))
        start = end
        room = MAX_WORD - _FRAME
    return " ".join(words)


def _q_end(octets: bytes, start: int, room: int) -> int:
    end = start
    while end < len(octets) and (room := room - _Q_SIZE[octets[end]]) >= 0:
        end += 1
    return end


def _word(octets: bytes, *, quoted: bool) -> str:
    if quoted:
        return f"=?utf-8?q?{''.join(map(_Q.__getitem__, octets))}?="
    return f"=?utf-8?b?{base64.b64encode(octets).decode('ascii')}?="


def decode(value: bytes) -> str:
    """The value as a reader would show it; what cannot be decoded stays as it was sent.

    Words that touch are joined as octets first, because many senders split characters.
    """
    unfolded = value.replace(b"\r\n", b"").strip(b" \t")
    if b"=?" not in unfolded:
        return _shown(unfolded.decode("utf-8", "replace"))
    parts: list[str] = []
    charset, pending = "", bytearray()
    at = 0
    for match in _WORD.finditer(unfolded):
        word_charset = match[1].decode("ascii").lower()
        octets = _octets(match[2], match[3])
        if octets is None or not _CHARSET.fullmatch(word_charset):
            continue
        between = unfolded[at : match.start()]
        if not charset or between.strip(b" \t") or word_charset != charset:
            parts.append(_text(pending, charset))
            pending.clear()
            if not charset or between.strip(b" \t"):
                parts.append(between.decode("utf-8", "replace"))
        pending += octets
        charset = word_charset
        at = match.end()
    parts.append(_text(pending, charset))
    parts.append(unfolded[at:].decode("utf-8", "replace"))
    return _shown("".join(parts))


def _octets(encoding: bytes, payload: bytes) -> bytes | None:
    if encoding in b"qQ":
        spaced = payload.replace(b"_", b" ")
        return _HEX.sub(lambda match: bytes((int(match[1], 16),)), spaced)
    try:
        return base64.b64decode(payload + b"=" * (-len(payload) % 4))
    except binascii.Error:
        return None


def _text(octets: bytearray, charset: str) -> str:
    if not octets:
        return ""
    # GB 2312 is what senders say, GBK is what they write.
    name = {"gb2312": "gbk", "ks_c_5601-1987": "cp949"}.get(charset, charset)
    try:
        return octets.decode(name, "replace")
    except (LookupError, UnicodeError):
        return octets.decode("utf-8", "replace")


def _shown(text: str) -> str:
    return _CONTROL.sub("\ufffd", text.replace("\t", " "))
