"""Connection: the octets of one client, in and out, with deadlines and bounded buffers.

It is an aiosmtpd protocol in which everything that decides is replaced: aiosmtpd 1.4.6 keeps every
line of a message as an object, forgets its deadline inside DATA, closes where only an abort helps,
cancels its handler when the client leaves, and writes each reply line by itself. A test holds each
of these (tests/scenarios/test_submission_*.py). It is the one file that knows aiosmtpd.

| to wait   | ends with                                                      |
|-----------|----------------------------------------------------------------|
| more      | new octets, TimedOut, ConnectionLost, or Draining when `idle`  |
| drained   | the client has read enough of our replies, or as above         |

Deadlines are absolute, on the loop's clock. There is one timer, which is moved only when a new
deadline comes before it fires. A client that goes away never cancels the task that serves it: the
task finds out at its next wait.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from aiosmtpd.smtp import SMTP

READ_OCTETS: Final = 65_536  # in the buffer before the client is made to wait
WRITE_OCTETS: Final = 32_768  # of replies not read by the client before we stop reading
LINGER_S: Final = 5.0  # for the last reply to go out
_EARLY_S: Final = 0.002  # how much too early a loop may call a timer


class SessionOver(Exception):
    """The conversation has ended."""


class ConnectionLost(SessionOver):
    """The client has gone, or will send no more."""


class TimedOut(SessionOver):
    """The client kept us waiting past the deadline."""


class Draining(SessionOver):
    """The listener is stopping, and this client was idle."""


class Connection(SMTP):
    """One client's connection, in plaintext or TLS; `start_tls` changes that.

    loop: the running one.
    """

    _stream: asyncio.Transport  # from connection_made on

    # SMTP.__init__ is not called: it introspects handlers, clears a dictionary that all its
    # connections share, and makes a reader for lines; nothing of that is used here.
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._is_connected = False
        # What came in one piece stays one: only what comes while octets wait is copied.
        self._inbox: bytes | bytearray = b""
        self._taken = 0  # octets of the inbox that somebody has
        self._scanned = 0  # up to here there is no LF that was not taken
        self._outbox: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_idle = False
        self._is_draining = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_upgrading = False
        self.has_ended = False  # nothing more will be received
        self.is_lost = False  # nothing can be sent either
        self.peer = ""
        self.tls = ""  # such as `TLSv1.3 TLS_AES_256_GCM_SHA384`

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        self._use(transport)  # type: ignore[arg-type]  # a stream's is a Transport

    def data_received(self, data: bytes) -> None:
        if self._inbox:
            self._join(data)
        else:
            self._inbox = data
        if len(self._inbox) > READ_OCTETS and not (self._is_reading_paused or self._is_upgrading):
            self._is_reading_paused = True
            self._stream.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.has_ended = True
        self._wake()
        # A client may half-close and still read our reply; over TLS that does not exist.
        return not self.tls and not self._is_upgrading

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.has_ended = self.is_lost = True
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._wake()

    # --- in

    @property
    def has_input(self) -> bool:
        """Whether octets are waiting that nobody took yet."""
        return bool(self._inbox)

    @property
    def pending_octets(self) -> int:
        return len(self._inbox) - self._taken

    def begins_with(self, octets: bytes) -> bool:
        """Whether the next octets are these, in any case of their letters."""
        return self._inbox[self._taken : self._taken + len(octets)].upper() == octets

    def next_line(self) -> bytes | None:
        """Take the next line with its LF, if all of it has come."""
        inbox = self._inbox
        end = inbox.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(inbox)
            return None
        return self._take_to(end + 1)

    def take(self, limit: int) -> bytes:
        """Take what has come, at most `limit` octets; empty if there is nothing."""
        return self._take_to(min(self._taken + limit, len(self._inbox)))

    def put_back(self, octets: bytes) -> None:
        """Return octets that belong to what comes next."""
        if octets:
            self._inbox = octets + self._inbox[self._taken :]
            self._taken = self._scanned = 0

    async def more(self, deadline: float, *, idle: bool = False) -> None:
        """Send what is to be sent, then wait for something new. It may return for nothing.

        idle: the client owes us a command; a stop of the listener ends the wait.

        Raises:
            SessionOver: one of its kinds.
        """
        self.flush()
        if self.has_ended:
            raise ConnectionLost
        if idle and self._is_draining:
            raise Draining
        self._is_idle = idle
        try:
            await self._wait(deadline)
        finally:
            self._is_idle = False

    # --- out

    def write(self, octets: bytes) -> None:
        """Add to what is sent at the next `flush`, which every wait does."""
        self._outbox.append(octets)

    def flush(self) -> None:
        """Send what was written, in one piece."""
        if self._outbox:
            octets = self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox)
            self._outbox.clear()
            if not self.is_lost:
                self._stream.write(octets)

    @property
    def is_unread(self) -> bool:
        """Whether the client leaves so much unread that nothing more should be written."""
        return self._is_writing_paused

    async def drained(self, deadline: float) -> None:
        """Wait until the client has read enough of what was sent."""
        while self._is_writing_paused:
            if self.is_lost:
                raise ConnectionLost
            await self._wait(deadline)

    # --- its end

    def drain(self) -> None:
        """End it as soon as the client is idle, which may be now."""
        self._is_draining = True
        if self._is_idle and self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Draining())

    def abort(self) -> None:
        """End it now; what is written and fits into the kernel's buffer still goes out."""
        self.flush()
        self.has_ended = True
        if self._is_connected:
            self._stream.abort()

    async def close(self) -> None:
        """End it when the last reply has gone out, or after LINGER_S."""
        self.flush()
        if not self.is_lost:
            self._stream.close()
        deadline = self.loop.time() + LINGER_S
        try:
            while not self.is_lost:
                self._forget_input()
                await self._wait(deadline)
        except TimedOut:
            self.abort()

    async def start_tls(self, context: ssl.SSLContext, handshake_s: float) -> None:
        """Send what is written, then do the TLS handshake as a server.

        What the client sent in plaintext is forgotten: an attacker may have put it there
        (CVE-2011-0411). Nothing that comes later can be plaintext, as no wait stands between this
        and the handshake.

        Raises:
            ConnectionLost: the handshake failed, or took too long.
        """
        self.flush()
        self._forget_input()
        self._is_upgrading = True
        plain = self._stream
        if self.is_lost:
            raise ConnectionLost
        try:
            stream = await self.loop.start_tls(
                plain,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=LINGER_S,
            )
        except (OSError, asyncio.IncompleteReadError) as error:
            self._give_up(plain)
            raise ConnectionLost from error
        if stream is None:  # lost in the middle: asyncio says so in this way
            self._give_up(plain)
            raise ConnectionLost
        self._is_upgrading = False
        self._use(stream)

    # --- inside

    def _use(self, stream: asyncio.Transport) -> None:
        self._stream = stream
        self._is_connected = True
        stream.set_write_buffer_limits(high=WRITE_OCTETS)
        session = stream.get_extra_info("ssl_object")
        if session is not None:
            cipher = session.cipher()
            self.tls = f"{session.version()} {cipher[0] if cipher else ''}".rstrip()

    def _join(self, data: bytes) -> None:
        """Put octets behind those that wait."""
        inbox = self._inbox
        if isinstance(inbox, bytes):
            inbox = self._inbox = bytearray(inbox)
        if self._taken:
            del inbox[: self._taken]
            self._scanned -= self._taken
            self._taken = 0
        inbox += data

    def _take_to(self, end: int) -> bytes:
        """Take what comes before `end`; read again if that made room."""
        inbox = self._inbox
        octets = bytes(inbox[self._taken : end])
        if end == len(inbox):
            self._forget_input()
        else:
            self._taken = self._scanned = end
        if self._is_reading_paused and len(inbox) - end < READ_OCTETS and not self.has_ended:
            self._is_reading_paused = False
            self._stream.resume_reading()
        return octets

    def _forget_input(self) -> None:
        self._inbox = b""
        self._taken = self._scanned = 0

    def _give_up(self, plain: asyncio.Transport) -> None:
        # asyncio does not call connection_lost for a connection lost in a handshake.
        plain.abort()
        self.connection_lost(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            self._set_timer(deadline)
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return  # nobody waits; the next one who does sets it again
        if self.loop.time() < self._deadline - _EARLY_S:
            self._set_timer(self._deadline)
        else:
            self._waiter.set_exception(TimedOut())
