"""Intake.accept(): the steps, readable at a glance.

Submissions that wait are decided and stored as one set: the facts of all are loaded by one
statement per kind, each is judged in pure code, what was accepted is written by one statement per
table, and one commit makes all of it durable (house style, load - decide - keep).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, GatewayError, Refused, StoreConflict, StoreFull
from gatewayd.ids import QueueId
from gatewayd.intake import prepare
from gatewayd.mail.address import ReversePath
from gatewayd.mail.envelope import Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.policy import candidate as examined
from gatewayd.policy import check, content, facts, identity, individual, options, recipients
from gatewayd.policy.candidate import Candidate
from gatewayd.policy.check import Accept, Replay
from gatewayd.policy.facts import Facts
from gatewayd.policy.submission import Accepted, AcceptedRecipient, Submission
from gatewayd.queue import enqueue
from gatewayd.queue.claim import Claim
from gatewayd.queue.enqueue import Entry
from gatewayd.queue.handover import Handover
from gatewayd.queue.states import State
from gatewayd.spool.port import MEMORY_OCTETS, SpoolPort
from gatewayd.store import idempotency, quotas
from gatewayd.store.database import Database, Tx
from gatewayd.store.idempotency import IdempotencyRow
from gatewayd.store.sets import SetWriter
from gatewayd.suppression.lists import Suppressions
from gatewayd.tokens.claims import Principal, Scope
from gatewayd.tokens.service import Tokens


class SpacePort(Protocol):
    """Knows whether there is space for new mail."""

    def has_room(self) -> bool: ...


class Metrics(Protocol):
    """What is counted here, by door."""

    def submission_accepted(self, door: str, *, recipients: int, seconds: float) -> None: ...

    def submission_replayed(self, door: str) -> None: ...

    def submission_refused(self, door: str, code: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What intake needs of the configuration."""

    limits: LimitsSection
    hostname: str
    idempotency: dt.timedelta
    has_smarthost: bool
    token_leeway: dt.timedelta
    has_links: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A submission that was accepted, with the claims that were made of it at once."""

    accepted: Accepted
    claims: tuple[Claim, ...] = ()

    @property
    def is_queued(self) -> bool:
        """Whether it waits to be claimed."""
        return not self.claims and not self.accepted.replayed


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A candidate with the id that it will have."""

    candidate: Candidate
    queue_id: QueueId


