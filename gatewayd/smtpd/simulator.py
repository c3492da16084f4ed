"""A next hop to play with: takes everything and keeps it, or fails as the address says.

| the local-part ends in | what happens                                                   |
|------------------------|----------------------------------------------------------------|
| temperror              | 451 4.3.0 at RCPT                                              |
| permerror              | 550 5.1.1 at RCPT                                              |
| 4xx or 5xx, `user-452` | that reply at RCPT; 421 ends the session, too                  |
| timeout                | the connection ends after the dot, without a reply or a trace  |
| bounce                 | taken; then a DSN comes to the reverse-path                    |
| complaint              | taken; then a report of abuse comes to complaints@ its domain  |

The last two need a bounce listener (`simulated_returns.py`). It listens on loopback only, and needs
no login. `localserve` delivers to it, and so does the mail of sandbox tokens.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.types import Bind
from gatewayd.errors import StoreBroken
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.smtpd import replies, transfer, verbs
from gatewayd.smtpd.auth import Credentials, LoginThrottle
from gatewayd.smtpd.commands import MailCommand
from gatewayd.smtpd.data import MemoryBudget
from gatewayd.smtpd.replies import Rejected
from gatewayd.smtpd.server import Caps, Listener
from gatewayd.smtpd.session import Verb
from gatewayd.smtpd.simulated_returns import HOSTNAME, Returns
from gatewayd.smtpd.terms import Facts, Goodbye, HangUp, Metrics, Terms, hello_reply

KEPT_MESSAGES: Final = 1000
KEPT_OCTETS: Final = 67_108_864
_ROOM_OCTETS = 1_048_576  # for what the gateway adds to a message of the largest size

VERBS: Final[Mapping[bytes, Verb]] = MappingProxyType({**verbs.EVERYWHERE, b"DATA": transfer.data})
_ENDS_IN_CODE = re.compile(r"(?:.*[^0-9])?([45][0-5][0-9])", re.DOTALL).fullmatch
# The status that usually goes with a code; any other code has none of its own (RFC 3463 3.1).
_STATUSES: Final = {
    421: "4.3.2",
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    454: "4.7.0",
    500: "5.5.1",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    530: "5.7.0",
    535: "5.7.8",
    550: "5.1.1",
    551: "5.1.6",
    552: "5.2.2",
    553: "5.1.3",
    554: "5.7.1",
    555: "5.5.4",
    556: "5.1.10",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtMail:
    """One message as it arrived. octets: the whole of it; reverse_path: empty for `<>`."""

    mail_id: str
    caught_at: dt.datetime
    reverse_path: str
    recipients: tuple[str, ...]
    octets: bytes = field(repr=False)


class MailCatcher:
    """The newest messages that arrived, in memory, bounded in number and octets."""

    def __init__(
        self,
        clock: Clock,
        *,
        kept_messages: int = KEPT_MESSAGES,
        kept_octets: int = KEPT_OCTETS,
    ) -> None:
        self._clock = clock
        self._kept_messages = kept_messages
        self._kept_octets = kept_octets
        self._mails: OrderedDict[str, CaughtMail] = OrderedDict()
        self.held_octets = 0

    def __len__(self) -> int:
        return len(self._mails)

    def catch(self, envelope: Envelope, message: RawMessage) -> CaughtMail:
        """Keep a message; the oldest ones make room for it."""
        body = message.body
        if not isinstance(body, bytes):
            raise AssertionError("the simulator keeps bodies in memory")  # noqa: TRY004 - our fault
        now = self._clock.now()
        mail = CaughtMail(
            mail_id=ids.uuid7(now),
            caught_at=now,
            reverse_path=str(envelope.reverse_path),
            recipients=tuple(str(each.forward_path) for each in envelope.recipients),
            octets=message.header.octets + b"\r\n" + body,
        )
        self._mails[mail.mail_id] = mail
        self.held_octets += len(mail.octets)
        while len(self._mails) > self._kept_messages or self.held_octets > self._kept_octets:
            _, oldest = self._mails.popitem(last=False)
            self.held_octets -= len(oldest.octets)
        return mail

    def newest(self, limit: int, *, before: str | None = None) -> list[CaughtMail]:
        """At most `limit` messages, newest first; before: only those older than this id."""
        found: list[CaughtMail] = []
        for mail in reversed(self._mails.values()):
            if len(found) >= limit:
                break
            if before is None or mail.mail_id < before:  # ids sort by time
                found.append(mail)
        return found

    def find(self, mail_id: str) -> CaughtMail | None:
        return self._mails.get(mail_id)

    def clear(self) -> None:
        """Forget all of them."""
        self._mails.clear()
        self.held_octets = 0


class MemoryBody:
    """A body that stays in memory."""

    def __init__(self) -> None:
        self._octets = bytearray()

    @property
    def held_octets(self) -> int:
        return len(self._octets)

    def write(self, block: bytes) -> None:
        self._octets += block

    async def finish(self) -> bytes:
        return bytes(self._octets)

    def discard(self) -> None:
        self._octets = bytearray()


class SimulatorHandler:
    """Takes everything, but what the table of this module says."""

    def __init__(self, catcher: MailCatcher, returns: Returns) -> None:
        self._catcher = catcher
        self._returns = returns

    async def authenticate(self, credentials: Credentials) -> str:  # noqa: ARG002 - not offered
        raise AssertionError("the simulator offers no AUTH")

    async def sender(self, mail: MailCommand) -> None:
        """Take it from anybody."""

    async def recipient(self, recipient: Recipient, *, already: int) -> None:  # noqa: ARG002
        local_part = _ending(recipient)
        if local_part.endswith("temperror"):
            raise Rejected(451, "4.3.0", "simulated: a passing fault")
        if local_part.endswith("permerror"):
            raise Rejected(550, "5.1.1", "simulated: no such mailbox")
        match = _ENDS_IN_CODE(local_part)
        if match is not None:
            code = int(match[1])
            status = _STATUSES.get(code, f"{code // 100}.0.0")
            text = f"simulated: the address asks for {code}"
            if code == 421:
                raise Goodbye(replies.reply(code, status, text).render())
            raise Rejected(code, status, text)

    async def accept(self, envelope: Envelope, message: RawMessage, facts: Facts) -> str:  # noqa: ARG002
        if any(_ending(each).endswith("timeout") for each in envelope.recipients):
            raise HangUp
        self._returns.about(envelope, message)
        return f"caught as {self._catcher.catch(envelope, message).mail_id}"

    def open_body(self) -> MemoryBody:
        return MemoryBody()

    def log_out(self) -> None:
        """Nobody logs in."""


def _ending(recipient: Recipient) -> str:
    """The local-part as its ending is compared: without quotes, in lower case."""
    return recipient.address.local_part.strip('"').lower()


class Simulator:
    """The receiving server as a service of the daemon."""

    name = "simulator"

    def __init__(  # noqa: PLR0913 - a listener is where all of these meet
        self,
        *,
        bind: Bind,
        catcher: MailCatcher,
        returns: Returns,
        limits: LimitsSection,
        timeouts: TimeoutsSection,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        if not bind.is_loopback:
            raise ValueError("the simulator takes mail from anybody, so it is for loopback only")
        roomy = limits.model_copy(
            update={
                "message_octets": limits.message_octets + _ROOM_OCTETS,
                "header_octets": limits.header_octets + _ROOM_OCTETS,
                "connections_per_ip": limits.connections,
                "idle_commands": 1_000_000,  # a pool says RSET after each refusal
            }
        )
        keywords = (
            f"SIZE {roomy.message_octets}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "DSN",
        )
        hello = hello_reply(HOSTNAME, keywords)
        self._returns = returns
        self._listener = Listener(
            name=self.name,
            bind=bind,
            sockets=(),
            terms=Terms(
                hostname=HOSTNAME,
                hello_plain=hello,
                hello_tls=hello,
                implicit_tls=False,
                starttls=False,
                requires_login=False,
                trusts_clients=True,
                auth_without_tls=False,
                limits=roomy,
                timeouts=timeouts,
                budget=MemoryBudget(limits.memory_octets),
                throttle=LoginThrottle(clock=clock, per_minute=1, per_day=1),
                clock=clock,
                metrics=metrics,
                on_fatal=_ignore,
            ),
            verbs=VERBS,
            make_handler=lambda _: SimulatorHandler(catcher, returns),
            caps=Caps(roomy),
            tls_context=None,
            is_overloaded=bool,
        )

    @property
    def address(self) -> Bind:
        """Where it listens, once `run` has set `ready`."""
        return self._listener.addresses[0]

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            returning = group.create_task(self._returns.run())
            await self._listener.run(ready)
            returning.cancel()

    async def drain(self, deadline: float) -> None:
        await self._listener.drain(deadline)


def _ignore(error: StoreBroken) -> None:
    """Nothing is stored here, so nothing of a store can break."""
