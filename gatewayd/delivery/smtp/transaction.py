"""One mail transaction: MAIL, RCPT, DATA, the message, the dot; an outcome for each recipient.

```
 with PIPELINING (RFC 2920)          without
 C: MAIL RCPT RCPT DATA              C: MAIL     S: 250
 S: 250  250  550  354               C: RCPT     S: 250 ...
                                     C: DATA     S: 354
 C: message ........... blocks, as fast as the peer takes them
                        before_dot(): the marker becomes durable (docs/reliability.md X1)
 C: .
 S: 250                 the next hop has it now (RFC 5321 6.1)
```

| waits for     | at most            | RFC 5321    |
|---------------|--------------------|-------------|
| MAIL, RCPT    | command_s, 300 s   | 4.5.3.2.2-3 |
| DATA          | data_s, 120 s      | 4.5.3.2.4   |
| each block    | block_s, 180 s     | 4.5.3.2.5   |
| the dot       | dot_timeout_s, 600 | 4.5.3.2.6   |

All but the last end at the deadline of the attempt too. What went wrong is told by the outcomes;
what they are is for `trouble.py` to say. If every recipient was refused and the peer answers 354
all the same, it gets a dot and nothing before it: an empty message to nobody (RFC 2920 3.1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gatewayd import failpoints
from gatewayd.config.delivery import DeliverySection
from gatewayd.delivery import trouble
from gatewayd.delivery.smtp.channel import Broken
from gatewayd.delivery.smtp.commands import Content, mail, needs_smtputf8, rcpt
from gatewayd.delivery.smtp.connection import Connection
from gatewayd.delivery.smtp.transcript import Transcript
from gatewayd.delivery.trouble import Phase
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.lines import DotStuffer
from gatewayd.mail.outcome import Outcome
from gatewayd.mail.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds one transaction: the deadlines, and when the whole attempt must be at the dot.

    attempt_until: on the clock of the loop.
    """

    section: DeliverySection
    attempt_until: float


class Message(Content, Protocol):
    """What is sent."""

    def at_once(self) -> bytes | None:
        """All octets, if they are few and at hand; else they come in blocks."""
        ...


