"""Suppressions: add, remove, take back, list, test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from gatewayd.clock import Clock
from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store import suppressions
from gatewayd.store.database import Database, Tx
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression import rules
from gatewayd.suppression.keeping import keep
from gatewayd.suppression.key import key
from gatewayd.suppression.rules import Strength, Why

FRESH_S = 1.0  # how long "there is none" is believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A recipient to whom no more is written, because of what a host or a person said.

    source: how we know, such as `smtp` or `dsn`.
    expires_at: None for never.
    """

    mailbox_id: MailboxId
    queue_id: QueueId
    recipient_id: RecipientId
    address: Address
    why: Why
    source: str
    expires_at: dt.datetime | None


def suppress(tx: Tx, causes: Sequence[Cause]) -> int:
    """Suppress recipients, each for its mailbox, with the events; how often the list was changed.

    One that is on it already was seen again; its words stay, an operator's own too, unless the
    cause is stronger or holds longer (`rules.py`).
    """
    if not causes:
        return 0
    kept = keep(tx, [_row(one, tx.now) for one in causes])
    news = [_caused(one) for one, each in zip(causes, kept, strict=True) if each.is_news]
    record.append(tx, news)
    return len(news)


class Suppressions:
    """The list from the outside. A scope is a mailbox_id, or `*` for every mailbox."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._empty: dict[str, float] = {}

    async def add(
        self,
        address: str,
        *,
        scope: str,
        reason: str,
        source: str,
        expires_at: dt.datetime | None = None,
    ) -> SuppressionRow:
        """Write to this address no more.

        Returns:
            The row as it stands now: what is there already may be stronger, or hold longer.

        Raises:
            Refused: validation_failed, for an address that is none.
        """
        parsed = _parse(address)

        def work(tx: Tx) -> SuppressionRow:
            row = SuppressionRow(
                scope=scope, address_key=key(parsed), address=str(parsed), reason=reason,
                source=source, first_seen_at=tx.now, last_seen_at=tx.now, expires_at=expires_at,
            )  # fmt: skip
            (kept,) = keep(tx, [row])
            if kept.is_news:
                told = {"address": row.address, "reason": reason, "source": source, "scope": scope}
                record.append(tx, [_event(EventType.SUPPRESSION_ADDED, scope, told)])
            return kept.row

        row = await self._database.write(work)
        self._empty.clear()
        return row

    async def remove(self, address: str, *, scope: str) -> None:
        """Let mail go to this address again, whoever put it on the list: for operators.

        Raises:
            Refused: not_found when it was not on the list in this scope.
        """
        parsed = _parse(address)
        await self._database.write(lambda tx: _remove(tx, parsed, scope))

    async def take_back(self, address: str, *, scope: str) -> None:
        """Let mail go to this address again, if an agent put it on the list: for agents.

        Raises:
            Refused: not_found as for `remove`; suppression_protected for what others have said.
        """
        parsed = _parse(address)
        at = (scope, key(parsed))

        def work(tx: Tx) -> None:
            row = suppressions.locked(tx, [at]).get(at)
            if row is not None and rules.strength(row) > Strength.ASKED:
                raise Refused(
                    Code.SUPPRESSION_PROTECTED,
                    f"{parsed} is suppressed as {row.reason}, which an agent cannot take back; "
                    f"an operator can: gatewayd suppressions remove {parsed} --mailbox MAILBOX",
                )
            _remove(tx, parsed, scope)

        await self._database.write(work)

    async def test(self, address: str, *, scope: str) -> SuppressionRow | None:
        """The row that keeps mail of this scope from the address, if there is one."""
        wanted = key(_parse(address))

        def work(tx: Tx) -> SuppressionRow | None:
            found = suppressions.find(tx, [(scope, wanted)])
            return found.get((scope, wanted)) or found.get((ALL, wanted))

        return await self._database.read(work)

    async def list(
        self, *, scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[SuppressionRow]:
        """A page, by address; `after` is (address_key, scope) of the last row before it."""
        return await self._database.read(
            lambda tx: suppressions.in_order(tx, scope=scope, after=after, limit=limit)
        )

    async def is_suppressed(self, mailbox_id: MailboxId, address: Address) -> bool:
        """Whether this recipient would be refused; at most a second behind other nodes.

        Most mailboxes have no suppressions, so "none at all" is remembered for a moment: then RCPT
        costs no look into the database.
        """
        now = self._clock.monotonic()
        if now - self._empty.get(mailbox_id, -FRESH_S) < FRESH_S:
            return False
        if not await self._database.read(lambda tx: suppressions.are_any(tx, mailbox_id)):
            if len(self._empty) > 10_000:
                self._empty.clear()
            self._empty[mailbox_id] = now
            return False
        wanted = key(address)
        found = await self._database.read(lambda tx: suppressions.find(tx, [(mailbox_id, wanted)]))
        return bool(found)


def _row(cause: Cause, now: dt.datetime) -> SuppressionRow:
    return SuppressionRow(
        scope=cause.mailbox_id, address_key=key(cause.address), address=str(cause.address),
        reason=cause.why.value, source=cause.source, first_seen_at=now, last_seen_at=now,
        expires_at=cause.expires_at,
    )  # fmt: skip


def _caused(cause: Cause) -> Event:
    return Event(
        type=EventType.SUPPRESSION_ADDED,
        mailbox_id=cause.mailbox_id,
        queue_id=cause.queue_id,
        recipient_id=cause.recipient_id,
        data={
            "address": str(cause.address),
            "reason": cause.why.value,
            "source": cause.source,
            "scope": cause.mailbox_id,
        },
    )


def _remove(tx: Tx, parsed: Address, scope: str) -> None:
    if not suppressions.remove(tx, scope=scope, key=key(parsed)):
        raise Refused(Code.NOT_FOUND, f"{parsed} is not suppressed in this scope")
    told = {"address": str(parsed), "scope": scope}
    record.append(tx, [_event(EventType.SUPPRESSION_REMOVED, scope, told)])


def _parse(address: str) -> Address:
    try:
        return Address.parse(address)
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{address!r} is no mail address: {error}") from error


def _event(kind: EventType, scope: str, data: dict[str, str]) -> Event:
    owner = None if scope == ALL else MailboxId(scope)
    return Event(type=kind, mailbox_id=owner, data=data)
