"""Importer: many suppressions at once, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from gatewayd.errors import Code, Fault, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store.database import Database, Tx
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression.keeping import keep
from gatewayd.suppression.key import key


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """One address in one scope. None for an instant: now, or never for `expires_at`."""

    address: str
    scope: str
    reason: str
    source: str
    first_seen_at: dt.datetime | None = None
    last_seen_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """How many addresses were new, and how many were there: with what is stronger or longer."""

    added: int
    changed: int


class Importer:
    """Puts rows of a file on the list."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, rows: Sequence[NewRow]) -> Imported:
        """All of these or none; of two with the same address and scope the last counts.

        Raises:
            Refused: validation_failed, naming each address that is none.
        """
        wanted = _by_key(rows)

        def work(tx: Tx) -> Imported:
            kept = keep(tx, [_row(at, new, tx.now) for at, new in wanted.items()])
            both = list(zip(wanted.values(), kept, strict=True))
            record.append(tx, [_event(new) for new, each in both if each.is_news])
            added = sum(each.is_added for each in kept)
            return Imported(added=added, changed=len(kept) - added)

        return await self._database.write(work)


def _by_key(rows: Sequence[NewRow]) -> dict[tuple[str, str], NewRow]:
    found: dict[tuple[str, str], NewRow] = {}
    faults: list[Fault] = []
    for index, row in enumerate(rows):
        try:
            found[row.scope, key(Address.parse(row.address))] = row
        except AddressSyntaxError as error:
            faults.append(
                Fault(
                    pointer=f"/entries/{index}/address",
                    detail=str(error),
                    code=Code.VALIDATION_FAILED,
                )
            )
    if faults:
        raise Refused(
            Code.VALIDATION_FAILED, f"{len(faults)} of them are no mail address", faults=faults
        )
    return found


def _row(at: tuple[str, str], new: NewRow, now: dt.datetime) -> SuppressionRow:
    scope, address_key = at
    return SuppressionRow(
        scope=scope,
        address_key=address_key,
        address=str(Address.parse(new.address)),
        reason=new.reason,
        source=new.source,
        first_seen_at=new.first_seen_at or new.last_seen_at or now,
        last_seen_at=new.last_seen_at or now,
        expires_at=new.expires_at,
    )


def _event(new: NewRow) -> Event:
    return Event(
        type=EventType.SUPPRESSION_ADDED,
        mailbox_id=None if new.scope == ALL else MailboxId(new.scope),
        data={
            "address": new.address,
            "reason": new.reason,
            "source": new.source,
            "scope": new.scope,
        },
    )
