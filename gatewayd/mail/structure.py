"""Limits on the MIME tree of a message: how deep it nests, how many parts it has (RFC 2046).

Readers on the way build the whole tree, many of them by recursion: a small message with a
thousand levels takes them down. So it stops here, found in one pass over the octets, with a stack
of at most `nesting` entries and no more of the message held than one line.

| counts                                             | as               |
|----------------------------------------------------|------------------|
| a multipart inside another, an attached message    | one level deeper |
| each delimiter line that opens a part              | one part         |
| the message inside message/rfc822, message/global  | one part         |

A delimiter ends the parts inside it wherever it stands, in a header too, as it does for readers
(RFC 2046 5.1.2). A boundary is at most 70 characters (RFC 2046 5.1.1). Where readers disagree,
what gives the deeper tree counts: of two Content-Type fields the one that has parts, of two
multiparts with the same boundary the inner.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from gatewayd.mail.header import MAX_LINE, HeaderSection

MAX_NESTING = 100
MAX_PARTS = 1000
MAX_BOUNDARY = 70  # characters, RFC 2046 5.1.1
MAX_PART_HEADER = 65536  # octets

_CRLF = b"\r\n"
_DASHES = b"--"
_PARAMETER = re.compile(
    rb';[ \t]*+([^\s=;"]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_MESSAGES = frozenset((b"message/rfc822", b"message/global", b"message/news"))


class MimeFaultKind(enum.Enum):
    """Which limit a message broke."""

    NESTING = "nesting"
    PARTS = "parts"
    BOUNDARY = "boundary"
    PART_HEADER = "part_header"


@dataclass(frozen=True, slots=True, kw_only=True)
class MimeFault:
    """Why a message is too complex. detail: a sentence for the client."""

    kind: MimeFaultKind
    detail: str


def limits(
    header: HeaderSection, body: bytes, *, nesting: int = MAX_NESTING, parts: int = MAX_PARTS
) -> MimeFault | None:
    """The first limit that the message breaks, or None."""
    if not may_have_parts(header):
        return None
    check = StructureCheck(header, nesting=nesting, parts=parts)
    check.feed(body)
    return check.finish()


def may_have_parts(header: HeaderSection) -> bool:
    """Whether there is a tree at all: without a Content-Type it is text (RFC 2045 5.2)."""
    return b"content-type" in header.by_name


@dataclass(frozen=True, slots=True)
class _Level:
    """A multipart with its boundary, or an attached message without."""

    boundary: bytes | None
    is_digest: bool = False
    hidden: int | None = None  # level of an outer multipart that has the same boundary


class StructureCheck:
    """The same as `limits` for a body that comes in blocks.

    Feed the body in any split, then ask `finish`. After a fault the rest is not looked at. A line
    over 998 octets is no delimiter; whoever checks lines refuses it.
    """

    def __init__(
        self, header: HeaderSection, *, nesting: int = MAX_NESTING, parts: int = MAX_PARTS
    ) -> None:
        self.fault: MimeFault | None = None
        self._max_nesting = nesting
        self._max_parts = parts
        self._parts = 0
        self._levels: list[_Level] = []
        self._open: dict[bytes, int] = {}  # boundary to the innermost level that has it
        self._needle = b""  # with what the next delimiter line starts, the CRLF before it included
        self._tail = b""  # octets that cannot be judged before more come
        self._inside_line = False  # of a body; a header is read line by line
        self._in_header = False
        self._header_octets = 0
        self._content_types: list[bytearray] = []
        self._in_content_type = False
        self._enter(header.find("Content-Type"))

    def feed(self, block: bytes) -> None:
        octets = self._tail + block
        at, end = 0, len(octets)
        while at < end and self._is_looking():
            after = self._skip(octets, at) if self._inside_line else self._read(octets, at)
            if after < 0:
                break
            at = after
        self._tail = octets[self._keep_from(at, end) :] if self._is_looking() else b""

    def finish(self) -> MimeFault | None:
        """The body has ended, with or without a line end."""
        if self._tail:
            self.feed(_CRLF)
        return self.fault

    def _is_looking(self) -> bool:
        return self.fault is None and (self._in_header or bool(self._open))

    def _keep_from(self, at: int, end: int) -> int:
        # Inside a line only the start of a delimiter can still matter.
        return max(at, end - len(self._needle) + 1) if self._inside_line else at

    def _skip(self, octets: bytes, at: int) -> int:
        """Go on to the next line that may be a delimiter; -1 if there is none yet."""
        found = octets.find(self._needle, at)
        if found < 0:
            return -1
        self._inside_line = False
        return found + len(_CRLF)

    def _read(self, octets: bytes, at: int) -> int:
        """Read the line that starts here; -1 if it is not whole yet."""
        start = self._needle[2:]
        if not (self._in_header or octets.startswith(start, at)):
            if len(octets) - at < len(start) and start.startswith(octets[at:]):
                return -1
            self._inside_line = True
            return at
        end = octets.find(_CRLF, at)
        size = (len(octets) if end < 0 else end) - at
        if size > MAX_LINE:
            if self._in_header:
                self._refuse(MimeFaultKind.PART_HEADER)
            self._inside_line = True
            return at
        if end < 0:
            return -1
        line = octets[at:end]
        if not (line.startswith(_DASHES) and self._delimiter(line)) and self._in_header:
            self._header_line(line)
        return end + len(_CRLF)

    def _delimiter(self, line: bytes) -> bool:
        """Close or open a part if the line is a delimiter of an open multipart."""
        name = line[2:].rstrip(b" \t")
        level = self._open.get(name)
        if level is not None:
            self._leave(level + 1)
            self._start_part()
            return True
        level = self._open.get(name[:-2]) if name.endswith(_DASHES) else None
        if level is None:
            return False
        self._leave(level)
        self._in_header = False
        return True

    def _start_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            self._refuse(MimeFaultKind.PARTS)
        self._in_header = True
        self._header_octets = 0
        self._content_types = []
        self._in_content_type = False

    def _header_line(self, line: bytes) -> None:
        self._header_octets += len(line) + len(_CRLF)
        if self._header_octets > MAX_PART_HEADER:
            self._refuse(MimeFaultKind.PART_HEADER)
        elif not line:
            self._in_header = False
            self._enter(list(map(bytes, self._content_types)))
        elif line[0] in b" \t":
            if self._in_content_type:
                self._content_types[-1] += line
        else:
            name, _, value = line.partition(b":")
            self._in_content_type = name.rstrip(b" \t").lower() == b"content-type"
            if self._in_content_type:
                self._content_types.append(bytearray(value))

    def _enter(self, content_types: list[bytes]) -> None:
        """A header has ended: go one level deeper if its entity has parts.

        Of several Content-Type fields the first that has parts counts: some reader will follow it.
        """
        for value in content_types:
            kind = value.partition(b";")[0].replace(b" ", b"").replace(b"\t", b"").lower()
            if kind.startswith(b"multipart/") and (boundary := self._boundary(value)):
                self._push(boundary, is_digest=kind == b"multipart/digest")
                return
            if kind in _MESSAGES:
                self._push(None)
                return
        # In a digest a part is a message unless it says otherwise (RFC 2046 5.1.5).
        if not content_types and self._levels and self._levels[-1].is_digest:
            self._push(None)

    def _boundary(self, content_type: bytes) -> bytes:
        for match in _PARAMETER.finditer(content_type):
            name = match[1].lower()
            if name == b"boundary":
                quoted, plain = match[2], match[3]
                value = plain if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
                boundary = value.rstrip(b" \t")
                if len(boundary) > MAX_BOUNDARY:
                    self._refuse(MimeFaultKind.BOUNDARY)
                return boundary
            if name.startswith(b"boundary*"):  # readers disagree whether RFC 2231 applies here
                self._refuse(MimeFaultKind.BOUNDARY)
        return b""

    def _push(self, boundary: bytes | None, *, is_digest: bool = False) -> None:
        depth = len(self._levels)
        if depth >= self._max_nesting:
            self._refuse(MimeFaultKind.NESTING)
            return
        if boundary is None:
            self._levels.append(_Level(None))
            self._start_part()
            return
        self._levels.append(_Level(boundary, is_digest, self._open.get(boundary)))
        self._open[boundary] = depth
        self._aim()

    def _leave(self, depth: int) -> None:
        while len(self._levels) > depth:
            level = self._levels.pop()
            if level.boundary is None:
                continue
            if level.hidden is None:
                del self._open[level.boundary]
            else:
                self._open[level.boundary] = level.hidden
        self._aim()

    def _aim(self) -> None:
        # One multipart is by far the usual case, and then its boundary finds itself.
        only = next(iter(self._open)) if len(self._open) == 1 else b""
        self._needle = b"\r\n--" + only

    def _refuse(self, kind: MimeFaultKind) -> None:
        detail = {
            MimeFaultKind.NESTING: f"MIME parts nest deeper than {self._max_nesting} levels",
            MimeFaultKind.PARTS: f"the message has more than {self._max_parts} MIME parts",
            MimeFaultKind.BOUNDARY: f"a MIME boundary is one parameter of at most {MAX_BOUNDARY}"
            " characters (RFC 2046 5.1.1)",
            MimeFaultKind.PART_HEADER: f"the header of a MIME part is longer than {MAX_PART_HEADER}"
            f" octets or has a line over {MAX_LINE}",
        }[kind]
        self.fault = MimeFault(kind=kind, detail=detail)