class Transaction:
    """One transaction on one connection; use it once.

    Args:
        connection: nobody else uses it meanwhile.
        before_dot: returns when the marker is durable; what it raises ends the connection and is
            raised by `run`, and no dot is sent.
        transcript: where it writes what was said.

    Attributes:
        phase: how far it has come, while it runs and after.
        is_lost: the connection broke, or nobody answered.
        is_stale: it had died before this transaction; try again on a new one.
    """

    def __init__(
        self,
        connection: Connection,
        envelope: Envelope,
        content: Message,
        *,
        limits: Limits,
        before_dot: Callable[[], Awaitable[None]],
        transcript: Transcript,
    ) -> None:
        self.phase = Phase.MAIL
        self.is_lost = False
        self.is_stale = False
        self._connection = connection
        self._channel = connection.channel
        self._capabilities = connection.capabilities
        self._envelope = envelope
        self._content = content
        self._limits = limits
        self._section = limits.section
        self._before_dot = before_dot
        self._transcript = transcript
        self._loop = asyncio.get_running_loop()
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._accepted: list[int] = []
        self._is_heard = False

    async def run(self) -> tuple[Outcome, ...]:
        """Send the message.

        Returns:
            The outcome of each recipient, in the order of the envelope.

        Raises:
            SpoolDamaged, StoreError: the message cannot be read; no dot was sent.
            LeaseLost: as `before_dot` raised it.
        """
        connection = self._connection
        connection.mails += 1
        if connection.is_reused:
            self._transcript.remark("connection reused")
        else:
            self._transcript.opening(connection.opening)
        unsupported = self._unsupported()
        if unsupported is not None:
            self._decide(unsupported)
            return self._result()
        try:
            if await self._hand_over_envelope():
                await self._hand_over_content()
        except Broken as broken:
            self._transcript.remark(broken.reason)
            self._channel.abort()
            self.is_lost = True
            self.is_stale = connection.is_reused and not self._is_heard
            self._decide(trouble.from_loss(self.phase, broken.reason, is_stale=self.is_stale))
        except BaseException:
            self._channel.abort()
            raise
        return self._result()

    # Before the first command.

    def _unsupported(self) -> Outcome | None:
        """What the peer has told in EHLO that it will not take, for all recipients."""
        peer = self._capabilities
        limit = peer.size_octets
        if limit is not None and self._content.size_octets > limit:
            return trouble.too_large(self._content.size_octets, limit)
        if self._content.has_8bit and not peer.eight_bit_mime:
            return trouble.no_eight_bit()
        if needs_smtputf8(self._envelope, self._content) and not peer.smtputf8:
            return trouble.no_utf8()
        return None

    # The envelope.

    async def _hand_over_envelope(self) -> bool:
        """MAIL, RCPT and DATA; whether the peer waits for the message."""
        connection, channel = self._connection, self._channel
        recipients = self._first_recipients()
        is_pipelined = self._capabilities.pipelining
        commands: list[bytes] = [
            mail(self._envelope, self._content, self._capabilities),
            *(rcpt(recipient, self._capabilities) for recipient in recipients),
            b"DATA\r\n",
        ]
        if connection.needs_reset:
            commands.insert(0, b"RSET\r\n")
        if is_pipelined:
            channel.write(b"".join(commands), replies=len(commands))
        to_send = iter([] if is_pipelined else commands)
        if connection.needs_reset and not await self._reset(to_send):
            return False
        connection.needs_reset = True
        shown = self._transcript.address(str(self._envelope.reverse_path))
        reply = await self._next(to_send, Phase.MAIL, f"MAIL FROM:<{shown}>")
        refusal = None if _is_good(reply) else self._refused(reply)
        if refusal is not None:
            self._decide(refusal)
            if self._is_closing(reply) or not is_pipelined:
                return False
        if not await self._ask_recipients(to_send, recipients, is_refused=refusal is not None):
            return False
        failpoints.reach("after_mail")
        if not self._accepted and not is_pipelined:
            return False
        return await self._ask_data(to_send)

    def _first_recipients(self) -> tuple[Recipient, ...]:
        """As many recipients as the peer takes; the others are let go."""
        limit = self._capabilities.recipients_max
        recipients = self._envelope.recipients
        if limit is None or len(recipients) <= limit:
            return recipients
        for index in range(limit, len(recipients)):
            self._outcomes[index] = trouble.too_many(limit)
        return recipients[:limit]

    async def _reset(self, to_send: Iterator[bytes]) -> bool:
        """Leave the last transaction; False if the connection is of no use any more."""
        reply = await self._next(to_send, Phase.MAIL, "RSET")
        if _is_good(reply):
            # An answer, but to nothing of this message: losing the connection now is still stale.
            self._is_heard = False
            return True
        self._channel.abort()
        self.is_stale = True
        self._decide(trouble.from_loss(Phase.MAIL, f"RSET was refused: {reply}", is_stale=True))
        return False

    def _refused(self, reply: Reply) -> Outcome:
        if trouble.is_stale(Phase.MAIL, reply, is_reused=self._connection.is_reused):
            self.is_stale = True
            return trouble.from_loss(Phase.MAIL, str(reply), is_stale=True)
        return trouble.from_reply(Phase.MAIL, reply)

    async def _ask_recipients(
        self, to_send: Iterator[bytes], recipients: tuple[Recipient, ...], *, is_refused: bool
    ) -> bool:
        """RCPT for each; False if the peer closes the session."""
        for index, recipient in enumerate(recipients):
            shown = self._transcript.address(str(recipient.forward_path))
            reply = await self._next(to_send, Phase.RCPT, f"RCPT TO:<{shown}>")
            if is_refused:
                continue
            if _is_good(reply):
                self._accepted.append(index)
                continue
            outcome = trouble.from_reply(Phase.RCPT, reply, others_accepted=bool(self._accepted))
            self._outcomes[index] = outcome
            if self._is_closing(reply):
                self._decide(trouble.from_reply(Phase.RCPT, reply))
                return False
        return True

    async def _ask_data(self, to_send: Iterator[bytes]) -> bool:
        reply = await self._next(to_send, Phase.DATA, "DATA")
        if reply.code == 354:
            if self._accepted:
                return True
            await self._end_empty()
            return False
        if self._accepted:
            self._decide(trouble.from_reply(Phase.DATA, reply))
        if not self._is_closing(reply) and reply.is_positive:
            self._channel.abort()  # what it waits for now, nobody knows
        return False

    async def _end_empty(self) -> None:
        """Answer a 354 that nobody wanted."""
        self._channel.write(b".\r\n", replies=1)
        reply = await self._read(self._section.data_s)
        self._connection.needs_reset = False
        self._is_closing(reply)

    # The message.

    async def _hand_over_content(self) -> None:
        channel, section = self._channel, self._section
        failpoints.reach("after_data")
        self.phase = Phase.BODY
        self._transcript.say(f"(message of {self._content.size_octets} octets)")
        stuffer = DotStuffer()
        # The reply to the dot may come at any time: a peer that has enough says so early.
        channel.expect(1)
        octets = self._content.at_once()
        if octets is not None:
            channel.write(stuffer.feed(octets))
            failpoints.reach("during_body")
        elif await self._is_refused_in_blocks(stuffer):
            return
        if not channel.is_empty:
            await channel.empty(self._left(section.block_s))
        if self._is_answered_early():
            return
        failpoints.reach("before_marker")
        await self._before_dot()
        failpoints.reach("after_marker")
        if self._is_answered_early():
            return
        channel.write(stuffer.end())
        self.phase = Phase.DOT
        self._transcript.say(".")
        failpoints.reach("after_dot")
        reply = await self._read(section.dot_timeout_s)
        self._connection.needs_reset = False
        self._decide(trouble.from_reply(Phase.DOT, reply))
        self._is_closing(reply)
        failpoints.reach("before_outcome")

    async def _is_refused_in_blocks(self, stuffer: DotStuffer) -> bool:
        """Send what is too much for one write; whether the peer refused it meanwhile."""
        channel = self._channel
        async with contextlib.aclosing(self._content.blocks()) as blocks:
            async for block in blocks:
                channel.write(stuffer.feed(block))
                failpoints.reach("during_body")
                if not channel.is_free:
                    await channel.flush(self._left(self._section.block_s))
                if self._is_answered_early():
                    return True
        return False

    def _is_answered_early(self) -> bool:
        """Whether the peer refused the message before it had all of it."""
        reply = self._channel.early_reply()
        if reply is None:
            return False
        self._transcript.hear(reply)
        self._decide(trouble.from_reply(Phase.BODY, reply))
        self._channel.abort()  # it is still in the middle of DATA
        return True

    # Replies.

    async def _next(self, to_send: Iterator[bytes], phase: Phase, shown: str) -> Reply:
        """Write the next command, unless it was written in a group, and take its reply."""
        if None in self._outcomes:
            self.phase = phase  # what follows when all is decided is politeness
        self._transcript.say(shown)
        command = next(to_send, None)
        if command is not None:
            self._channel.write(command, replies=1)
        reply = self._channel.early_reply()
        if reply is None:
            section = self._section
            return await self._read(section.data_s if phase is Phase.DATA else section.command_s)
        self._is_heard = True
        self._transcript.hear(reply)
        return reply

    async def _read(self, timeout_s: float) -> Reply:
        if self.phase is not Phase.DOT:
            timeout_s = self._left(timeout_s)
        reply = await self._channel.reply(timeout_s)
        self._is_heard = True
        self._transcript.hear(reply)
        return reply

    def _left(self, timeout_s: float) -> float:
        return min(timeout_s, self._limits.attempt_until - self._loop.time())

    def _is_closing(self, reply: Reply) -> bool:
        """Whether the peer ends the session by this reply (RFC 5321 3.8); then we do too."""
        if reply.code != 421:
            return False
        self._channel.abort()
        return True

    # Outcomes.

    def _decide(self, outcome: Outcome) -> None:
        """Give the outcome to every recipient that has none yet."""
        self._outcomes = [each if each is not None else outcome for each in self._outcomes]

    def _result(self) -> tuple[Outcome, ...]:
        decided = tuple(each for each in self._outcomes if each is not None)
        if len(decided) != len(self._outcomes):
            raise AssertionError("a recipient without outcome")
        return decided


def _is_good(reply: Reply) -> bool:
    return 200 <= reply.code < 300
