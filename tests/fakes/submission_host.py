"""A submission listener with everything behind it faked: tokens, intake, metrics, certificates."""

from __future__ import annotations

import asyncio
import atexit
import datetime as dt
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from gatewayd.clock import SystemClock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import ListenerTls, SubmissionListener
from gatewayd.config.types import Bind
from gatewayd.errors import Code, Refused, StoreBroken
from gatewayd.ids import MailboxId, QueueId, RecipientId, TokenId
from gatewayd.mail.address import Address, ReversePath
from gatewayd.mail.envelope import Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.policy.submission import Accepted, AcceptedRecipient, Submission
from gatewayd.smtpd import Caps, Listener, MemoryBudget, SubmissionHandler
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.server import server_tls, submission_terms
from gatewayd.smtpd.submission import VERBS
from gatewayd.smtpd.terms import Terms
from gatewayd.spool import Spool
from gatewayd.tokens.claims import Principal, Scope

MAILBOX = "agent@example.com"
TOKEN = "good-token"
HOSTNAME = "mail.example.com"
EXPIRED = "expired-token"


class FakeTokens:
    """Knows some tokens by their text, all for MAILBOX."""

    def __init__(self) -> None:
        self.known = {TOKEN}
        self.revoked: set[str] = set()
        self.fault: Exception | None = None

    async def authenticate(self, token: str, *, user: str | None) -> Principal:
        if self.fault is not None:
            raise self.fault
        if token == EXPIRED:
            raise Refused(Code.TOKEN_EXPIRED, "the token has expired")
        if token not in self.known:
            raise Refused(Code.TOKEN_INVALID, "the token is not valid")
        if token in self.revoked:
            raise Refused(Code.TOKEN_REVOKED, "the token was revoked")
        if user not in (MAILBOX, "token"):
            raise Refused(Code.TOKEN_INVALID, "the token is for another mailbox")
        return Principal(
            token_id=TokenId(token),
            mailbox_id=MailboxId("mailbox-1"),
            mailbox=Address.parse(MAILBOX),
            scopes=frozenset({Scope.MESSAGES_SEND}),
            hourly=None,
            daily=None,
            allowed_recipient_domains=None,
            sandbox=False,
            expires_at=dt.datetime(2100, 1, 1, tzinfo=dt.UTC),
        )


class FakeIntake:
    """Accepts what the sender binding allows, and remembers it.

    fault: raised by `accept` instead. gate: `accept` waits for it, once it has said `entered`.
    """

    def __init__(self, tokens: FakeTokens) -> None:
        self._tokens = tokens
        self.accepted: list[Submission] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def screen_sender(
        self, principal: Principal, *, reverse_path: ReversePath, size_octets: int | None
    ) -> None:
        if principal.token_id in self._tokens.revoked:
            raise Refused(Code.TOKEN_REVOKED, "the token was revoked; ask for a new one")
        address = reverse_path.address
        if address is None or address.key != principal.mailbox.key:
            raise Refused(Code.SENDER_NOT_ALLOWED, "send as the mailbox you logged in with")
        if size_octets == 666:
            raise RuntimeError("secret /path/to/db.sqlite")

    async def screen_recipient(
        self,
        principal: Principal,  # noqa: ARG002 - the same for all
        recipient: Recipient,
        *,
        already: int,  # noqa: ARG002 - the session counts
    ) -> None:
        domain = recipient.address.domain
        if domain == "blocked.example":
            raise Refused(Code.RECIPIENT_DOMAIN_NOT_ALLOWED, "this token may not write there")
        if recipient.address.local_part == "suppressed":
            raise Refused(Code.RECIPIENT_SUPPRESSED, "this address is suppressed")

    async def accept(self, submission: Submission) -> Accepted:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.accepted.append(submission)
        number = len(self.accepted)
        return Accepted(
            queue_id=QueueId(f"queue-{number}"),
            recipients=tuple(
                AcceptedRecipient(
                    recipient_id=RecipientId(f"recipient-{number}-{index}"),
                    address=str(each.forward_path),
                    status="queued",
                )
                for index, each in enumerate(submission.envelope.recipients)
            ),
            accepted_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        )

    @property
    def contents(self) -> list[bytes]:
        """Every accepted message that is in memory, whole."""
        return [octets(each) for each in self.accepted]


