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
_KNOWN_OCTETS: Final = 128  # of what a peer says at once; more is rarely said twice
_EARLY_S: Final = 0.001  # by which a loop may run a timer too early
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
        self._until = 0.0  # when whoever waits has waited long enough, and what is said then
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
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

    @property
    def is_free(self) -> bool:
        """Whether `flush` has nothing to wait for."""
        return self._broken is None and not self._is_paused

    @property
    def is_empty(self) -> bool:
        """Whether `empty` has nothing to wait for."""
        return self.is_free and not self._transport.get_write_buffer_size()

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
        if len(data) <= _KNOWN_OCTETS and not self._unread and not self._lines:
            known = _known(data)
            if known and len(self._replies) + len(known) <= self._expected:
                self._replies.extend(known)
                self._wake()
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
            reply = Reply.parse(lines) if len(lines) > 1 else _parse(line)
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout_s: float, reason: str) -> None:
        """Sleep until something happens, or it has been long enough.

        The timer of an earlier wait is left to run: when it fires, it is set for what is left of
        the one that is going on. So there is one timer in minutes, not one for each reply.
        """
        waiter = self._waiter = self._loop.create_future()
        self._until, self._reason = self._loop.time() + max(0.0, timeout_s), reason
        if self._timer is not None and self._timer.when() > self._until:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._expire)
        try:
            await waiter
        finally:
            self._waiter = None

    def _expire(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._until - self._loop.time() > _EARLY_S:
            self._timer = self._loop.call_at(self._until, self._expire)
            return
        waiter.set_exception(Broken(self._reason))
        self._break(self._reason)


@functools.lru_cache(maxsize=256)
def _known(octets: bytes) -> tuple[Reply, ...]:
    """Read short replies of a line each once: a next hop says the same to each MAIL, RCPT and DATA.

    None of them where that is not what they are.
    """
    *lines, rest = octets.split(b"\n")
    if rest or any(line[3:4] == b"-" for line in lines):
        return ()
    try:
        return tuple(map(_parse_short, lines))
    except ReplySyntaxError:
        return ()


def _parse(line: bytes) -> Reply:
    return _parse_short(line) if len(line) <= _KNOWN_OCTETS else Reply.parse([line])


@functools.lru_cache(maxsize=256)
def _parse_short(line: bytes) -> Reply:
    """Read a line that is rarely said once: each of a hundred RCPT has the same answer."""
    return Reply.parse([line])
