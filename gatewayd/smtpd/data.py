"""The content of one message as it comes in, by DATA or BDAT: bounded, spooled, CRLF only.

```
octets ─> LineCheck ─> header section, up to the blank line   (memory, <= limits.header_octets)
                   └─> body                                   (memory up to 64 KiB, then a file)
```

Whatever is wrong is remembered and the rest dropped; the client is told after the real end of
data, since a reply before it would let the rest be read as commands. All messages being received
share one budget of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused, StoreFull
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.lines import LineCheck, LineFault
from gatewayd.mail.message import Body, RawMessage
from gatewayd.mail.structure import StructureCheck, may_have_parts

_BLANK_LINE = b"\r\n\r\n"
_LINE_TEXTS: Final = {
    LineFault.BARE_CR: "the message has a CR without LF; lines end with CRLF and nothing else",
    LineFault.BARE_LF: "the message has an LF without CR; lines end with CRLF and nothing else",
    LineFault.NUL: "the message has a NUL octet; encode binary content",
}


class BodyWriter(Protocol):
    """Takes one body: `spool.BodyWriter`, or the simulator's in memory."""

    @property
    def held_octets(self) -> int:
        """Octets of it that are in memory now."""
        ...

    def write(self, block: bytes) -> None:
        """Take the next octets; raises StoreError."""
        ...

    async def finish(self) -> Body:
        """End the body; raises StoreError."""
        ...

    def discard(self) -> None:
        """Forget what was written. Does nothing after `finish`, or twice."""
        ...


class MemoryBudget:
    """Octets of all messages being received that may be in memory at once."""

    def __init__(self, limit_octets: int) -> None:
        self._limit_octets = limit_octets
        self.used_octets = 0

    def use(self, limit_octets: int) -> None:
        """Take another limit, after a reload."""
        self._limit_octets = limit_octets

    @property
    def is_spent(self) -> bool:
        return self.used_octets >= self._limit_octets

    def hold(self, before: int, after: int) -> bool:
        """Change what one message holds; False, and no change, when there is no room for more."""
        if after > before and self.used_octets + after - before > self._limit_octets:
            return False
        self.used_octets += after - before
        return True


