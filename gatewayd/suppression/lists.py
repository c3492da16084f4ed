"""Suppressions: add, remove, list, test."""

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
from gatewayd.suppression.key import key
from gatewayd.suppression.rules import Why

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
    """Suppress recipients, each for its mailbox, with the events; how many are new on the list.

    One that is on it already stays as it is, an operator's own words too, and was seen again; but
    the cause that holds longer wins.
    """
    if not causes:
        return 0
    there = suppressions.find(tx, [(one.mailbox_id, key(one.address)) for one in causes])
    rows: dict[tuple[str, str], SuppressionRow] = {}
    seen: set[tuple[str, str]] = set()
    events: list[Event] = []
    for one in causes:
        at = (one.mailbox_id, key(one.address))
        before = rows.get(at) or there.get(at)
        if before is not None and not _holds_longer(one, before):
            seen.add(at)
            continue
        rows[at] = _row(one, at, tx.now)
        if before is None:
            events.append(_caused(one))
    suppressions.put_all(tx, list(rows.values()))
    suppressions.seen(tx, seen)
    record.append(tx, events)
    return len(events)


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

        Raises:
            Refused: validation_failed, for an address that is none.
        """
        parsed = _parse(address)

        def work(tx: Tx) -> SuppressionRow:
            row = SuppressionRow(
                scope=scope, address_key=key(parsed), address=str(parsed), reason=reason,
                source=source, first_seen_at=tx.now, last_seen_at=tx.now, expires_at=expires_at,
            )  # fmt: skip
            suppressions.put(tx, row)
            told = {"address": row.address, "reason": reason, "source": source, "scope": scope}
            record.append(tx, [_event(EventType.SUPPRESSION_ADDED, scope, told)])
            return row

        row = await self._database.write(work)
        self._empty.clear()
        return row

    async def remove(self, address: str, *, scope: str) -> None:
        """Let mail go to this address again.

        Raises:
            Refused: not_found when it was not on the list in this scope.
        """
        parsed = _parse(address)

        def work(tx: Tx) -> None:
            if not suppressions.remove(tx, scope=scope, key=key(parsed)):
                raise Refused(Code.NOT_FOUND, f"{parsed} is not suppressed in this scope")
            told = {"address": str(parsed), "scope": scope}
            record.append(tx, [_event(EventType.SUPPRESSION_REMOVED, scope, told)])

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


def _holds_longer(cause: Cause, row: SuppressionRow) -> bool:
    if row.expires_at is None:
        return False
    return cause.expires_at is None or cause.expires_at > row.expires_at


def _row(cause: Cause, at: tuple[str, str], now: dt.datetime) -> SuppressionRow:
    scope, address_key = at
    return SuppressionRow(
        scope=scope, address_key=address_key, address=str(cause.address), reason=cause.why.value,
        source=cause.source, first_seen_at=now, last_seen_at=now, expires_at=cause.expires_at,
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


def _parse(address: str) -> Address:
    try:
        return Address.parse(address)
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{address!r} is no mail address: {error}") from error


def _event(kind: EventType, scope: str, data: dict[str, str]) -> Event:
    owner = None if scope == ALL else MailboxId(scope)
    return Event(type=kind, mailbox_id=owner, data=data)
