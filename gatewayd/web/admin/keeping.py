"""Suppressions, keys, reload."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gatewayd.errors import Code, Refused
from gatewayd.keys.ring import Purpose
from gatewayd.web import paging
from gatewayd.web.admin.parts import AdminParts

ALL = "*"


class NewSuppression(BaseModel):
    """An address to write to no more; without a mailbox, from none."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320)
    mailbox: str | None = Field(default=None, max_length=320)
    reason: str = Field(default="operator", max_length=200)
    expires_at: dt.datetime | None = None


class SuppressionView(BaseModel):
    """One row of the list."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    scope: str
    address: str
    reason: str
    source: str
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    expires_at: dt.datetime | None


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_suppressions(parts))

    @routes.get("/keys")
    async def keys() -> dict[str, Any]:
        return {
            "items": [
                {
                    "purpose": ring.purpose.value,
                    "key_id": key.kid,
                    "state": key.state.value,
                    "created_at": key.created_at.isoformat(),
                }
                for ring in await parts.keys.list()
                for key in ring.keys
            ]
        }

    @routes.post("/keys/{purpose}/{phase}")
    async def rotate(
        purpose: Literal["fernet", "jwt"], phase: Literal["begin", "switch", "finish"]
    ) -> dict[str, Any]:
        done = await parts.keys.rotate(Purpose(purpose), phase)
        return {
            "purpose": purpose,
            "phase": phase,
            "resealed": done.resealed,
            "keys": [{"key_id": kid, "state": state} for kid, state in done.keys],
            "hint": done.hint,
        }

    @routes.post("/reload")
    async def reload() -> dict[str, Any]:
        if parts.reload is None:
            raise Refused(Code.CONFLICT, "no daemon runs, so there is nothing to reload")
        return parts.reload()

    return routes


def _suppressions(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/suppressions")

    async def scope_of(mailbox: str | None) -> str:
        return ALL if mailbox is None else (await parts.mailboxes.get(mailbox)).mailbox_id

    @routes.get("")
    async def show_all(
        mailbox: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> dict[str, Any]:
        limit = max(1, min(limit, 1000))
        rows = await parts.suppressions.list(
            scope=None if mailbox is None else await scope_of(mailbox),
            after=_after(cursor),
            limit=limit + 1,
        )
        shown = rows[:limit]
        last = shown[-1] if len(rows) > limit else None
        following = _cursor(last.address_key, last.scope) if last else None
        return {
            "items": [SuppressionView.model_validate(row) for row in shown],
            "next_cursor": following,
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
        return SuppressionView.model_validate(row)

    @routes.delete("")
    async def remove(address: str, mailbox: str | None = None) -> dict[str, Any]:
        await parts.suppressions.remove(address, scope=await scope_of(mailbox))
        return {"address": address, "removed": True}

    @routes.get("/test")
    async def test(address: str, mailbox: str | None = None) -> dict[str, Any]:
        row = await parts.suppressions.test(address, scope=await scope_of(mailbox))
        return {
            "address": address,
            "suppressed": row is not None,
            "entry": SuppressionView.model_validate(row) if row is not None else None,
        }

    return routes


def _cursor(address_key: str, scope: str) -> str | None:
    """The cursor after this row. Cursors are ASCII, and addresses need not be (RFC 6531 3.3)."""
    return paging.encode(f"{address_key.encode('punycode').decode('ascii')}\n{scope}")


def _after(cursor: str | None) -> tuple[str, str] | None:
    """The address_key and scope that a cursor names.

    Raises:
        Refused: we never made such a cursor.
    """
    if cursor is None:
        return None
    position, _, scope = str(paging.decode(cursor)).partition("\n")
    try:
        address_key = position.encode("ascii").decode("punycode")
    except UnicodeError:
        address_key = ""
    if _cursor(address_key, scope) != cursor or not f"{address_key}{scope}".isprintable():
        raise Refused(Code.VALIDATION_FAILED, "The cursor is not one of ours.")
    return address_key, scope
