"""Suppressions: add, remove, list, test."""

from __future__ import annotations

import datetime as dt

from gatewayd.clock import Clock
from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store import suppressions
from gatewayd.store.database import Database, Tx
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression.key import key

FRESH_S = 1.0  # how long "there is none" is believed


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


def _parse(address: str) -> Address:
    try:
        return Address.parse(address)
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{address!r} is no mail address: {error}") from error


def _event(kind: EventType, scope: str, data: dict[str, str]) -> Event:
    owner = None if scope == ALL else MailboxId(scope)
    return Event(type=kind, mailbox_id=owner, data=data)
