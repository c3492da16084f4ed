"""One connection: its state, the commands it sends, and every deadline.

```
 connect ─> greeting ─> EHLO ─> [STARTTLS ─> EHLO] ─> AUTH ─> MAIL ─> RCPT... ─> DATA | BDAT... ─┐
                         ^                                     ^                                 │
                         └── QUIT from anywhere                └──────── 250, or a refusal <─────┘
```

It speaks ESMTP and decides nothing about mail: a Handler does, which is another one for each kind
of listener. Replies to pipelined commands leave in one write, when no whole command is left in the
buffer (RFC 2920 3.2). Who is not logged in may not pipeline where RFC 2920 3.1 does not allow it.

| deadline                         | from                         | ends with        |
|----------------------------------|------------------------------|------------------|
| timeouts.command_s               | the last reply               | 421 4.4.2, abort |
| timeouts.data_block_s            | the last octets of a message | 421 4.4.2, abort |
| data_block_s + octets / min rate | DATA                         | 421 4.4.2, abort |
| timeouts.session_s               | the connection               | 421 4.4.2, abort |
| timeouts.tls_handshake_s         | STARTTLS, or the connection  | abort            |
| none                             | while we work                |                  |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from gatewayd import log
from gatewayd.errors import Refused, StoreBroken, StoreError
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.smtpd import auth, replies
from gatewayd.smtpd.commands import MailCommand
from gatewayd.smtpd.connection import Connection, Draining, SessionOver, TimedOut
from gatewayd.smtpd.data import MessageReader
from gatewayd.smtpd.replies import Rejected
from gatewayd.smtpd.terms import Facts, Goodbye, Handler, ListenerPort, Terms

_log = log.get_logger(__name__)

COMMAND_OCTETS: Final = 512  # with CRLF, where nothing else is said (RFC 5321 4.5.3.1.4)
# MAIL grows by SIZE 26, BODY 17, SMTPUTF8 10, AUTH 500, RET 9, ENVID 107; RCPT by NOTIFY 28 and
# ORCPT 507 (RFC 1870 3, 6152 2, 6531 3.4, 4954 5, 3461 4).
LINE_OCTETS: Final = {b"MAIL": 1181, b"RCPT": 1047, b"AUTH": auth.LINE_OCTETS}
_LONGEST = 2048  # unfinished, before it is dropped as it comes
_DROPPED_OCTETS = 65_536  # of one endless line, before the connection is ended
_ERRORS = 10  # wrong commands of a stranger
_ERRORS_KNOWN = 1000  # a client that pipelines makes many at once
_NEARLY_S = 0.01  # how much too early a loop may call a timer
STRESS_S: Final = 10.0  # for a command of a stranger when connections are scarce
# Postfix's smtpd_forbidden_commands, and other ways to begin a request of HTTP.
_OTHER_PROTOCOLS = frozenset(
    (b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE")
)
_TLS_HANDSHAKE = b"\x16"  # the record type of a ClientHello (RFC 8446 5.1)
_COMMAND = re.compile(rb"([A-Za-z]+)(?: ([^\x00-\x1f\x7f]*))?\r\n").fullmatch

Verb = Callable[["Session", str], Coroutine[None, None, None]]


class Transaction:
    """From MAIL to its end. reader: there is one from the first BDAT on."""

    __slots__ = ("attempts", "mail", "reader", "recipients")

    def __init__(self, mail: MailCommand) -> None:
        self.mail = mail
        self.recipients: list[Recipient] = []
        self.attempts = 0
        self.reader: MessageReader | None = None

    def envelope(self) -> Envelope:
        mail = self.mail
        return Envelope(
            mail.reverse_path,
            tuple(self.recipients),
            mail.body,
            smtputf8=mail.smtputf8,
            envid=mail.envid,
            ret=mail.ret,
        )


class Session:
    """The conversation on one connection; `run` is all of it."""

    __slots__ = (
        "_errors",
        "_facts",
        "_idle_commands",
        "_token_id",
        "_verbs",
        "ends_at",
        "handler",
        "helo",
        "listener",
        "login_failures",
        "terms",
        "transaction",
        "wire",
    )

    def __init__(
        self,
        wire: Connection,
        *,
        terms: Terms,
        verbs: Mapping[bytes, Verb],
        handler: Handler,
        listener: ListenerPort,
    ) -> None:
        self.wire = wire
        self.terms = terms
        self.handler = handler
        self.listener = listener
        self.helo = ""
        self.transaction: Transaction | None = None
        self.login_failures = 0
        self.ends_at = wire.loop.time() + terms.timeouts.session_s
        self._verbs = verbs
        self._token_id = ""
        self._errors = 0
        self._idle_commands = 0
        self._facts: Facts | None = None  # the same for all messages, as a rule

    async def run(self) -> None:
        """Greet, obey, and end the connection. Nothing but cancellation is raised."""
        wire = self.wire
        is_polite = False
        try:
            await self._converse()
        except Goodbye as end:
            is_polite = True
            self.say(end.reply)
        except Draining:
            is_polite = True
            self.say(replies.STOPPING)
        except TimedOut:
            self.terms.metrics.smtp_timeouts.inc()
            late = wire.loop.time() + _NEARLY_S >= self.ends_at
            self.say(replies.SESSION_TOO_LONG if late else replies.TOO_SLOW)
        except SessionOver:
            pass
        except Exception as error:  # noqa: BLE001 - the end of one session is not that of all
            _log.error("smtp_session_failed", peer=wire.peer, exc_info=error)
            self.say(replies.FAULT)
        finally:
            self.reset()
            self.log_out()
            if not is_polite:
                wire.abort()
        await wire.close()

    # --- for verbs

    @property
    def is_logged_in(self) -> bool:
        return bool(self._token_id)

    @property
    def is_secret_safe(self) -> bool:
        """Whether a token may be sent on this connection."""
        return bool(self.wire.tls) or self.terms.auth_without_tls

    @property
    def facts(self) -> Facts:
        wire, known = self.wire, self._facts
        is_logged_in = bool(self._token_id)
        if known is None or (known.helo, known.tls, known.is_logged_in) != (
            self.helo, wire.tls, is_logged_in,
        ):  # fmt: skip
            known = self._facts = Facts(
                peer=wire.peer, helo=self.helo, tls=wire.tls, is_logged_in=is_logged_in
            )
        return known

    def say(self, reply: bytes) -> None:
        """Add a reply to those that leave together."""
        self.wire.write(reply)

    def say_wrong(self, reply: bytes) -> None:
        """Say that a command had the wrong form or order; too many of these end the session."""
        self.say(reply)
        self._errors += 1
        if self._errors >= self._allowed_errors():
            raise Goodbye(replies.TOO_MANY_ERRORS)

    def count_idle(self) -> None:
        """Count a command that brings no message any further."""
        self._idle_commands += 1
        if self._idle_commands > self.terms.limits.idle_commands:
            raise Goodbye(replies.TOO_MANY_IDLE)

    def must_be_last(self) -> None:
        """End the session if a stranger did not wait for this command's reply (RFC 2920 3.1)."""
        if self.wire.has_input and self._is_stranger:
            raise Goodbye(replies.PIPELINED_TOO_SOON)

    def take_transaction(self) -> Transaction:
        """The open transaction, which is none from now on."""
        transaction = self.transaction
        if transaction is None:
            raise AssertionError("no transaction is open")
        self.transaction = None
        return transaction

    def reset(self) -> None:
        """Forget the open transaction."""
        transaction = self.transaction
        self.transaction = None
        if transaction is not None and transaction.reader is not None:
            transaction.reader.close()

    def message_ended(self) -> None:
        """A message was accepted: what was counted is forgiven."""
        self._idle_commands = 0
        self._errors = 0

    def log_in(self, token_id: str) -> bool:
        """Remember who it is; False if the token has all the connections it may have."""
        if not self.listener.admit_token(token_id):
            return False
        self._token_id = token_id
        return True

    def log_out(self) -> None:
        if self._token_id:
            self.listener.release_token(self._token_id)
            self._token_id = ""
        self.handler.log_out()

    async def line(self, longest: int = 0) -> bytes:
        """The next line, with its end: of at most `longest` octets, or a command's.

        Raises:
            Rejected: it was longer, and was dropped.
            SessionOver: one of its kinds.
        """
        wire = self.wire
        deadline = self._command_deadline()
        if wire.is_unread:
            wire.flush()
            await wire.drained(deadline)
        while (line := wire.next_line()) is None:
            if wire.pending_octets > (longest or self._longest_command()):
                await self._drop_line(deadline)
            await wire.more(deadline, idle=True)
        return line

    # --- inside

    async def _converse(self) -> None:
        wire = self.wire
        # Two rounds of the loop: what a client sent before our greeting is in the buffer then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if wire.has_input:
            raise Goodbye(replies.SPOKE_TOO_SOON)
        self.say(f"220 {self.terms.hostname} ESMTP gatewayd\r\n".encode("ascii"))
        while True:
            try:
                line = None if wire.is_unread else wire.next_line()
                await self._obey(line or await self.line())
            except SessionOver:
                raise
            except Exception as error:  # noqa: BLE001 - it becomes the reply to its command
                self._refuse(error)

    async def _obey(self, line: bytes) -> None:
        match = _COMMAND(line)
        name = match[1].upper() if match is not None else b""
        command = self._verbs.get(name)
        if match is None or command is None or len(line) > LINE_OCTETS.get(name, COMMAND_OCTETS):
            self._refuse_line(line)
            return
        try:
            argument = (match[2] or b"").decode().strip(" ")
        except UnicodeDecodeError:
            self.say_wrong(replies.NOT_UTF8)
            return
        await command(self, argument)

    def _refuse_line(self, line: bytes) -> None:
        """Say what is wrong with a line that is no command."""
        name = line.rstrip(b"\r\n").partition(b" ")[0].upper()
        command = self._verbs.get(name)
        if command is None and (not self.helo or name in _OTHER_PROTOCOLS):
            raise Goodbye(replies.NOT_SMTP)
        if not line.endswith(b"\r\n"):
            # Whoever wrote it meant one line up to CRLF, so what follows is no command of theirs
            # (RFC 5321 2.3.8).
            raise Goodbye(replies.BARE_LINE_END)
        if command is None:
            self.say_wrong(replies.UNKNOWN_COMMAND)
        elif len(line) > LINE_OCTETS.get(name, COMMAND_OCTETS):
            self.say_wrong(replies.LINE_TOO_LONG)
        elif line.endswith(b"\r\r\n"):
            self.say_wrong(replies.BARE_LINE_END)
        else:
            self.say_wrong(replies.CONTROL_CHARACTER)

    def _refuse(self, error: Exception) -> None:
        """Answer a command that ended in an error."""
        reply = replies.for_error(error)
        if isinstance(error, Refused):
            if error.kind in replies.LOGIN_LAPSED:
                self.reset()
                self.log_out()
            _log.info("smtp_command_refused", peer=self.wire.peer, code=error.code)
        elif isinstance(error, Rejected):
            self.say_wrong(reply.render())
            return
        else:
            self._log_fault(error)
        self.say(reply.render())

    def _log_fault(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            _log.warning("smtp_command_failed", peer=self.wire.peer, error=str(error))
        else:
            _log.error("smtp_command_failed", peer=self.wire.peer, exc_info=error)
        if isinstance(error, StoreBroken):
            self.terms.on_fatal(error)

    def _longest_command(self) -> int:
        """How long the unfinished line in the buffer may become."""
        wire = self.wire
        if not self.helo and wire.begins_with(_TLS_HANDSHAKE):
            raise Goodbye(replies.NOT_SMTP)
        return auth.LINE_OCTETS if wire.begins_with(b"AUTH ") else _LONGEST

    async def _drop_line(self, deadline: float) -> None:
        """Read to the end of a line that is too long, then refuse it."""
        wire = self.wire
        dropped, last = 0, b""
        while (end := wire.next_line()) is None:
            block = wire.take(_DROPPED_OCTETS)
            last = block or last
            dropped += len(block)
            if dropped > _DROPPED_OCTETS:
                raise Goodbye(replies.TOO_MANY_ERRORS)
            if not wire.has_input:  # with more in the buffer, nothing new may be read into it
                await wire.more(deadline, idle=True)
        if not (last[-1:] + end).endswith(b"\r\n"):
            raise Goodbye(replies.BARE_LINE_END)
        raise Rejected(500, "5.5.2", "line too long: 512 octets for a command, 12288 for AUTH")

    def _command_deadline(self) -> float:
        seconds = self.terms.timeouts.command_s
        if self.listener.is_stressed and self._is_stranger:
            seconds = min(seconds, STRESS_S)
        return min(self.wire.loop.time() + seconds, self.ends_at)

    def _allowed_errors(self) -> int:
        if not self._is_stranger:
            return _ERRORS_KNOWN
        return 1 if self.listener.is_stressed else _ERRORS

    @property
    def _is_stranger(self) -> bool:
        return not (self._token_id or self.terms.trusts_clients)
