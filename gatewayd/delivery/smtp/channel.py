"""Channel: octets to a next hop with back-pressure, replies from it, each wait with a deadline.

It takes a connection over when the session is set up (`connection.py`), because aiosmtplib awaits
one reply per command. Here replies are read as they come and handed out in order, so that commands
can be written together (RFC 2920).

What a peer can make us hold: 32 KiB of one reply, and as many parsed ones as we asked for. More
than that, or octets that are no reply, ends the session: what follows cannot be told apart.
A reply that nobody asked for ends it too: the next one would be paired with the wrong command.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import Final

from gatewayd.mail.reply import Reply, ReplySyntaxError

REPLY_OCTETS: Final = 32 * 1024  # one reply with all its lines; EHLO, the longest, has some 500
WRITE_OCTETS: Final = 64 * 1024  # of ours that wait for the peer before a writer must wait
_CACHED_LINE: Final = 128  # longer lines are rarely said twice
_QUIT_S: Final = 2.0  # for the peer to close after QUIT, before we do


class Broken(Exception):
    """The session is over: closed, silent beyond the deadline, or no SMTP any more.

    Private to `delivery/`: an attempt that meets it gives an outcome by `trouble.from_loss`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Channel(asyncio.Protocol):
    """One taken-over connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._unread = bytearray()
        self._lines: list[bytes] = []  # of the reply that is not complete yet
        self._lines_octets = 0
        self._replies: deque[Reply] = deque()
        self._expected = 0  # replies asked for and not handed out
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._broken: str | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=WRITE_OCTETS)

    @property
    def is_usable(self) -> bool:
        """Whether a command may be written: open, and no reply too many or too few."""
        return (
            self._broken is None
            and not self._expected
            and not self._replies
            and not self._unread
            and not self._lines
            and not self._transport.is_closing()
        )

    def expect(self, replies: int) -> None:
        """Say that the peer owes so many more replies than it was asked for by `write`."""
        self._expected += replies

    def write(self, octets: bytes, *, replies: int = 0) -> None:
        """Hand octets to the transport; `flush` before more than a block of them.

        Args:
            octets: commands or content.
            replies: how many the peer owes for them.

        Raises:
            Broken: the connection has ended. Replies that came before its end can still be read.
        """
        if self._broken is not None:
            if self._replies:
                return
            raise Broken(self._broken)
        self._expected += replies
        self._transport.write(octets)

    async def flush(self, timeout_s: float) -> None:
        """Wait until the peer has taken enough for another block, or has replied.

        Raises:
            Broken: it did neither in time, or the connection has ended.
        """
        while self._is_paused and self._broken is None and not self._replies:
            await self._wait(timeout_s, "the next hop takes no more octets")
        if self._broken is not None and not self._replies:
            raise Broken(self._broken)

    async def empty(self, timeout_s: float) -> None:
        """Wait until nothing of ours is left in this process; what the kernel holds, it holds."""
        if self._broken is not None or not self._transport.get_write_buffer_size():
            return await self.flush(timeout_s)
        self._transport.set_write_buffer_limits(high=1, low=0)
        try:
            await self.flush(timeout_s)
        finally:
            self._transport.set_write_buffer_limits(high=WRITE_OCTETS)

    def early_reply(self) -> Reply | None:
        """Take a reply that came before its turn, while we were still writing."""
        if not self._replies:
            return None
        self._expected -= 1
        return self._replies.popleft()

    async def reply(self, timeout_s: float) -> Reply:
        """The next reply, in the order of the commands.

        Raises:
            Broken: none in time, the connection has ended, or what came is no reply.
        """
        while not self._replies:
            if self._broken is not None:
                raise Broken(self._broken)
            await self._wait(timeout_s, "no reply in time")
        self._expected -= 1
        return self._replies.popleft()

    def quit(self) -> None:
        """Say QUIT and close, without waiting for the answer (RFC 5321 4.1.1.10)."""
        if not self.is_usable or self._is_paused:
            self.abort()
            return
        self._break("closed by us")
        self._transport.write(b"QUIT\r\n")
        self._loop.call_later(_QUIT_S, self._transport.abort)

    def abort(self) -> None:
        """Close at once; octets that wait are not sent."""
        self._break("closed by us")
        self._transport.abort()

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            return
        self._unread += data
        start = 0
        while (end := self._unread.find(b"\n", start)) >= 0:
            self._take_line(bytes(self._unread[start : end + 1]))
            start = end + 1
        del self._unread[:start]
        if self._lines_octets + len(self._unread) > REPLY_OCTETS:
            self._violated("a reply longer than 32 KiB")

    def eof_received(self) -> bool:
        self._break("the next hop closed the connection")
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(f"connection lost: {exc}" if exc else "the next hop closed the connection")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def _take_line(self, line: bytes) -> None:
        self._lines_octets += len(line)
        if self._lines_octets > REPLY_OCTETS:
            return  # the caller ends the session
        if line[3:4] == b"-":
            self._lines.append(line)
            return
        lines, self._lines, self._lines_octets = [*self._lines, line], [], 0
        try:
            reply = _parse(line) if len(lines) == 1 else Reply.parse(lines)
        except ReplySyntaxError as fault:
            self._violated(str(fault))
            return
        if len(self._replies) >= self._expected:
            self._violated(f"a reply to nothing: {reply}")
            return
        self._replies.append(reply)
        self._wake()

    def _violated(self, reason: str) -> None:
        """End a session in which replies can no longer be paired with commands."""
        self._break(reason)
        self._unread.clear()
        self._lines.clear()
        self._transport.abort()

    def _break(self, reason: str) -> None:
        if self._broken is None:
            self._broken = reason
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout_s: float, reason: str) -> None:
        """Sleep until something happens; a bare timer costs a third of `asyncio.timeout`."""
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, timeout_s), _expire, waiter, reason)
        try:
            await waiter
        except Broken:
            self._break(reason)
            raise
        finally:
            timer.cancel()
            self._waiter = None


def _expire(waiter: asyncio.Future[None], reason: str) -> None:
    if not waiter.done():
        waiter.set_exception(Broken(reason))


def _parse(line: bytes) -> Reply:
    return _parse_known(line) if len(line) <= _CACHED_LINE else Reply.parse([line])


@functools.lru_cache(maxsize=256)
def _parse_known(line: bytes) -> Reply:
    """Read a short reply once: a next hop says the same to each MAIL and RCPT."""
    return Reply.parse([line])
