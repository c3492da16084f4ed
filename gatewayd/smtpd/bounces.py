"""The bounce listener, 25: takes reports for our own reverse-paths, and nothing else.

| RCPT TO                          | answer                                                   |
|----------------------------------|----------------------------------------------------------|
| a VERP address of ours, in force | 250                                                      |
| forged, expired, unknown         | 550 5.1.1, before DATA: it costs nobody a DSN            |
| complaints@                      | 250: reports of feedback loops (RFC 5965)                |
| postmaster@                      | 250: sent on to the operator (RFC 5321 4.5.1)            |
| another address of the domain    | 550 5.1.1                                                |
| another domain                   | 550 5.7.1: no relay, for anybody                         |
| too many wrong ones from an      | 421 4.7.0 for the rest of the minute                     |
| IPv4 address or IPv6 /64, or 3   |                                                          |
| times as many from a /26 or /48; |                                                          |
| loopback is not counted          |                                                          |
| anybody, when the disk is full   | 452 4.3.1 to MAIL: it comes again                        |

Nothing is ever sent because of what came in here, but postmaster's mail, with a null reverse-path.
A VERP address is read without the database; only one that carries our MAC is looked up.

Anybody may hold a connection here, so none costs much: a message lies in the spool while it comes,
and of those that have come only READINGS at a time are in memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from gatewayd.bounces.returned import Kind, Returned, Taken
from gatewayd.errors import Code, Refused, StoreFull
from gatewayd.mail import received
from gatewayd.mail.address import Address
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.message import Body, RawMessage
from gatewayd.smtpd import login, replies, transfer, verbs
from gatewayd.smtpd.auth import Credentials, LoginThrottle
from gatewayd.smtpd.commands import MailCommand
from gatewayd.smtpd.data import BodyWriter
from gatewayd.smtpd.session import Session, Verb
from gatewayd.smtpd.terms import Facts, Goodbye

READINGS: Final = 4
COMPLAINTS: Final = "complaints"
POSTMASTER: Final = "postmaster"

_BARE_POSTMASTER: Final = re.compile(r"TO:\s?<postmaster>", re.IGNORECASE).match

TOO_MANY_WRONG: Final = replies.reply(
    421, "4.7.0", "too many addresses that are not ours; come again in a minute"
).render()


def verbs_for(domain: str) -> Mapping[bytes, Verb]:
    """The commands of this listener; postmaster needs no domain (RFC 5321 4.5.1)."""
    no_login = replies.reply(
        502,
        "5.5.1",
        f"nobody logs in here: this port takes reports for {domain}; mail is sent by the "
        "submission ports, 587 and 465",
    ).render()
    help_ = replies.reply(
        214,
        "2.0.0",
        "EHLO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 5321)\n"
        f"this port takes delivery reports and complaints for {domain}, and nothing else",
    ).render()

    async def rcpt(session: Session, argument: str) -> None:
        if bare := _BARE_POSTMASTER(argument):
            argument = f"TO:<{POSTMASTER}@{domain}>{argument[bare.end() :]}"
        await verbs.rcpt(session, argument)

    async def auth(session: Session, argument: str) -> None:  # noqa: ARG001 - not looked at
        session.say_wrong(no_login)

    async def show_help(session: Session, argument: str) -> None:  # noqa: ARG001 - as HELP of all
        session.count_idle()
        session.say(help_)

    return MappingProxyType(
        {
            **verbs.EVERYWHERE,
            b"RCPT": rcpt,
            b"DATA": transfer.data,
            b"BDAT": transfer.bdat,
            b"STARTTLS": login.starttls,
            b"AUTH": auth,
            b"HELP": show_help,
        }
    )


class Bounces(Protocol):
    """Takes what came back; the bounces room does."""

    async def known(self, ident: str) -> bool:
        """Whether a recipient, or a message, has this id."""
        ...

    async def take(self, returned: Returned) -> Taken:
        """Durable on return; raises Refused (report_too_early) or StoreError."""
        ...


class ReversePaths(Protocol):
    """Reads our reverse-paths; `keys.verp.ReversePaths`."""

    @property
    def domain(self) -> str: ...

    def read(self, local_part: str) -> str | None: ...


class Postmaster(Protocol):
    """Sends an operator's mail on."""

    async def forward(self, message: RawMessage, *, trace: Trace) -> None:
        """Durable on return; a body in the spool belongs to it from the call on.

        Raises StoreError: it may be in the queue even so, so only the sweep may delete the body.
        """
        ...


class Bodies(Protocol):
    """Where bodies are kept; the spool room does."""

    def incoming(self) -> BodyWriter: ...

    def blocks(self, body: Body) -> Iterator[bytes]: ...

    def delete(self, key: str) -> None: ...


