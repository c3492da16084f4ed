"""Fakes of what the HTTP door stands on: intake, tokens, inspector, readiness.

The intake keeps idempotency keys and quotas as the real one promises to a door; it stores nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gatewayd import ids
from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Fault, Refused
from gatewayd.events.read import EventFilter, EventPage
from gatewayd.ids import MailboxId, QueueId, TokenId
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.policy.submission import Accepted, AcceptedRecipient, QuotaState, Submission
from gatewayd.queue.states import State
from gatewayd.store.events import EventRow
from gatewayd.store.suppressions import SuppressionRow
from gatewayd.suppression import rules
from gatewayd.suppression.reading import SuppressionFilter
from gatewayd.tokens.claims import Principal, Scope
from gatewayd.web.api.queries import MessageFilter
from gatewayd.web.app import ApiParts
from gatewayd.web.health import Fact

NOW = dt.datetime(2026, 11, 21, 8, 0, tzinfo=dt.UTC)
MAILBOX = Address.parse("agent@example.com")
MAILBOX_ID = MailboxId("01936f1e-0000-7000-8000-000000000001")


def principal(*scopes: Scope) -> Principal:
    """The agent, with these scopes or all of them."""
    return Principal(
        token_id=TokenId("token-1"),
        mailbox_id=MAILBOX_ID,
        mailbox=MAILBOX,
        scopes=frozenset(scopes or Scope),
        hourly=100,
        daily=None,
        allowed_recipient_domains=None,
        sandbox=False,
        expires_at=NOW + dt.timedelta(days=1),
    )


class FakeTokens:
    """Knows its tokens by heart."""

    def __init__(self) -> None:
        self.known = {
            "good": principal(),
            "reader": principal(Scope.MESSAGES_READ),
            "sender": principal(Scope.MESSAGES_SEND),
        }

    async def authenticate(self, token: str, *, user: str | None) -> Principal:
        assert user is None
        if token == "expired":
            raise Refused(Code.TOKEN_EXPIRED, "The token expired; ask for a new one.")
        if token not in self.known:
            raise Refused(Code.TOKEN_INVALID, "The token is not valid.")
        return self.known[token]


@dataclass
class FakeIntake:
    """Accepts everything but recipients of suppressed.example, and what `fails_with` says."""

    submissions: list[Submission] = field(default_factory=list)
    fails_with: Callable[[Submission], Exception | None] = lambda _: None
    remaining: int = 100
    _answers: dict[str, tuple[bytes | None, Accepted]] = field(default_factory=dict)

    async def accept(self, submission: Submission) -> Accepted:
        error = self.fails_with(submission)
        if error is not None:
            raise error
        key = submission.options.idempotency_key
        if key in self._answers:
            return self._again(key, submission.options.fingerprint)
        self._check(submission)
        self.submissions.append(submission)
        accepted = self._accepted(submission)
        if key is not None:
            self._answers[key] = (submission.options.fingerprint, accepted)
        return accepted

    def _again(self, key: str, fingerprint: bytes | None) -> Accepted:
        known, accepted = self._answers[key]
        if known != fingerprint:
            raise Refused(Code.IDEMPOTENCY_KEY_REUSED, "The key was used for another request.")
        return dataclasses.replace(accepted, replayed=True)

    @staticmethod
    def _check(submission: Submission) -> None:
        faults = [
            Fault(
                pointer=f"/recipients/{index}",
                detail="this recipient is suppressed",
                code=Code.RECIPIENT_SUPPRESSED,
            )
            for index, recipient in enumerate(submission.envelope.recipients)
            if recipient.address.domain == "suppressed.example"
        ]
        if faults:
            raise Refused(Code.RECIPIENT_SUPPRESSED, "A recipient is suppressed.", faults=faults)

    def _accepted(self, submission: Submission) -> Accepted:
        recipients = submission.envelope.recipients
        self.remaining = max(0, self.remaining - len(recipients))
        return Accepted(
            queue_id=ids.queue_id(NOW),
            recipients=tuple(
                AcceptedRecipient(
                    recipient_id=ids.recipient_id(NOW),
                    address=str(each.forward_path),
                    status=State.QUEUED,
                )
                for each in recipients
            ),
            accepted_at=NOW,
            quota=(QuotaState(window="hour", limit=100, remaining=self.remaining, reset_s=1800),),
        )


@dataclass(frozen=True, kw_only=True)
class StoredRecipient:
    """As `views.RecipientView` reads it."""

    recipient_id: str
    address: str
    state: State = State.QUEUED
    attempts: int = 1
    next_attempt_at: dt.datetime | None = NOW
    delivered_at: dt.datetime | None = None
    last_reply: str | None = "451 4.3.0 later"
    updated_at: dt.datetime = NOW
    bounced_at: dt.datetime | None = None
    bounce_class: str | None = None
    bounce_reason: str | None = None
    delayed_at: dt.datetime | None = None
    complained_at: dt.datetime | None = None
    unsubscribed_at: dt.datetime | None = None
    opened_at: dt.datetime | None = None
    clicked_at: dt.datetime | None = None
    machine_opened_at: dt.datetime | None = None
    machine_clicked_at: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StoredAttempt:
    """As `views.AttemptDetail` reads it."""

    attempt_id: str = "attempt-1"
    next_hop: str = "smarthost.example:587"
    phase: str = "rcpt"
    tls: str = "TLSv1.3 TLS_AES_256_GCM_SHA384"
    started_at: dt.datetime = NOW
    ended_at: dt.datetime | None = NOW
    marked: bool = False
    tls_version: str | None = "TLSv1.3"
    tls_cipher: str | None = "TLS_AES_256_GCM_SHA384"
    duration_ms: int | None = 17
    transcript: str = "C: MAIL FROM:<***>"
    recipients: tuple[object, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """As `views.MessageView` reads it."""

    queue_id: str
    mailbox: str = str(MAILBOX)
    door: str = "http"
    accepted_at: dt.datetime = NOW
    subject: str = "Hello"
    message_id: str = "<1@example.com>"
    size_octets: int = 1000
    tags: tuple[str, ...] = ("invoice",)
    metadata: tuple[tuple[str, str], ...] = (("run", "17"),)
    track: tuple[str, ...] = ("clicks",)
    reverse_path: str = str(MAILBOX)
    is_dsn: bool = False
    recipients: tuple[StoredRecipient, ...] = ()
    attempts: tuple[StoredAttempt, ...] = (StoredAttempt(),)


@dataclass(frozen=True, kw_only=True)
class StoredPage:
    """A page of them."""

    items: Sequence[StoredMessage]
    next_cursor: str | None


@dataclass
class FakeInspector:
    """Messages of one mailbox, newest first; positions are queue ids."""

    stored: list[StoredMessage] = field(default_factory=list)
    asked: list[MessageFilter] = field(default_factory=list)

    async def message(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> StoredMessage:
        assert mailbox_id == MAILBOX_ID
        for message in self.stored:
            if message.queue_id == queue_id:
                return message
        raise Refused(Code.NOT_FOUND, "There is no such message.")

    async def messages(
        self,
        wanted: MessageFilter,
        *,
        mailbox_id: MailboxId | None,
        cursor: str | None,
        limit: int,
    ) -> StoredPage:
        assert mailbox_id == MAILBOX_ID
        self.asked.append(wanted)
        left = [each for each in self.stored if cursor is None or each.queue_id < cursor]
        items = left[:limit]
        return StoredPage(
            items=items, next_cursor=items[-1].queue_id if len(left) > limit else None
        )

    async def attempts(
        self, queue_id: QueueId, mailbox_id: MailboxId | None
    ) -> tuple[StoredAttempt, ...]:
        return (await self.message(queue_id, mailbox_id)).attempts

    async def explain(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> StoredStory:
        message = await self.message(queue_id, mailbox_id)
        answers = tuple(StoredAnswer(address=each.address) for each in message.recipients)
        return StoredStory(message=message, recipients=answers)


@dataclass(frozen=True, kw_only=True)
class StoredFact:
    """As `views.FactView` reads it."""

    what: str = "clicked"
    at: dt.datetime | None = NOW
    text: str = "https://example.org/"


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """As `views.RecipientAnswer` reads it."""

    recipient_id: str = "recipient-1"
    address: str = "ann@example.com"
    state: State = State.DELIVERED
    where: str = "was taken by the next hop"
    decided_by: str = "smarthost.example:587 said 250 ok"
    facts: tuple[StoredFact, ...] = (StoredFact(),)
    next_attempt_at: dt.datetime | None = None
    advice: str = "nothing"


@dataclass(frozen=True, kw_only=True)
class StoredStory:
    """As `views.Explanation` reads it."""

    message: StoredMessage
    recipients: tuple[StoredAnswer, ...]
    summary: str = "accepted: 1 delivered"
    lines: tuple[str, ...] = ("ann@example.com was taken by the next hop",)
    events: tuple[EventRow, ...] = ()

    @property
    def queue_id(self) -> str:
        return self.message.queue_id


@dataclass
class FakeEvents:
    """The log of one mailbox; a position is the number of events before it."""

    stored: list[EventRow] = field(default_factory=list)
    asked: list[EventFilter] = field(default_factory=list)

    async def of_mailbox(
        self, mailbox_id: MailboxId, wanted: EventFilter, *, position: int | None, limit: int
    ) -> EventPage:
        assert mailbox_id == MAILBOX_ID
        self.asked.append(wanted)
        return self._page(self.stored, position or 0, limit)

    async def of_message(
        self, queue_id: QueueId, mailbox_id: MailboxId, *, position: int | None, limit: int
    ) -> EventPage:
        assert mailbox_id == MAILBOX_ID
        rows = [row for row in self.stored if row.queue_id == queue_id]
        if not rows:
            raise Refused(Code.NOT_FOUND, "There is no such message.")
        return self._page(rows, position or 0, limit)

    @staticmethod
    def _page(rows: Sequence[EventRow], start: int, limit: int) -> EventPage:
        items = tuple(rows[start : start + limit])
        position = start + len(items)
        return EventPage(items=items, position=position, has_more=len(rows) > position)


@dataclass
class FakeSuppressions:
    """The list, in memory: rows by scope and address."""

    rows: dict[tuple[str, str], SuppressionRow] = field(default_factory=dict)

    async def add(
        self,
        address: str,
        *,
        scope: str,
        reason: str,
        source: str,
        expires_at: dt.datetime | None = None,
    ) -> SuppressionRow:
        key = self._key(address)
        row = SuppressionRow(
            scope=scope, address_key=key, address=address, reason=reason, source=source,
            first_seen_at=NOW, last_seen_at=NOW, expires_at=expires_at,
        )  # fmt: skip
        self.rows[scope, key] = row
        return row

    async def take_back(self, address: str, *, scope: str) -> None:
        at = (scope, self._key(address))
        if at not in self.rows:
            raise Refused(Code.NOT_FOUND, "It is not suppressed.")
        if rules.strength(self.rows[at]) > rules.Strength.ASKED:
            raise Refused(Code.SUPPRESSION_PROTECTED, "It is an operator's to remove.")
        del self.rows[at]

    async def test(self, address: str, *, scope: str) -> SuppressionRow | None:
        key = self._key(address)
        return self.rows.get((scope, key)) or self.rows.get(("*", key))

    async def entry(self, address: str, *, scope: str) -> SuppressionRow:
        row = self.rows.get((scope, self._key(address)))
        if row is None:
            raise Refused(Code.NOT_FOUND, "It is not suppressed.")
        return row

    async def page(
        self, scope: str, wanted: SuppressionFilter, *, after: str | None, limit: int
    ) -> list[SuppressionRow]:
        found = sorted(
            (row for row in self.rows.values() if row.scope == scope),
            key=lambda row: row.address_key,
        )
        return [
            row
            for row in found
            if (after is None or row.address_key > after) and wanted.reason in (None, row.reason)
        ][:limit]

    @staticmethod
    def _key(address: str) -> str:
        try:
            return Address.parse(address).canonical
        except AddressSyntaxError as error:
            raise Refused(Code.VALIDATION_FAILED, "It is no address.") from error


@dataclass
class FakeReadiness:
    """One fact."""

    is_ready: bool = True

    def facts(self) -> Sequence[Fact]:
        return [Fact(name="store", is_ready=self.is_ready, detail="it said so")]


@dataclass
class FakeApi:
    """All of it, as `create_api_app` takes it."""

    intake: FakeIntake = field(default_factory=FakeIntake)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    inspector: FakeInspector = field(default_factory=FakeInspector)
    events: FakeEvents = field(default_factory=FakeEvents)
    suppressions: FakeSuppressions = field(default_factory=FakeSuppressions)
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    limits: LimitsSection = field(default_factory=LimitsSection)

    @property
    def parts(self) -> ApiParts:
        return ApiParts(
            intake=self.intake,
            tokens=self.tokens,
            inspector=self.inspector,
            events=self.events,
            suppressions=self.suppressions,
            suppression_reader=self.suppressions,
            readiness=self.readiness,
            limits=self.limits,
        )
