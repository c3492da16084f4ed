"""What a listener offers and allows, who handles its mail, and what a session asks of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewayd.clock import Clock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.errors import StoreBroken
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.smtpd.auth import Credentials, LoginThrottle
from gatewayd.smtpd.commands import MailCommand
from gatewayd.smtpd.connection import SessionOver
from gatewayd.smtpd.data import BodyWriter, MemoryBudget


class Counter(Protocol):
    """A number that grows."""

    def inc(self, amount: float = 1) -> None: ...


class Gauge(Protocol):
    """A number that grows and shrinks."""

    def inc(self, amount: float = 1) -> None: ...

    def dec(self, amount: float = 1) -> None: ...


class Metrics(Protocol):
    """What this room counts; the daemon gives the real ones."""

    @property
    def smtp_sessions(self) -> Gauge:
        """Connections open now."""
        ...

    @property
    def smtp_connections_refused(self) -> Counter:
        """Connections turned away by a cap."""
        ...

    @property
    def smtp_timeouts(self) -> Counter:
        """Sessions ended by a deadline."""
        ...

    @property
    def smtp_auth_failures(self) -> Counter:
        """Logins refused."""
        ...

    @property
    def smtp_unacked_commit(self) -> Counter:
        """Messages accepted whose client had gone before it could read the 250."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a handler may know of a session. tls: version and cipher suite, empty without TLS."""

    peer: str
    helo: str
    tls: str
    is_logged_in: bool


class Handler(Protocol):
    """Decides about the mail of one session.

    A coroutine may raise Refused, StoreError or Rejected: it becomes the reply to the command.
    """

    async def authenticate(self, credentials: Credentials) -> str:
        """Log in; returns the token's id. A second login takes the place of the first."""
        ...

    async def sender(self, mail: MailCommand) -> None:
        """Judge MAIL."""
        ...

    async def recipient(self, recipient: Recipient, *, already: int) -> None:
        """Judge RCPT; already: how many were accepted before it."""
        ...

    async def accept(self, envelope: Envelope, message: RawMessage, facts: Facts) -> str:
        """Take responsibility for a message; returns the text of the 250.

        It is not cancelled when the client goes away.
        """
        ...

    def open_body(self) -> BodyWriter:
        """A place for the body of the next message."""
        ...

    def log_out(self) -> None:
        """Forget who is logged in."""
        ...


class ListenerPort(Protocol):
    """What a session asks of its listener while it lives."""

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """For the next handshake; a reload changes it."""
        ...

    @property
    def is_stressed(self) -> bool:
        """Whether so many connections are open that strangers get less time."""
        ...

    def admit_token(self, token_id: str) -> bool:
        """Count a connection for this token, if it may have one more."""
        ...

    def release_token(self, token_id: str) -> None:
        """Take back what `admit_token` counted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for all sessions of a listener.

    hello_plain, hello_tls: the whole reply to EHLO, before and after TLS.
    requires_login: MAIL needs AUTH.
    trusts_clients: they are our own, so nobody is a stranger; else who has not logged in is one.
    auth_without_tls: AUTH is offered in plaintext, as on loopback.
    on_fatal: told when nothing may be acknowledged any more.
    """

    hostname: str
    hello_plain: bytes
    hello_tls: bytes
    implicit_tls: bool
    starttls: bool
    requires_login: bool
    trusts_clients: bool
    auth_without_tls: bool
    limits: LimitsSection
    timeouts: TimeoutsSection
    budget: MemoryBudget
    throttle: LoginThrottle
    clock: Clock
    metrics: Metrics
    on_fatal: Callable[[StoreBroken], None]


class Goodbye(SessionOver):
    """We end the session, with this reply."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply


class HangUp(SessionOver):
    """We end the session without a word: a simulated fault."""


def hello_reply(hostname: str, keywords: Sequence[str]) -> bytes:
    """The reply to EHLO: our name, then a line for each keyword (RFC 5321 4.1.1.1)."""
    lines = [hostname, *keywords]
    marks = ["-"] * (len(lines) - 1) + [" "]
    return b"".join(
        f"250{mark}{line}\r\n".encode("ascii") for mark, line in zip(marks, lines, strict=True)
    )
