"""The kernel over one database: everything between the doors and the disk, with a clock by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from gatewayd.config.delivery import DeliverySection, NextHop, TlsMode
from gatewayd.config.limits import LimitsSection
from gatewayd.config.returns import SuppressionSection
from gatewayd.config.security import TokensSection
from gatewayd.domains.service import Domains
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import QueueId
from gatewayd.intake.pipeline import Intake, Settings
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.sealed import Sealer
from gatewayd.mail.address import Address, ForwardPath, ReversePath
from gatewayd.mail.compose import Fields
from gatewayd.mail.envelope import BodyType, Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.mailboxes.accounts import Change, Mailboxes
from gatewayd.metrics import Metrics
from gatewayd.policy.submission import Door, Options, Submission, Trace
from gatewayd.queue.handover import Handover
from gatewayd.queue.inspect import Inspector
from gatewayd.queue.service import Queue
from gatewayd.spool.directory import Spool
from gatewayd.store.database import Database
from gatewayd.suppression.lists import Suppressions
from gatewayd.tokens.claims import Principal, Scope
from gatewayd.tokens.service import Request, Tokens
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.stores import Store

ANN = "ann@example.com"
MESSAGE = (
    b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n"
)
LIMITS = LimitsSection()
HOP = NextHop(
    host="127.0.0.1", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK, user=None, password=None,
    ca_file=None,
)  # fmt: skip
TRACES = {
    Door.SMTP: Trace(
        door=Door.SMTP, peer="192.0.2.1", helo="client.example", protocol="ESMTPSA",
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384", request_id="r-smtp",
    ),
    Door.HTTP: Trace(
        door=Door.HTTP, peer="192.0.2.2", helo="", protocol="HTTP", tls="", request_id="r-http"
    ),
}  # fmt: skip


@dataclass
class FakeSpace:
    """Has room until it is told."""

    room: bool = True

    def has_room(self) -> bool:
        return self.room


@dataclass(kw_only=True)
class World:
    """One daemon's kernel. `second()` is another daemon on the same database."""

    store: Store
    spool_directory: Path
    limits: LimitsSection = LIMITS
    has_smarthost: bool = True
    has_links: bool = False
    space: FakeSpace = field(default_factory=FakeSpace)

    def __post_init__(self) -> None:
        self.clock: ManualClock = self.store.clock
        self.ring = new_ring(Purpose.JWT, created_at=NOW)
        self.sealer = Sealer(new_ring(Purpose.FERNET, created_at=NOW))
        self.open()

    def open(self) -> None:
        """Start, or start again after `database.close()`."""
        self.database: Database = self.store.open()
        self.accepted: list[int] = []
        self.metrics = Metrics()
        self.wakeup = Wakeup()
        self.queued = Wakeup()  # of acceptances alone, so that tests can tell who nudged
        database, clock = self.database, self.clock
        self.tokens = Tokens(
            database, self.ring, section=TokensSection(), token_octets=8192, clock=clock
        )
        self.suppressions = Suppressions(database, clock=clock)
        self.mailboxes = Mailboxes(database, self.sealer, smarthost=HOP, clock=clock)
        self.domains = Domains(database, self.sealer, clock=clock)
        self.spool = Spool(self.spool_directory)
        self.handover = Handover(lease=dt.timedelta(minutes=20), wakeup=self.queued)
        self.intake = Intake(
            database,
            tokens=self.tokens,
            suppressions=self.suppressions,
            spool=self.spool,
            space=self.space,
            settings=self._settings(),
            clock=clock,
            metrics=self.metrics,
            handover=self.handover,
            on_accepted=self.accepted.append,
        )
        self.queue = Queue(
            database,
            section=DeliverySection(),
            suppression=SuppressionSection(),
            wakeup=self.wakeup,
            metrics=self.metrics,
        )
        self.inspector = Inspector(database, wakeup=self.wakeup)

    def _settings(self) -> Settings:
        return Settings(
            limits=self.limits,
            hostname="mail.example.com",
            idempotency=dt.timedelta(days=1),
            has_smarthost=self.has_smarthost,
            token_leeway=dt.timedelta(seconds=30),
            has_links=self.has_links,
        )

    def apply_settings(self) -> None:
        """Let intake know what was changed here, as a reload does."""
        self.intake.use(self._settings())

    def second(self) -> World:
        other = World(store=self.store, spool_directory=self.spool_directory)
        other.ring, other.sealer = self.ring, self.sealer
        return other

    async def principal(self, mailbox: str = ANN, **wanted: object) -> Principal:
        """A client with a token of its own; its mailbox is made when it is new."""
        if mailbox not in {row.address for row in await self.mailboxes.list()}:
            await self.mailboxes.create(mailbox, Change())
        request = {"unlimited": not {"hourly", "daily"} & wanted.keys(), **wanted}
        asked = Request(mailbox=mailbox, **request)  # type: ignore[arg-type]  # any field of a Request
        if "scopes" not in wanted:
            asked = Request(mailbox=mailbox, scopes=tuple(Scope), **request)  # type: ignore[arg-type]  # as above
        issued = await self.tokens.issue(asked)
        return await self.tokens.authenticate(issued.token, user=None)

    async def sent(self, *to: str, **given: object) -> QueueId:
        """A message of Ann's in the queue."""
        principal = await self.principal()
        accepted = await self.intake.accept(submission(principal, *to, **given))  # type: ignore[arg-type]  # any argument of it
        return accepted.queue_id


def submission(  # noqa: PLR0913 - what tests vary
    principal: Principal,
    *to: str,
    content: bytes | RawMessage | Fields = MESSAGE,
    door: Door = Door.SMTP,
    reverse_path: str | None = None,
    options: Options | None = None,
    smtputf8: bool = False,
    body: BodyType = BodyType.SEVEN_BIT,
) -> Submission:
    """What a door hands over for these recipients, one by default."""
    sender = str(principal.mailbox) if reverse_path is None else reverse_path
    return Submission(
        principal=principal,
        envelope=Envelope(
            ReversePath.parse(sender),
            tuple(Recipient(ForwardPath.parse(one)) for one in to or ("bob@example.net",)),
            body,
            smtputf8=smtputf8,
        ),
        content=RawMessage.parse(content) if isinstance(content, bytes) else content,
        options=options or Options(),
        trace=TRACES[door],
    )


def fields(subject: str = "hello", headers: tuple[tuple[str, str], ...] = ()) -> Fields:
    """What a client sends over HTTP."""
    return Fields(
        from_=Address.parse(ANN), display_name=None, to=(), cc=(), subject=subject, text="Hello.",
        html=None, headers=headers, attachments=(),
    )  # fmt: skip
