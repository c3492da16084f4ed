"""SuppressionReader: the list for those who look at it, not for mail."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gatewayd.errors import Code, Refused
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store import suppression_pages, suppressions
from gatewayd.store.database import Database, Tx
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression.key import key


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionFilter:
    """Which rows are wanted; None means any. is_live: whether they have an effect now."""

    reason: str | None = None
    source: str | None = None
    is_live: bool | None = None


class SuppressionReader:
    """Pages and single rows. A scope is a mailbox_id, or `*` for every mailbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, scope: str, wanted: SuppressionFilter, *, after: str | None, limit: int
    ) -> list[SuppressionRow]:
        """Rows of a scope by address; `after` is the address_key of the last row before them."""
        if not all(text is None or text.isprintable() for text in (wanted.reason, wanted.source)):
            return []  # what no column holds, and PostgreSQL would refuse to look for
        return await self._database.read(
            lambda tx: suppression_pages.of_scope(
                tx,
                scope,
                after=after,
                limit=limit,
                reason=wanted.reason,
                source=wanted.source,
                is_live=wanted.is_live,
            )
        )

    async def entry(self, address: str, *, scope: str) -> SuppressionRow:
        """The row of an address in a scope, though it may be over.

        Raises:
            Refused: not_found; validation_failed for an address that is none.
        """
        parsed = _parse(address)
        row = await self._database.read(lambda tx: suppression_pages.entry(tx, scope, key(parsed)))
        if row is None:
            raise Refused(Code.NOT_FOUND, f"{parsed} is not suppressed in this scope")
        return row

    async def holding(self, address: str, *, scopes: Collection[str]) -> list[SuppressionRow]:
        """The live rows that keep mail of any of these scopes from an address, `*` first.

        Raises:
            Refused: validation_failed for an address that is none.
        """
        wanted = key(_parse(address))

        def work(tx: Tx) -> list[SuppressionRow]:
            found = suppressions.find(tx, [(scope, wanted) for scope in (ALL, *scopes)])
            return sorted(found.values(), key=lambda row: (row.scope != ALL, row.scope))

        return await self._database.read(work)


def _parse(address: str) -> Address:
    try:
        return Address.parse(address)
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{address!r} is no mail address: {error}") from error
