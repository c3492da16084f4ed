"""The order of the checks, and nothing else. Pure: `decide(candidate, facts) -> Verdict`.

token valid and unrevoked -> scope -> idempotency -> sender binding -> limits -> recipient syntax ->
allowed recipient domains -> suppression -> route -> quota (hour, day) -> storage space -> accept

Sender binding, limits and syntax were examined before (`candidate.fault`): they need no facts.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from gatewayd.errors import Code, Refused
from gatewayd.ids import QueueId, RecipientId
from gatewayd.policy import recipients
from gatewayd.policy.candidate import Candidate
from gatewayd.policy.facts import Facts
from gatewayd.policy.submission import QuotaState
from gatewayd.quotas import windows
from gatewayd.suppression.key import key as suppression_key
from gatewayd.tokens.claims import Principal, Scope
from gatewayd.tokens.verify import expired, revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """Take responsibility. `display_name` is the operator's, None when there is none."""

    display_name: str | None
    quota: tuple[QuotaState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """It was accepted before under the same key: give the same answer."""

    queue_id: QueueId
    recipients: tuple[tuple[RecipientId, str], ...]


Verdict = Accept | Replay | Refused


def decide(candidate: Candidate, facts: Facts) -> Verdict:
    """Judge one submission; quota is debited from the facts when it is accepted."""
    try:
        _check_token(candidate.principal, facts)
        check_scope(candidate.principal, Scope.MESSAGES_SEND)
        if (replay := _earlier(candidate, facts)) is not None:
            return replay
        if candidate.fault is not None:
            return candidate.fault
        return _accept(candidate, facts)
    except Refused as refused:
        return refused


def check_scope(principal: Principal, scope: Scope) -> None:
    """Refuse what the token may not do.

    Raises:
        Refused: scope_missing.
    """
    if scope not in principal.scopes:
        raise Refused(Code.SCOPE_MISSING, f"the token lacks the scope {scope}")


def _check_token(principal: Principal, facts: Facts) -> None:
    if principal.expires_at + facts.token_leeway <= facts.now:
        raise expired()
    row = facts.tokens.get(principal.token_id)
    if row is None or row.revoked_at is not None or principal.mailbox_id not in facts.mailboxes:
        raise revoked()


def _earlier(candidate: Candidate, facts: Facts) -> Replay | None:
    key = candidate.options.idempotency_key
    if key is None:
        return None
    row = facts.earlier.get((candidate.principal.mailbox_id, key))
    if row is None:
        return None
    if row.fingerprint != candidate.options.fingerprint:
        raise Refused(
            Code.IDEMPOTENCY_KEY_REUSED,
            "this Idempotency-Key was used for another message; use a new key",
        )
    return Replay(queue_id=row.queue_id, recipients=facts.earlier_recipients.get(row.queue_id, ()))


def _accept(candidate: Candidate, facts: Facts) -> Accept:
    principal, envelope = candidate.principal, candidate.envelope
    recipients.check_domains(principal, envelope.recipients)
    if facts.suppressed:
        recipients.check_suppressed(
            envelope.recipients,
            lambda recipient: facts.is_suppressed(
                principal.mailbox_id, suppression_key(recipient.forward_path.address)
            ),
        )
    mailbox = facts.mailboxes[principal.mailbox_id]
    if mailbox.next_hop_host is None and not facts.has_smarthost and not principal.sandbox:
        raise Refused(
            Code.NO_ROUTE,
            "mail of this mailbox has no next hop yet; the operator must set one with "
            "`gatewayd mailboxes update` or delivery.smarthost",
            retry_after_s=300,
        )
    applying = windows.limits(
        principal.token_id, hourly=principal.hourly, daily=principal.daily, now=facts.now
    )
    units = len(envelope.recipients)
    if (limit := facts.meter.exceeded(applying, units)) is not None:
        raise Refused(
            Code.QUOTA_EXCEEDED,
            f"the token may send to {limit.allowed} recipients per {limit.key[1]} (UTC); "
            f"{max(0, limit.allowed - facts.meter.used(limit))} are left",
            retry_after_s=_seconds(limit.ends_at - facts.now),
        )
    if not facts.has_room:
        raise no_room()
    facts.meter.debit(applying, units)
    return Accept(
        display_name=mailbox.display_name,
        quota=tuple(
            QuotaState(
                window=limit.key[1],
                limit=limit.allowed,
                remaining=limit.allowed - facts.meter.used(limit),
                reset_s=_seconds(limit.ends_at - facts.now),
            )
            for limit in applying
        ),
    )


def no_room() -> Refused:
    return Refused(
        Code.STORAGE_FULL, "no space is left for new mail; try again later", retry_after_s=60
    )


def _seconds(duration: dt.timedelta) -> int:
    return max(1, int(duration.total_seconds()))
