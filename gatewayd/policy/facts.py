"""What the decision about a whole set of submissions depends on, by one statement per kind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from gatewayd.ids import MailboxId, QueueId, RecipientId, TokenId
from gatewayd.policy.candidate import Candidate
from gatewayd.quotas import windows
from gatewayd.quotas.windows import Meter
from gatewayd.store import idempotency, mailboxes, quotas, recipients, suppressions, tokens
from gatewayd.store.database import Tx
from gatewayd.store.idempotency import IdempotencyRow
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.suppressions import ALL
from gatewayd.store.tokens import TokenRow
from gatewayd.suppression.key import key as suppression_key

Earlier = tuple[tuple[RecipientId, str], ...]  # the recipients of an acceptance to repeat


@dataclass(slots=True, kw_only=True)
class Facts:
    """The state of the database that concerns one set. The decision keeps it current as it goes.

    earlier: acceptances by (mailbox, key), those of this set too.
    expired_keys: keys in the database that are free again.
    suppressed: (scope, address key).
    has_room: whether there is space for new mail.
    token_leeway: how long a token still counts after its end.
    """

    now: dt.datetime
    tokens: dict[TokenId, TokenRow]
    mailboxes: dict[MailboxId, MailboxRow]
    earlier: dict[tuple[MailboxId, str], IdempotencyRow]
    earlier_recipients: dict[QueueId, Earlier]
    expired_keys: set[tuple[MailboxId, str]]
    suppressed: frozenset[tuple[str, str]]
    meter: Meter
    has_room: bool
    has_smarthost: bool
    token_leeway: dt.timedelta

    def is_suppressed(self, mailbox_id: MailboxId, address_key: str) -> bool:
        return (mailbox_id, address_key) in self.suppressed or (ALL, address_key) in self.suppressed


def load(
    tx: Tx,
    candidates: Sequence[Candidate],
    *,
    has_room: bool,
    has_smarthost: bool,
    token_leeway: dt.timedelta,
) -> Facts:
    """Read the facts for a set; quota rows stay locked until the transaction ends."""
    now = tx.now
    principals = [candidate.principal for candidate in candidates]
    keys = {
        (candidate.principal.mailbox_id, candidate.options.idempotency_key)
        for candidate in candidates
        if candidate.options.idempotency_key is not None
    }
    found = idempotency.find(tx, keys) if keys else {}
    live = {key: row for key, row in found.items() if row.expires_at > now}
    earlier = recipients.addresses(tx, {row.queue_id for row in live.values()}) if live else {}
    return Facts(
        now=now,
        tokens=tokens.by_ids(tx, {principal.token_id for principal in principals}),
        mailboxes=mailboxes.by_ids(tx, {principal.mailbox_id for principal in principals}),
        earlier=live,
        earlier_recipients={queue_id: tuple(rows) for queue_id, rows in earlier.items()},
        expired_keys=found.keys() - live.keys(),
        suppressed=_suppressed(tx, candidates),
        meter=_meter(tx, candidates, now),
        has_room=has_room,
        has_smarthost=has_smarthost,
        token_leeway=token_leeway,
    )


def _suppressed(tx: Tx, candidates: Sequence[Candidate]) -> frozenset[tuple[str, str]]:
    return frozenset(
        suppressions.find(
            tx,
            {
                (
                    candidate.principal.mailbox_id,
                    suppression_key(recipient.forward_path.address),
                )
                for candidate in candidates
                for recipient in candidate.envelope.recipients
            },
        )
    )


def _meter(tx: Tx, candidates: Sequence[Candidate], now: dt.datetime) -> Meter:
    limited = {
        (principal.token_id, principal.hourly, principal.daily)
        for principal in (candidate.principal for candidate in candidates)
    }
    keys = {
        limit.key
        for token_id, hourly, daily in limited
        for limit in windows.limits(token_id, hourly=hourly, daily=daily, now=now)
    }
    return Meter(quotas.take(tx, sorted(keys)))
