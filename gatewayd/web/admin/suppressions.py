"""Suppressions of every mailbox: list, add, remove, test, import."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gatewayd.errors import Code, Fault, Refused
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.suppression.importing import NewRow
from gatewayd.suppression.transfer import REASON, SOURCE
from gatewayd.web import paging
from gatewayd.web.admin.parts import AdminParts

ALL: Final = "*"
MOST_ENTRIES: Final = 1000  # in one transaction


def _aware(at: dt.datetime) -> dt.datetime:
    if at.tzinfo is None:
        raise ValueError("must have an offset, such as 2026-11-21T08:00:00Z")
    return at


Instant = Annotated[dt.datetime, AfterValidator(_aware)]


class NewSuppression(BaseModel):
    """An address to write to no more; without a mailbox, from none."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320)
    mailbox: str | None = Field(default=None, max_length=320)
    reason: str = Field(default="operator", max_length=200)
    expires_at: dt.datetime | None = None


class ImportedEntry(BaseModel):
    """One line of a file; the mailbox is an address, or `*` for all."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320)
    mailbox: str = Field(max_length=320)
    reason: str = Field(default=REASON, max_length=200)
    source: str = Field(default=SOURCE, max_length=200)
    first_seen_at: Instant | None = None
    last_seen_at: Instant | None = None
    expires_at: Instant | None = None


class ImportedEntries(BaseModel):
    """Lines of a file; all of them are taken, or none."""

    model_config = ConfigDict(extra="forbid")

    entries: list[ImportedEntry] = Field(max_length=MOST_ENTRIES)


class SuppressionView(BaseModel):
    """One row of the list. mailbox: its address, `*` for all, "" for one that is gone."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    scope: str
    mailbox: str = ""
    address: str
    reason: str
    source: str
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    expires_at: dt.datetime | None


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/suppressions")

    async def scope_of(mailbox: str | None) -> str:
        return ALL if mailbox in (None, ALL) else (await parts.mailboxes.get(mailbox)).mailbox_id

    async def names() -> dict[str, str]:
        return {ALL: ALL, **{row.mailbox_id: row.address for row in await parts.mailboxes.list()}}

    def shown(row: object, known: dict[str, str]) -> SuppressionView:
        view = SuppressionView.model_validate(row)
        return view.model_copy(update={"mailbox": known.get(view.scope, "")})

    @routes.get("")
    async def show_all(
        mailbox: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> dict[str, Any]:
        limit = max(1, min(limit, 1000))
        rows = await parts.suppressions.list(
            scope=None if mailbox is None else await scope_of(mailbox),
            after=paging.decode_row(cursor),
            limit=limit + 1,
        )
        known = await names()
        last = rows[limit - 1] if len(rows) > limit else None
        return {
            "items": [shown(row, known) for row in rows[:limit]],
            "next_cursor": paging.encode_row(last.address_key, last.scope) if last else None,
        }

    @routes.post("", status_code=201)
    async def add(body: NewSuppression) -> SuppressionView:
        row = await parts.suppressions.add(
            body.address,
            scope=await scope_of(body.mailbox),
            reason=body.reason,
            source="operator",
            expires_at=body.expires_at,
        )
        return shown(row, await names())

    @routes.post("/import")
    async def take(body: ImportedEntries) -> dict[str, Any]:
        """All of these, or none."""
        scopes = _scopes(await names())
        done = await parts.importer.take(
            [
                NewRow(scope=_scope(scopes, index, entry), **entry.model_dump(exclude={"mailbox"}))
                for index, entry in enumerate(body.entries)
            ]
        )
        return {"added": done.added, "changed": done.changed}

    @routes.delete("")
    async def remove(address: str, mailbox: str | None = None) -> dict[str, Any]:
        await parts.suppressions.remove(address, scope=await scope_of(mailbox))
        return {"address": address, "removed": True}

    @routes.get("/test")
    async def test(address: str, mailbox: str | None = None) -> dict[str, Any]:
        """What keeps mail of a mailbox from an address; without one, of each and of all."""
        known = await names()
        scopes = list(known) if mailbox is None else [await scope_of(mailbox)]
        rows = await parts.suppression_reader.holding(address, scopes=scopes)
        counted = rows if mailbox is not None else [row for row in rows if row.scope == ALL]
        entries = [shown(row, known) for row in rows]
        return {
            "address": address,
            "mailbox": mailbox or ALL,
            "suppressed": bool(counted),
            "entry": entries[0] if counted else None,
            "entries": entries,
        }

    return routes


def _scopes(known: dict[str, str]) -> dict[str, str]:
    """Scopes by what a file calls them."""
    return {
        address if scope == ALL else Address.parse(address).key: scope
        for scope, address in known.items()
    }


def _scope(scopes: dict[str, str], index: int, entry: ImportedEntry) -> str:
    try:
        name = entry.mailbox if entry.mailbox == ALL else Address.parse(entry.mailbox).key
        return scopes[name]
    except (AddressSyntaxError, KeyError):
        detail = f"there is no mailbox {entry.mailbox!r}"
        fault = Fault(
            pointer=f"/entries/{index}/mailbox", detail=detail, code=Code.VALIDATION_FAILED
        )
        raise Refused(Code.VALIDATION_FAILED, detail, faults=[fault]) from None
