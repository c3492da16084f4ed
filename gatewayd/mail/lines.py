"""CRLF and nothing else: end of data, dot-stuffing, bare CR and LF, line length.

RFC 5321 2.3.8, 4.1.1.4, 4.5.2, 4.5.3.1.6; RFC 5322 2.1.1.

Data ends at CRLF.CRLF, or at .CRLF where it begins, and nowhere else: LF.LF, LF.CRLF, CR.CR and
whatever else some server takes for an end is content here, and `LineCheck` then finds the bare CR
or LF in it. So nobody can smuggle a second message past us, neither in nor out.

Everything works on blocks of any size, cut anywhere, with a few octets of memory between them, and
never goes line by line. All times are linear.
"""

from __future__ import annotations

import enum
import io
import re
from typing import Final

LINE_OCTETS = 998  # of a line of content, without its CRLF (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6)

# Dots of one block that are looked at one by one. A search for a single octet is thirty times as
# fast as one for three, so where dots are as rare as in base64 it pays to look for nothing else.
_FEW_DOTS: Final = 64

_CRLF = b"\r\n"
_DOT_LINE = b"\r\n."
_END = b"\r\n.\r\n"
# What may be the beginning of _END, longest first.
_END_BEGINS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class DotReader:
    """Finds the end of DATA and takes the dot-stuffing out (RFC 5321 4.5.2)."""

    __slots__ = ("_before_start", "_held", "ended", "rest")

    def __init__(self) -> None:
        # Data begins at the start of a line, as if a CRLF stood before it. It is not handed out.
        self._held = _CRLF
        self._before_start = len(_CRLF)
        self.ended = False
        self.rest = b""  # octets after the end of data: the next command

    def feed(self, block: bytes) -> bytes:
        """Take octets off the wire; what comes back is content, without dots that were stuffed.

        Up to four octets wait for the next block, as they may be the beginning of the end.
        """
        if self.ended:
            self.rest += block
            return b""
        octets = self._held + block
        dot = find_dot_line(octets)
        end = octets.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.ended = True
            self.rest = octets[end + len(_END) :]
            self._held = b""
            return self._unstuff(octets[: end + len(_CRLF)], is_stuffed=dot < end)
        for begin in _END_BEGINS:
            if octets.endswith(begin):
                self._held = begin
                return self._unstuff(octets[: -len(begin)], is_stuffed=dot >= 0)
        self._held = b""
        return self._unstuff(octets, is_stuffed=dot >= 0)

    def _unstuff(self, octets: bytes, *, is_stuffed: bool) -> bytes:
        content = octets.replace(_DOT_LINE, _CRLF) if is_stuffed else octets
        if self._before_start and content:
            # Every first piece begins with the whole CRLF that was never sent: it is held as one.
            content = content[self._before_start :]
            self._before_start = 0
        return content


def find_dot_line(octets: bytes) -> int:
    """Where a CRLF with a dot after it stands first; -1 if there is none."""
    at = -1
    for _ in range(_FEW_DOTS):
        at = octets.find(b".", at + 1)
        if at < 0:
            return -1
        if octets[at - 2 : at] == _CRLF:  # of a dot that comes too early this is no CRLF either
            return at - 2
    return octets.find(_DOT_LINE, at - 1)


class LineFault(enum.Enum):
    """Why content may not pass."""

    BARE_CR = "bare_cr"
    BARE_LF = "bare_lf"
    NUL = "nul"
    TOO_LONG = "too_long"


