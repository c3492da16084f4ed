"""Edits of a part's text, put into its octets as they stand on the wire, once per recipient.

| encoding         | how an address gets in                                                      |
|------------------|-----------------------------------------------------------------------------|
| 7bit 8bit binary | in place; no line grows beyond 998 octets                                   |
| quoted-printable | on lines of its own between soft breaks; all other lines stay as they are   |
| base64           | into the text, which is encoded again in lines as long as those of the part |

A line that is not encoded and would be too long is broken inside the tag, before the attribute and
after it, where white space means nothing. An address too long for that is not put in.

A part is compiled once into what is fixed and what is not; rendering joins.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewayd.mail.header import MAX_LINE
from gatewayd.mail.transfer_encoding import MAX_LINE as MAX_ENCODED_LINE
from gatewayd.tracking.parts import Encoding

_CRLF = b"\r\n"
_SOFT_BREAK = b"=\r\n"
_QUOTED = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*+\r\n)")
_SOFT_END = re.compile(rb"=[ \t]*+\Z")
_LINE_END_HERE = re.compile(rb"(?:=[ \t]*+)?\r\n|\Z")
_UNPRINTABLE = re.compile(rb"[^ -<>-~]")
# As much as fits before a soft break, but no half of an escape.
_CHUNK = re.compile(rb"(?s:.{1,%d})(?<!=)(?<!=.)" % (MAX_ENCODED_LINE - 1))
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """text[start:end] becomes before + address + after; link: which of the addresses.

    at: where a line may be broken ahead of it, not after `start`.
    ahead, behind: fixed octets around it, and `gap` stands twice, between them and the address:
    white space that may become a line end, or nothing where a line end may be put in.
    """

    at: int
    start: int
    end: int
    link: int
    before: bytes
    after: bytes
    ahead: bytes = b""
    behind: bytes = b""
    gap: bytes = b""


class Template(Protocol):
    """A part, ready to be rendered."""

    def render(self, addresses: Sequence[bytes]) -> bytes:
        """The part on the wire with these addresses; each is ASCII, escaped for an attribute."""
        ...


def decode(octets: bytes, encoding: Encoding) -> bytes | None:
    """The text of a part, or None if what stands there is not this encoding."""
    match encoding:
        case Encoding.IDENTITY:
            return octets
        case Encoding.QUOTED_PRINTABLE:
            return None if _SOFT_END.search(octets) else _QUOTED.sub(_unquote, octets)
        case Encoding.BASE64:
            return None if _NOT_BASE64.search(octets) else _decode_base64(octets)


def compile_part(octets: bytes, text: bytes, encoding: Encoding, edits: list[Edit]) -> Template:
    """A template of the part.

    Args:
        octets: the part on the wire.
        text: the same, as `decode` gave it.
        encoding: of the part.
        edits: in order; they do not overlap.
    """
    match encoding:
        case Encoding.IDENTITY:
            return _Plain.make(text, edits)
        case Encoding.QUOTED_PRINTABLE:
            return _QuotedPrintable.make(octets, edits)
        case Encoding.BASE64:
            return _Base64.make(octets, text, edits)


def _unquote(match: re.Match[bytes]) -> bytes:
    return b"" if match[1] is None else bytes((int(match[1], 16),))


def _decode_base64(octets: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(octets.replace(_CRLF, b""), strict_mode=True)
    except binascii.Error:
        return None


@dataclass(frozen=True, slots=True)
class _Slot:
    """One edit in a part that is not encoded.

    lead: octets since the last slot; column: on the line where they end, None if they hold no line
    end; run: octets that must follow on the line of the address; kept: what stands if it is too
    long.
    """

    lead: bytes
    column: int | None
    head: bytes
    tail: bytes
    gap: bytes
    run: int
    link: int
    kept: bytes


@dataclass(frozen=True, slots=True)
class _Plain:
    """A part in 7bit, 8bit or binary."""

    slots: tuple[_Slot, ...]
    rest: bytes

    @classmethod
    def make(cls, text: bytes, edits: list[Edit]) -> _Plain:
        leads: list[bytes] = []
        end = 0
        behind = b""
        for edit in edits:
            leads.append(behind + text[end : edit.at] + edit.ahead)
            behind, end = edit.behind, edit.end
        leads.append(behind + text[end:])
        slots = tuple(
            _Slot(
                lead=lead,
                column=_column(lead),
                head=text[edit.at : edit.start] + edit.before,
                tail=edit.after,
                gap=edit.gap,
                run=_run(following) + len(edit.gap),
                link=edit.link,
                kept=text[edit.at : edit.end],
            )
            for edit, lead, following in zip(edits, leads, leads[1:], strict=False)
        )
        return cls(slots, leads[-1])

    def render(self, addresses: Sequence[bytes]) -> bytes:
        pieces: list[bytes] = []
        at = 0  # column
        for slot in self.slots:
            at = at + len(slot.lead) if slot.column is None else slot.column
            edited = slot.head + addresses[slot.link] + slot.tail
            if len(edited) > MAX_LINE:
                edited = slot.kept
            gap = slot.gap
            width = len(edited)
            if at + len(gap) + width + slot.run <= MAX_LINE:
                pieces += (slot.lead, gap, edited, gap)
                at += width + 2 * len(gap)
                continue
            pieces += (slot.lead, _CRLF if at else gap, edited)
            if width + slot.run <= MAX_LINE:
                pieces.append(gap)
                at = width + len(gap)
            else:
                pieces.append(_CRLF)
                at = 0
        pieces.append(self.rest)
        return b"".join(pieces)


def _column(octets: bytes) -> int | None:
    end = octets.rfind(b"\n")
    return None if end < 0 else len(octets) - end - 1


def _run(octets: bytes) -> int:
    end = octets.find(_CRLF)
    return len(octets) if end < 0 else end


@dataclass(frozen=True, slots=True)
class _QuotedPrintable:
    """A part in quoted-printable: fixed octets and, between them, one edit each."""

    fixed: tuple[bytes, ...]
    edits: tuple[Edit, ...]

    @classmethod
    def make(cls, octets: bytes, edits: list[Edit]) -> _QuotedPrintable:
        offsets = _Offsets(octets)
        fixed: list[bytes] = []
        end = 0
        lead = b""
        for edit in edits:
            start = offsets.start_of(edit.start)
            fixed.append(_broken(lead + octets[end:start]))
            end = offsets.end_of(edit.end) if edit.end > edit.start else start
            lead = b"" if _LINE_END_HERE.match(octets, end) else _SOFT_BREAK
        fixed.append(lead + octets[end:])
        return cls(tuple(fixed), tuple(edits))

    def render(self, addresses: Sequence[bytes]) -> bytes:
        pieces: list[bytes] = []
        for fixed, edit in zip(self.fixed, self.edits, strict=False):
            address = addresses[edit.link]
            text = b"".join(
                (edit.ahead, edit.gap, edit.before, address, edit.after, edit.gap, edit.behind)
            )
            pieces += (fixed, _quote(text))
        pieces.append(self.fixed[-1])
        return b"".join(pieces)


def _quote(text: bytes) -> bytes:
    """Text without line ends, in lines of at most 75 and a soft break between each two."""
    quoted = _UNPRINTABLE.sub(_escape, text)
    return _SOFT_BREAK.join(_CHUNK.findall(quoted))


def _escape(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _broken(octets: bytes) -> bytes:
    """Octets that end where a line begins, by a soft break if need be."""
    column = len(octets) - octets.rfind(b"\n") - 1
    if not column:
        return octets
    if column == MAX_ENCODED_LINE:  # no room for the `=`, at the end of a part
        last = -3 if octets[-3:-2] == b"=" else -1
        octets = octets[:last] + _SOFT_BREAK + octets[last:]
    return octets + _SOFT_BREAK


class _Offsets:
    """Which octets on the wire an octet of the text is."""

    def __init__(self, octets: bytes) -> None:
        self._text = [0]
        self._wire = [0]
        text = 0
        last = 0
        for match in _QUOTED.finditer(octets):
            start, end = match.span()
            text += start - last
            last = end
            if match[1] is not None:
                self._text.append(text)
                self._wire.append(start)
                text += 1
            self._text.append(text)
            self._wire.append(end)
        self._octets = octets

    def start_of(self, offset: int) -> int:
        """Where the octet begins."""
        run = bisect_right(self._text, offset) - 1
        return self._wire[run] + offset - self._text[run]

    def end_of(self, offset: int) -> int:
        """Where the octet before it ends: a soft break between the two is behind."""
        start = self.start_of(offset - 1)
        return start + (3 if self._octets.startswith(b"=", start) and self._is_escape(start) else 1)

    def _is_escape(self, at: int) -> bool:
        match = _QUOTED.match(self._octets, at)
        return match is not None and match[1] is not None


@dataclass(frozen=True, slots=True)
class _Base64:
    """A part in base64: fixed text and, between it, one edit each."""

    fixed: tuple[bytes, ...]
    edits: tuple[Edit, ...]
    line: int  # octets
    end: bytes

    @classmethod
    def make(cls, octets: bytes, text: bytes, edits: list[Edit]) -> _Base64:
        fixed: list[bytes] = []
        end = 0
        lead = b""
        for edit in edits:
            fixed.append(lead + text[end : edit.start] + edit.ahead + edit.gap + edit.before)
            lead = edit.after + edit.gap + edit.behind
            end = edit.end
        fixed.append(lead + text[end:])
        line = octets.find(_CRLF)
        if line <= 0:
            line = MAX_ENCODED_LINE  # all on one line, which may not have room for more
        stripped = octets.rstrip(_CRLF)
        return cls(tuple(fixed), tuple(edits), line, octets[len(stripped) :])

    def render(self, addresses: Sequence[bytes]) -> bytes:
        pieces: list[bytes] = []
        for fixed, edit in zip(self.fixed, self.edits, strict=False):
            pieces += (fixed, addresses[edit.link])
        pieces.append(self.fixed[-1])
        encoded = binascii.b2a_base64(b"".join(pieces), newline=False)
        line = self.line
        lines = [encoded[at : at + line] for at in range(0, len(encoded), line)]
        return _CRLF.join(lines) + self.end