def octets(submission: Submission) -> bytes:
    """A submission's message, whole; its body must be in memory."""
    message = submission.content
    assert isinstance(message, RawMessage)
    assert isinstance(message.body, bytes)
    return message.header.octets + b"\r\n" + message.body


class Number:
    """A counter or gauge."""

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        self.value -= amount


@dataclass(frozen=True, slots=True)
class FakeMetrics:
    """The numbers of the smtpd room."""

    smtp_sessions: Number = field(default_factory=Number)
    smtp_connections_refused: Number = field(default_factory=Number)
    smtp_timeouts: Number = field(default_factory=Number)
    smtp_auth_failures: Number = field(default_factory=Number)
    smtp_unacked_commit: Number = field(default_factory=Number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running listener and the fakes behind it."""

    listener: Listener
    terms: Terms
    tokens: FakeTokens
    intake: FakeIntake
    metrics: FakeMetrics
    caps: Caps
    budget: MemoryBudget
    fatal: list[StoreBroken]
    spool_directory: Path

    @property
    def address(self) -> Bind:
        return self.listener.addresses[0]


@functools.cache
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@functools.cache
def server_context() -> ssl.SSLContext:
    """A server's context, made as the daemon makes it, from files."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = write_certificate(Path(directory))
        return server_tls(certificate, key)


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Files with a certificate for localhost, and its key."""
    issued = authority().issue_cert("localhost")
    certificate, key = directory / "tls.crt", directory / "tls.key"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    issued.private_key_pem.write_to_path(key)
    return certificate, key


@functools.cache
def _spool_directory() -> Path:
    """One directory for all hosts of a test run: a new spool costs 256 directories."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    return Path(directory.name)


@functools.cache
def client_context() -> ssl.SSLContext:
    """A client's context that trusts the server's certificate."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@asynccontextmanager
async def submission_host(
    *,
    tls: ListenerTls = ListenerTls.NONE,
    auth_without_tls: bool = True,
    limits: LimitsSection | None = None,
    timeouts: TimeoutsSection | None = None,
) -> AsyncIterator[Host]:
    """A listener on a port of loopback that the system chooses."""
    limits = limits if limits is not None else LimitsSection()
    clock = SystemClock()
    tokens, metrics, caps = FakeTokens(), FakeMetrics(), Caps(limits)
    intake = FakeIntake(tokens)
    budget = MemoryBudget(limits.memory_octets)
    fatal: list[StoreBroken] = []
    section = SubmissionListener(
        name="test", bind=Bind("127.0.0.1", 0), tls=tls, auth_without_tls=auth_without_tls
    )
    spool = Spool(_spool_directory())
    terms = submission_terms(
        section=section,
        hostname=HOSTNAME,
        limits=limits,
        timeouts=timeouts if timeouts is not None else TimeoutsSection(),
        budget=budget,
        throttle=LoginThrottle(
            clock=clock,
            per_minute=limits.auth_failures_per_minute,
            per_day=limits.auth_failures_per_day,
        ),
        clock=clock,
        metrics=metrics,
        on_fatal=fatal.append,
    )
    listener = Listener(
        name=section.name,
        bind=section.bind,
        sockets=(),
        terms=terms,
        verbs=VERBS,
        make_handler=lambda _: SubmissionHandler(
            tokens=tokens, intake=intake, bodies=spool, clock=clock
        ),
        caps=caps,
        tls_context=server_context() if tls is not ListenerTls.NONE else None,
        is_overloaded=bool,
    )
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        group.create_task(listener.run(ready))
        await ready.wait()
        try:
            yield Host(
                listener=listener,
                terms=terms,
                tokens=tokens,
                intake=intake,
                metrics=metrics,
                caps=caps,
                budget=budget,
                fatal=fatal,
                spool_directory=_spool_directory(),
            )
        finally:
            await listener.drain(asyncio.get_running_loop().time() + 2)