class LineCheck:
    """Looks at content as it passes, without changing it.

    fault: the first one, by its place in the stream, however that was cut into blocks.
    """

    __slots__ = ("_after_cr", "_line_ends", "_open_octets", "fault", "has_8bit", "size_octets")

    def __init__(self) -> None:
        self.fault: LineFault | None = None
        # It tells which kinds of line ends it has seen, and remembers a CR between two blocks: one
        # scan, four times as fast as counting CRLF, CR and LF.
        self._line_ends = io.IncrementalNewlineDecoder(None, translate=False)
        self.has_8bit = False
        self.size_octets = 0
        self._open_octets = 0  # of the line that the next block goes on with
        self._after_cr = False

    def feed(self, block: bytes) -> None:
        """Look at the next octets of the content."""
        if not block:
            return
        self.size_octets += len(block)
        if not self.has_8bit and not block.isascii():
            self.has_8bit = True
        if self.fault is None:
            self._look(block)
            self._after_cr = block.endswith(b"\r")

    def finish(self) -> None:
        """Say that there is no more."""
        if self.fault is None and self._after_cr:
            self.fault = LineFault.BARE_CR
        if self.fault is None and self._open_octets > LINE_OCTETS:
            self.fault = LineFault.TOO_LONG

    @property
    def ends_line(self) -> bool:
        """Whether the content so far is empty or ends in CRLF; unknown once there is a fault."""
        return self._open_octets == 0

    def _look(self, block: bytes) -> None:
        too_long_at = self._measure_lines(block)
        if too_long_at is None and self._is_clean(block):
            return
        found = self._find_bad_octet(block)
        if found is not None and (too_long_at is None or found[0] < too_long_at):
            self.fault = found[1]
        elif too_long_at is not None:
            self.fault = LineFault.TOO_LONG

    def _is_clean(self, block: bytes) -> bool:
        """Every CR and LF is part of a CRLF but for a CR at the end, and there is no NUL."""
        self._line_ends.decode(block.decode("latin-1"))
        return self._line_ends.newlines in _ONLY_CRLF and b"\0" not in block

    def _find_bad_octet(self, block: bytes) -> tuple[int, LineFault] | None:
        """The first bare CR, bare LF or NUL, with its place in the block; -1 is before it."""
        if self._after_cr:
            if not block.startswith(b"\n"):
                return -1, LineFault.BARE_CR
            match = _BAD_OCTET.search(block, 1)
        else:
            match = _BAD_OCTET.search(block)
        if match is None:
            return None
        return match.start(), _BAD_OCTETS[match[0]]

    def _measure_lines(self, block: bytes) -> int | None:
        """Where a line goes past the limit, if one does.

        A line is good if an LF stands among its first 1000 octets. The last LF of such a window
        ends a good line too, so a window is skipped at a time, not a line.
        """
        window = LINE_OCTETS + len(_CRLF)
        start = -self._open_octets
        size = len(block)
        while size - start >= window:
            last = block.rfind(b"\n", max(start, 0), start + window)
            if last < 0:
                return start + window - 1
            start = last + 1
        last = block.rfind(b"\n", max(start, 0))
        self._open_octets = size - (last + 1 if last >= 0 else start)
        return None


_ONLY_CRLF = (None, "\r\n")

# A CR at the end of a block is left for the next block to judge.
_BAD_OCTET = re.compile(rb"\0|\r(?!\n|\Z)|(?<!\r)\n")
_BAD_OCTETS = {b"\0": LineFault.NUL, b"\r": LineFault.BARE_CR, b"\n": LineFault.BARE_LF}


def dot_stuff(octets: bytes) -> bytes:
    """Content with a second dot on each line that begins with one (RFC 5321 4.5.2)."""
    return DotStuffer().feed(octets)


class DotStuffer:
    """Dot-stuffing for content that comes in blocks (RFC 5321 4.5.2)."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = _CRLF  # the last two octets, where a CRLF may have begun or ended

    def feed(self, block: bytes) -> bytes:
        """The block as it goes on the wire."""
        if not block:
            return b""
        tail = self._tail
        self._tail = block[-2:] if len(block) > 1 else (tail + block)[-2:]
        has_dots = find_dot_line(block) >= 0
        stuffed = block.replace(_DOT_LINE, b"\r\n..") if has_dots else block
        if block.startswith(b".") and tail == _CRLF:
            return b"." + stuffed
        if block.startswith(b"\n.") and tail.endswith(b"\r"):
            return b"\n." + stuffed[1:]
        return stuffed

    def end(self) -> bytes:
        """The end of data; it ends the last line first, if that has no CRLF of its own."""
        return b".\r\n" if self._tail == _CRLF else _END