class Intake:
    """Takes responsibility for submissions, or refuses them."""

    def __init__(  # noqa: PLR0913 - the rooms that a decision needs
        self,
        database: Database,
        *,
        tokens: Tokens,
        suppressions: Suppressions,
        spool: SpoolPort,
        space: SpacePort,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        handover: Handover,
        on_accepted: Callable[[int], None],
    ) -> None:
        self._tokens = tokens
        self._suppressions = suppressions
        self._spool = spool
        self._space = space
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._handover = handover
        self._on_accepted = on_accepted
        self._sets: SetWriter[_Waiting, Kept] = SetWriter(
            database, self._decide, on_commit=self._committed
        )

    def use(self, settings: Settings) -> None:
        """Take other limits, after a reload."""
        self._settings = settings

    async def accept(self, submission: Submission) -> Accepted:
        """Take responsibility for a submission, or raise Refused.

        When this returns the message is on stable storage: the door may now say 250 or 202, and
        not earlier (RFC 5321 6.1). A caller that is cancelled does not take it back.

        Raises:
            Refused: nothing was stored.
            StoreError: nothing was stored, as far as we know.
        """
        door, began = submission.trace.door.value, self._clock.monotonic()
        try:
            accepted = await self._accept(submission)
        except Refused as refused:
            self._metrics.submission_refused(door, refused.code)
            raise
        seconds = self._clock.monotonic() - began
        if accepted.replayed:
            self._metrics.submission_replayed(door)
        else:
            self._metrics.submission_accepted(
                door, recipients=len(accepted.recipients), seconds=seconds
            )
        return accepted

    async def screen_sender(
        self, principal: Principal, *, reverse_path: ReversePath, size_octets: int | None
    ) -> None:
        """What MAIL is told: token, scope, sender binding, SIZE, space.

        Raises:
            Refused: the transaction may not begin.
        """
        await self._tokens.check(principal)
        check.check_scope(principal, Scope.MESSAGES_SEND)
        identity.check_reverse_path(reverse_path, principal.mailbox)
        content.check_size(size_octets or 0, self._settings.limits)
        if not self._space.has_room():
            raise check.no_room()

    async def screen_recipient(
        self, principal: Principal, recipient: Recipient, *, already: int
    ) -> None:
        """What RCPT is told; advice only, the decision at the dot is final.

        Raises:
            Refused: this recipient would be refused now.
        """
        recipients.check_count(already + 1, self._settings.limits)
        recipients.check_domains(principal, [recipient])
        address = recipient.forward_path.address
        is_suppressed = await self._suppressions.is_suppressed(principal.mailbox_id, address)
        recipients.check_suppressed([recipient], lambda _: is_suppressed)

    def _examine(self, submission: Submission) -> _Waiting:
        """Compose, read the options, and find the faults that need no database."""
        now = self._clock.now()
        queue_id = ids.queue_id(now)
        fault: Refused | None = None
        asked = submission.options
        try:
            message = prepare.octets_of(submission, queue_id, now)
            content.check_header_form(message.header, self._settings.limits)
            asked = options.read(message.header, asked)
            individual.check_wish(asked, has_links=self._settings.has_links)
        except Refused as refused:
            fault, message = refused, _submitted(submission)
        envelope = prepare.envelope_of(submission, message)
        if asked.idempotency_key is not None and asked.fingerprint is None:
            asked = options.with_fingerprint(asked, prepare.fingerprint(envelope, message))
        return _Waiting(
            Candidate(
                principal=submission.principal,
                envelope=envelope,
                message=message,
                options=asked,
                submission=submission,
                fault=fault
                or examined.fault_of(
                    submission.principal, envelope, message, self._settings.limits
                ),
            ),
            queue_id,
        )

    def _decide(self, tx: Tx, set_: Sequence[_Waiting]) -> list[Kept | GatewayError]:
        """Load, decide, keep: for every submission that waits."""
        known = facts.load(
            tx,
            [waiting.candidate for waiting in set_],
            has_room=self._space.has_room(),
            has_smarthost=self._settings.has_smarthost,
            token_leeway=self._settings.token_leeway,
        )
        answers: list[Accepted | GatewayError] = []
        entries: list[Entry] = []
        keys: list[IdempotencyRow] = []
        for waiting in set_:
            verdict = check.decide(waiting.candidate, known)
            match verdict:
                case Refused():
                    answers.append(verdict)
                case Replay():
                    answers.append(_replayed(verdict, known.now))
                case Accept():
                    entry = self._entry(waiting, verdict, known)
                    entries.append(entry)
                    keys.extend(self._remember(waiting.candidate, entry, known))
                    answers.append(_accepted(entry, verdict))
        idempotency.forget(tx, known.expired_keys & {(row.mailbox_id, row.key) for row in keys})
        idempotency.add(tx, keys)
        quotas.put(tx, known.meter.changed)
        claims = self._handover.claims_for(entries)
        enqueue.add(tx, entries, claims)
        return _kept(answers, claims)

    def _committed(self, results: Sequence[Kept | BaseException]) -> None:
        """After the commit, on the loop: delivery gets what it had room for."""
        kept = [result for result in results if isinstance(result, Kept)]
        self._handover.hand_over(
            [claim for one in kept for claim in one.claims],
            has_queued=any(one.is_queued for one in kept),
        )
        self._on_accepted(len(results))

    def _entry(self, waiting: _Waiting, accept: Accept, known: Facts) -> Entry:
        candidate, now = waiting.candidate, known.now
        principal = candidate.principal
        message = prepare.stored(
            candidate.message,
            candidate.submission,
            candidate.envelope,
            queue_id=waiting.queue_id,
            display_name=accept.display_name,
            hostname=self._settings.hostname,
            at=now,
        )
        alone = individual.decide(
            message,
            candidate.options,
            known.mailboxes[principal.mailbox_id],
            door=candidate.submission.trace.door,
            has_links=self._settings.has_links,
        )
        return Entry(
            queue_id=waiting.queue_id,
            recipient_ids=tuple(ids.recipient_id(now) for _ in candidate.envelope.recipients),
            mailbox_id=principal.mailbox_id,
            token_id=principal.token_id,
            door=candidate.submission.trace.door.value,
            envelope=candidate.envelope,
            message=message,
            message_id=prepare.shown_message_id(message.header),
            subject=prepare.shown_subject(message.header),
            sandbox=principal.sandbox,
            tags=candidate.options.tags,
            metadata=candidate.options.metadata,
            request_id=candidate.submission.trace.request_id,
            accepted_at=now,
            track=alone.track,
            unsubscribe=alone.unsubscribe,
            owner=known.mailboxes[principal.mailbox_id],
        )

    def _remember(self, candidate: Candidate, entry: Entry, known: Facts) -> list[IdempotencyRow]:
        """The row of an acceptance with a key; the rest of the set sees it too."""
        key = candidate.options.idempotency_key
        if key is None:
            return []
        row = IdempotencyRow(
            mailbox_id=entry.mailbox_id,
            key=key,
            fingerprint=candidate.options.fingerprint or b"",
            queue_id=entry.queue_id,
            expires_at=entry.accepted_at + self._settings.idempotency,
        )
        known.earlier[row.mailbox_id, key] = row
        known.earlier_recipients[entry.queue_id] = tuple(
            (recipient_id, str(recipient.forward_path))
            for recipient_id, recipient in zip(
                entry.recipient_ids, entry.envelope.recipients, strict=True
            )
        )
        return [row]

    async def _accept(self, submission: Submission) -> Accepted:
        waiting = await self._in_spool(self._examine(submission))
        try:
            accepted = (await self._sets.put(waiting)).accepted
        except (Refused, StoreFull):
            self._discard(waiting.candidate.message)
            raise
        except StoreConflict as error:
            self._discard(waiting.candidate.message)
            raise _in_flight() from error
        if accepted.replayed:
            self._discard(waiting.candidate.message)
        return accepted

    async def _in_spool(self, waiting: _Waiting) -> _Waiting:
        """Large bodies are files before a row points to them; those of SMTP are already."""
        candidate = waiting.candidate
        body = candidate.message.body
        if candidate.fault is not None or not isinstance(body, bytes) or len(body) <= MEMORY_OCTETS:
            return waiting
        writer = self._spool.incoming()
        try:
            writer.write(body)
            message = RawMessage(candidate.message.header, await writer.finish())
        except BaseException:
            writer.discard()
            raise
        return _Waiting(replace(candidate, message=message), waiting.queue_id)

    def _discard(self, message: RawMessage) -> None:
        if not isinstance(message.body, bytes):
            self._spool.delete(message.body.key)