class Counter(Protocol):
    """A number that grows."""

    def inc(self, amount: float = 1) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Where a message came from, for its Received field."""

    peer: str
    helo: str
    protocol: str
    tls: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Addressee:
    """Whom a recipient of the bounce domain stands for; one of the three."""

    ident: str | None = None
    is_complaint: bool = False
    is_postmaster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceParts:
    """What all sessions of the listener share.

    has_room: whether the disk has space for another message.
    rejected: counts recipients that were refused.
    reading: whoever reads a report into memory holds one of it.
    """

    bounces: Bounces
    reverse_paths: ReversePaths
    postmaster: Postmaster
    bodies: Bodies
    has_room: Callable[[], bool]
    reading: asyncio.Semaphore
    blame: LoginThrottle
    rejected: Counter
    parse_octets: int
    received_hops: int


class BounceHandler:
    """One session of somebody who brings mail back."""

    def __init__(self, parts: BounceParts, peer: str) -> None:
        self._parts = parts
        self._peer = peer

    async def authenticate(self, credentials: Credentials) -> str:  # noqa: ARG002 - not offered
        raise AssertionError("the bounce listener offers no AUTH")

    async def sender(self, mail: MailCommand) -> None:  # noqa: ARG002 - from anybody
        """Anybody may come: whose mail it is decides what it may change, and that is nothing."""
        if self._parts.blame.is_blocked(self._peer):
            raise Goodbye(TOO_MANY_WRONG)
        if not self._parts.has_room():
            raise StoreFull("no space for messages that come back")

    async def recipient(self, recipient: Recipient, *, already: int) -> None:  # noqa: ARG002
        try:
            addressee = self._addressee(recipient.address)
            if addressee.ident is not None and not await self._parts.bounces.known(addressee.ident):
                raise _no_such_address()
        except Refused:
            self._parts.rejected.inc()
            self._parts.blame.count_failure(self._peer)
            if self._parts.blame.is_blocked(self._peer):
                raise Goodbye(TOO_MANY_WRONG) from None
            raise

    async def accept(self, envelope: Envelope, message: RawMessage, facts: Facts) -> str:
        if received.hops(message.header) > self._parts.received_hops:
            self._drop(message)
            raise Refused(Code.TOO_MANY_HOPS, "too many Received fields: the message is in a loop")
        addressees = [self._addressee(each.address) for each in envelope.recipients]
        is_ours = True
        try:
            said = await self._take(envelope, message, addressees)
            if any(each.is_postmaster for each in addressees):
                is_ours = False
                await self._parts.postmaster.forward(message, trace=_trace(envelope, facts))
                said.append("sent on to postmaster")
        finally:
            if is_ours:
                self._drop(message)
        return "; ".join(said)

    def open_body(self) -> BodyWriter:
        return self._parts.bodies.incoming()

    def log_out(self) -> None:
        """Nobody logs in."""

    def _addressee(self, address: Address) -> _Addressee:
        """Whom an address stands for; no database.

        Raises:
            Refused: recipient_unknown, relaying_denied.
        """
        paths = self._parts.reverse_paths
        if address.ascii_domain != paths.domain:
            raise Refused(
                Code.RELAYING_DENIED,
                f"this port takes reports for {paths.domain}, and no other mail",
            )
        name = address.key.rpartition("@")[0]  # without case, nor quotes that it does not need
        if name in (COMPLAINTS, POSTMASTER):
            return _Addressee(is_complaint=name == COMPLAINTS, is_postmaster=name == POSTMASTER)
        ident = paths.read(address.local_part)
        if ident is None:
            raise _no_such_address()
        return _Addressee(ident=ident)

    async def _take(
        self, envelope: Envelope, message: RawMessage, addressees: list[_Addressee]
    ) -> list[str]:
        """Hand over what is a report or should be one; a word about each."""
        idents = tuple(each.ident for each in addressees if each.ident is not None)
        is_complaint = any(each.is_complaint for each in addressees)
        if not (idents or is_complaint):
            return []
        said: list[str] = []
        async with self._parts.reading:
            octets = await asyncio.to_thread(self._octets, message)
            for to, is_feedback in ((idents, False), ((), True)):
                if is_complaint if is_feedback else to:
                    taken = await self._parts.bounces.take(
                        Returned(
                            idents=to,
                            is_complaint=is_feedback,
                            reverse_path=envelope.reverse_path,
                            octets=octets,
                            peer=self._peer,
                        )
                    )
                    said.append(_WORDS[taken.kind])
        return said

    def _octets(self, message: RawMessage) -> bytes:
        """What is read of a report: its beginning."""
        most, body = self._parts.parse_octets, message.body
        octets = bytearray(message.header.octets + b"\r\n")
        for block in (body,) if isinstance(body, bytes) else self._parts.bodies.blocks(body):
            octets += block
            if len(octets) >= most:
                break
        return bytes(octets[:most])

    def _drop(self, message: RawMessage) -> None:
        if not isinstance(message.body, bytes):
            self._parts.bodies.delete(message.body.key)


_WORDS: Final = {
    Kind.REPORT: "report taken",
    Kind.COMPLAINT: "complaint taken",
    Kind.UNRECOGNISED: "taken, and not recognised as a report",
}


def _no_such_address() -> Refused:
    return Refused(
        Code.RECIPIENT_UNKNOWN, "there is no such address here, or not any more: they expire"
    )


def _trace(envelope: Envelope, facts: Facts) -> Trace:
    return Trace(
        peer=facts.peer,
        helo=facts.helo,
        protocol=received.protocol(
            is_smtputf8=envelope.smtputf8, is_tls=bool(facts.tls), is_authenticated=False
        ),
        tls=facts.tls,
    )