class MessageReader:
    """Takes the octets of one message, without dot-stuffing. End it with `close`, always."""

    __slots__ = (
        "_budget",
        "_check",
        "_fault",
        "_head",
        "_header",
        "_held",
        "_limits",
        "_open_body",
        "_structure",
        "_writer",
        "size_octets",
    )

    def __init__(
        self, *, limits: LimitsSection, budget: MemoryBudget, open_body: Callable[[], BodyWriter]
    ) -> None:
        self.size_octets = 0
        self._limits = limits
        self._budget = budget
        self._open_body = open_body
        self._check = LineCheck()
        self._head = bytearray()
        self._header: HeaderSection | None = None
        self._structure: StructureCheck | None = None
        self._writer: BodyWriter | None = None
        self._held = 0
        self._fault: Exception | None = None

    @property
    def fault(self) -> Exception | None:
        """What is wrong so far; the rest of the message is dropped."""
        return self._fault

    def feed(self, octets: bytes) -> None:
        """Take the next octets. Never raises: what is wrong is kept for `finish`."""
        self.size_octets += len(octets)
        if self._fault is not None:
            return
        try:
            self._take(octets)
        except Exception as error:  # noqa: BLE001 - the client is told after the end of data
            self._drop(error)

    async def finish(self) -> RawMessage:
        """End the message: a body that is in a file is durable on return.

        Raises:
            Refused: what `feed` found; StoreError, too.
        """
        if self._fault is None:
            self._check.finish()
            self._look_at_lines()
            if self._header is None:
                self._end_without_body()
            self._look_at_structure(ended=True)
        if self._fault is not None:
            self._drop(self._fault)
            raise self._fault
        body = await self._writer.finish() if self._writer is not None else b""
        return RawMessage(self._header or HeaderSection(b""), body, is_checked=True)

    def close(self) -> None:
        """Give back what is held; after `finish` the message lives on elsewhere."""
        if self._writer is not None:
            self._writer.discard()
        self._budget.hold(self._held, 0)
        self._held = 0

    def _take(self, octets: bytes) -> None:
        if self.size_octets > self._limits.message_octets:
            raise Refused(
                Code.MESSAGE_TOO_LARGE,
                f"the message is over {self._limits.message_octets} octets, the SIZE of EHLO",
            )
        self._check.feed(octets)
        self._look_at_lines()
        if self._fault is not None:
            return
        if self._header is None:
            octets = self._split(octets)
        if octets:
            self._take_body(octets)
        self._account()

    def _take_body(self, octets: bytes) -> None:
        if self._writer is None:
            self._writer = self._open_body()
            self._structure = self._structure_check()
        self._writer.write(octets)
        if self._structure is not None:
            self._structure.feed(octets)
            self._look_at_structure(ended=False)

    def _structure_check(self) -> StructureCheck | None:
        header, limits = self._header, self._limits
        if header is None or not may_have_parts(header):
            return None
        return StructureCheck(header, nesting=limits.mime_depth, parts=limits.mime_parts)

    def _look_at_structure(self, *, ended: bool) -> None:
        """MIME limits, while the octets are at hand: a large body is in a file afterwards."""
        if self._structure is None or self._fault is not None:
            return
        if (self._structure.finish() if ended else self._structure.fault) is not None:
            limits = self._limits
            self._drop(
                Refused(
                    Code.MIME_TOO_COMPLEX,
                    f"a message may have {limits.mime_parts} MIME parts, {limits.mime_depth} deep",
                )
            )

    def _split(self, octets: bytes) -> bytes:
        """Take octets as header section; what comes back is body, and then the header has ended."""
        head: bytes | bytearray = octets
        begins_at = 0
        if self._head:
            begins_at = max(0, len(self._head) - len(_BLANK_LINE) + 1)
            self._head += octets
            head = self._head
        if head.startswith(b"\r\n"):
            self._end_header(b"")
            return bytes(head[2:])
        at = head.find(_BLANK_LINE, begins_at)
        if (len(head) if at < 0 else at + 2) > self._limits.header_octets:
            raise self._header_too_large()
        if at < 0:
            if not self._head:
                self._head += octets
            return b""
        self._end_header(bytes(head[: at + 2]))
        return bytes(head[at + 4 :])

    def _end_header(self, header: bytes) -> None:
        self._header = HeaderSection(header)
        self._head = bytearray()

    def _end_without_body(self) -> None:
        """There was no blank line: all of it is header section (RFC 5322 2.1)."""
        if self._fault is not None:
            return
        if self._head and not self._head.endswith(b"\r\n"):  # by BDAT only
            self._fault = Refused(Code.HEADER_INVALID, "the header section does not end with CRLF")
            return
        self._end_header(bytes(self._head))

    def _look_at_lines(self) -> None:
        found = self._check.fault
        if found is None or self._fault is not None:
            return
        if found is LineFault.TOO_LONG:
            self._drop(
                Refused(Code.LINE_TOO_LONG, "the message has a line of over 998 octets; encode it")
            )
        else:
            self._drop(Refused(Code.LINE_ENDINGS_INVALID, _LINE_TEXTS[found]))

    def _account(self) -> None:
        held = len(self._head) + (len(self._header.octets) if self._header is not None else 0)
        if self._writer is not None:
            held += self._writer.held_octets
        if held == self._held:
            return
        if not self._budget.hold(self._held, held):
            raise StoreFull("no memory is left for messages being received")
        self._held = held

    def _drop(self, fault: Exception) -> None:
        self._fault = fault
        self._head = bytearray()
        self._header = None
        self.close()

    def _header_too_large(self) -> Refused:
        return Refused(
            Code.HEADER_TOO_LARGE,
            f"the header section is over {self._limits.header_octets} octets",
        )