def _kept(
    answers: Sequence[Accepted | GatewayError], claims: Sequence[Claim]
) -> list[Kept | GatewayError]:
    """Each acceptance with the claims of it; a replay in the same set names it, and has none."""
    of: dict[QueueId, list[Claim]] = {}
    for claim in claims:
        of.setdefault(claim.queue_id, []).append(claim)
    return [
        Kept(answer, () if answer.replayed else tuple(of.get(answer.queue_id, ())))
        if isinstance(answer, Accepted)
        else answer
        for answer in answers
    ]


def _submitted(submission: Submission) -> RawMessage:
    """What came, for a submission that could not be composed: nothing of it is stored."""
    submitted = submission.content
    return submitted if isinstance(submitted, RawMessage) else RawMessage.parse(b"")


def _accepted(entry: Entry, accept: Accept) -> Accepted:
    return Accepted(
        queue_id=entry.queue_id,
        recipients=tuple(
            AcceptedRecipient(
                recipient_id=recipient_id,
                address=str(recipient.forward_path),
                status=State.QUEUED.value,
            )
            for recipient_id, recipient in zip(
                entry.recipient_ids, entry.envelope.recipients, strict=True
            )
        ),
        accepted_at=entry.accepted_at,
        quota=accept.quota,
    )


def _replayed(replay: Replay, now: dt.datetime) -> Accepted:
    return Accepted(
        queue_id=replay.queue_id,
        recipients=tuple(
            AcceptedRecipient(recipient_id=recipient_id, address=address, status=State.QUEUED.value)
            for recipient_id, address in replay.recipients
        ),
        accepted_at=now,
        replayed=True,
    )


def _in_flight() -> Refused:
    return Refused(
        Code.IDEMPOTENCY_IN_FLIGHT,
        "the same Idempotency-Key is being used at this moment; try again",
        retry_after_s=1,
    )
