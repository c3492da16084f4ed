"""Reply: code, enhanced status and text of an SMTP peer, or of ours; parse and render.

RFC 5321 4.2; enhanced status in front of the text by RFC 2034.

What a peer sends is read with tolerance, because the code alone decides (RFC 5321 4.2), and then
is safe to store, log and show: one line of at most 512 characters, in which control characters
and octets that are no UTF-8 are visible as escapes. What we send is strict: CRLF, at most 512
octets a line, ASCII unless the client asked for SMTPUTF8.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gatewayd.mail.status import EnhancedStatus

TEXT_CHARACTERS = 512  # of a peer's reply that we keep, over all its lines
LINE_OCTETS = 512  # with code and CRLF (RFC 5321 4.5.3.1.5)
_PARSED_LINES = 100  # more say nothing new; EHLO, the longest of them, has some twenty

# The code, then a space or hyphen, then the text; a bare code is legal (RFC 5321 4.2.1).
_LINE = re.compile(rb"([2-5][0-9]{2})(?:[ \t-](.*))?", re.DOTALL).fullmatch
_STATUS = re.compile(r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?: +|\Z)", re.ASCII).match
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class ReplySyntaxError(ValueError):
    """The peer's octets are no reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    status: None where RFC 2034 asks for none (3yz, greeting, EHLO) or the peer gave none.
    text: without code and status. LF parts the lines of a reply of ours; a peer's is one line.
    """

    code: int
    status: EnhancedStatus | None
    text: str
    _line: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz."""
        return self.code < 400

    @property
    def is_temporary(self) -> bool:
        """4yz: not now (RFC 5321 4.2.1)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: not like this (RFC 5321 4.2.1)."""
        return self.code >= 500

    def __str__(self) -> str:
        line = self._line
        if line is None:
            status = f"{self.status} " if self.status is not None else ""
            line = f"{self.code} {status}{self.text}".rstrip()
            object.__setattr__(self, "_line", line)  # a peer says the same again and again
        return line

    @classmethod
    def parse(cls, lines: Sequence[bytes]) -> Reply:
        """Read the lines of one reply, with or without their CRLF.

        Bent for what is out there: lines of one reply with different codes (the last one counts),
        a status of another class than the code (it stays in the text), raw 8-bit text.

        Raises:
            ReplySyntaxError: no line, or one that does not begin with a code from 200 to 599.
        """
        if not lines:
            raise ReplySyntaxError("a reply without a line")
        code = 0
        status: EnhancedStatus | None = None
        texts: list[str] = []
        kept = [*lines[: _PARSED_LINES - 1], lines[-1]] if len(lines) > _PARSED_LINES else lines
        for line in kept:
            code, text = _read_line(line)
            found, text = _split_status(code, text)
            status = status or found
            if text:
                texts.append(text)
        if status is not None and status.klass != code // 100:
            status = None
        return cls(code, status, _visible(" ".join(texts)))

    def render(self, *, smtputf8: bool = False) -> bytes:
        """The octets of the reply, the status on each line (RFC 2034 4).

        smtputf8: the client may be sent UTF-8 (RFC 6531 3.7.4.2); else it is escaped.
        """
        code = b"%d" % self.code
        status = f"{self.status} ".encode() if self.status is not None else b""
        room = LINE_OCTETS - len(code) - 1 - len(status) - 2
        lines = [piece for text in self.text.split("\n") for piece in _pieces(text, room, smtputf8)]
        last = lines.pop()
        head = b"".join([b"%b-%b%b\r\n" % (code, status, line) for line in lines])
        return head + b"%b %b%b\r\n" % (code, status, last)


def _read_line(line: bytes) -> tuple[int, str]:
    match = _LINE(line.rstrip(b"\r\n"))
    if match is None:
        raise ReplySyntaxError("a reply line that does not begin with a code (RFC 5321 4.2)")
    # Four octets are the longest character of UTF-8: enough for what is kept, and bounded.
    text = (match[2] or b"")[: TEXT_CHARACTERS * 4].decode("utf-8", "replace")
    return int(match[1]), text.strip()


def _split_status(code: int, text: str) -> tuple[EnhancedStatus | None, str]:
    """Take the status off a line; it counts only in the class of the code (RFC 2034 4)."""
    match = _STATUS(text)
    if match is None or int(match[1]) != code // 100:
        return None, text
    return _status(match[1], match[2], match[3]), text[match.end() :]


@functools.lru_cache(maxsize=256)
def _status(klass: str, subject: str, detail: str) -> EnhancedStatus:
    return EnhancedStatus(int(klass), int(subject), int(detail))


def _visible(text: str) -> str:
    """At most TEXT_CHARACTERS of `text`, with whatever could forge a line or hide text escaped."""
    text = text[:TEXT_CHARACTERS]
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)[:TEXT_CHARACTERS]


def _escape(match: re.Match[str]) -> str:
    point = ord(match[0])
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def _pieces(text: str, room: int, smtputf8: bool) -> Iterator[bytes]:
    """One line of text as lines of at most `room` octets, parted at spaces where there are any."""
    text = _UNSAFE.sub(_escape, text)
    octets = text.encode("utf-8" if smtputf8 else "ascii", "backslashreplace")
    while len(octets) > room:
        at = octets.rfind(b" ", 1, room + 1)
        if at < 0:
            at = room
            while at > room - 4 and octets[at] & 0xC0 == 0x80:  # not inside a UTF-8 character
                at -= 1
        yield octets[:at]
        octets = octets[at:].removeprefix(b" ")
    yield octets
