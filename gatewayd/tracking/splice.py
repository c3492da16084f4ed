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
import struct
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
_UNPRINTABLE = re.compile(rb"[^ -~]")
# As much as fits before a soft break, but no half of an escape.
_CHUNK = re.compile(rb"(?s:.{1,%d})(?<!=)(?<!=.)" % (MAX_ENCODED_LINE - 1))
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """text[start:end] becomes ahead + before + address + after + behind.

    link: which of the addresses.
    at: where a line may be broken ahead of it, not after `start`.
    before, behind: a line may also be broken ahead of these; a space they begin with gives way.
    """

    at: int
    start: int
    end: int
    link: int
    before: bytes
    after: bytes
    ahead: bytes = b""
    behind: tuple[bytes, ...] = ()


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
    end; run: octets that must follow on the same line; kept: what stands if the address is too
    long.
    """

    lead: bytes
    column: int | None
    head: bytes
    tail: bytes
    behind: tuple[bytes, ...]
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
        ends = [0, *(edit.end for edit in edits)]
        leads = [text[end : edit.at] + edit.ahead for end, edit in zip(ends, edits, strict=False)]
        leads.append(text[ends[-1] :])
        slots = tuple(
            _Slot(
                lead=lead,
                column=_column(lead),
                head=text[edit.at : edit.start] + edit.before,
                tail=edit.after,
                behind=edit.behind,
                run=_run(following),
                link=edit.link,
                kept=text[edit.at : edit.end],
            )
            for edit, lead, following in zip(edits, leads, leads[1:], strict=False)
        )
        return cls(slots, leads[-1])

    def render(self, addresses: Sequence[bytes]) -> bytes:
        pieces: list[bytes] = []
        column = 0
        for slot in self.slots:
            pieces.append(slot.lead)
            column = column + len(slot.lead) if slot.column is None else slot.column
            edited = slot.head + addresses[slot.link] + slot.tail
            if len(edited) > MAX_LINE:
                edited = slot.kept
            if not slot.behind and column + len(edited) + slot.run <= MAX_LINE:
                pieces.append(edited)
                column += len(edited)
                continue
            units = (edited, *slot.behind) if slot.behind else (edited, b"")
            for unit, run in zip(units, (0,) * (len(units) - 1) + (slot.run,), strict=True):
                fits = column + len(unit) + run <= MAX_LINE
                fitted = unit if fits else _CRLF + unit.removeprefix(b" ")
                pieces.append(fitted)
                column = column + len(unit) if fits else len(fitted) - len(_CRLF)
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
    """A part in quoted-printable: fixed octets and, between them, one edit each.

    edits: which address, and what stands before and after it, encoded.
    """

    fixed: tuple[bytes, ...]
    edits: tuple[tuple[int, bytes, bytes], ...]

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
        quoted = tuple(
            (
                edit.link,
                _quote(edit.ahead + edit.before),
                _quote(edit.after + b"".join(edit.behind)),
            )
            for edit in edits
        )
        return cls(tuple(fixed), quoted)

    def render(self, addresses: Sequence[bytes]) -> bytes:
        quoted = [_quote(address) for address in addresses]
        pieces: list[bytes] = []
        for fixed, (link, before, after) in zip(self.fixed, self.edits, strict=False):
            pieces += (fixed, _SOFT_BREAK.join(_CHUNK.findall(before + quoted[link] + after)))
        pieces.append(self.fixed[-1])
        return b"".join(pieces)


def _quote(text: bytes) -> bytes:
    """Text without line ends, on a line of any length."""
    quoted = text.replace(b"=", b"=3D")
    return quoted if _UNPRINTABLE.search(quoted) is None else _UNPRINTABLE.sub(_escape, quoted)


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
            fixed.append(lead + text[end : edit.start] + edit.ahead + edit.before)
            lead = edit.after + b"".join(edit.behind)
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
        whole, rest = divmod(len(encoded), self.line)
        # Half the time of slices; `struct` keeps what it has made of a format.
        lines = struct.unpack(f"{self.line}s" * whole + f"{rest}s" * bool(rest), encoded)
        return _CRLF.join(lines) + self.end
