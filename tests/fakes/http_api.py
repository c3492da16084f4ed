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
from gatewayd.ids import MailboxId, QueueId, TokenId
from gatewayd.mail.address import Address
from gatewayd.policy.submission import Accepted, AcceptedRecipient, QuotaState, Submission
from gatewayd.queue.states import State
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


@dataclass(frozen=True, kw_only=True)
class StoredAttempt:
    """As `views.AttemptView` reads it."""

    attempt_id: str = "attempt-1"
    next_hop: str = "smarthost.example:587"
    phase: str = "rcpt"
    tls: str = "TLSv1.3 TLS_AES_256_GCM_SHA384"
    started_at: dt.datetime = NOW
    ended_at: dt.datetime | None = NOW
    marked: bool = False


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
    reverse_path: str = str(MAILBOX)
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
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    limits: LimitsSection = field(default_factory=LimitsSection)

    @property
    def parts(self) -> ApiParts:
        return ApiParts(
            intake=self.intake,
            tokens=self.tokens,
            inspector=self.inspector,
            readiness=self.readiness,
            limits=self.limits,
        )
