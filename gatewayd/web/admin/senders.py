"""Who may send: mailboxes, tokens, domains."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gatewayd.errors import Code, Refused
from gatewayd.ids import TokenId
from gatewayd.mailboxes.accounts import Change
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Request
from gatewayd.web.admin.parts import AdminParts

MOST: Final = 2**53 - 1  # what JSON can say everywhere; both databases hold more


class Body(BaseModel):
    """A JSON body: an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid")


class View(BaseModel):
    """Read from the attributes of a room's value."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class MailboxSettings(Body):
    """What can be set. Absent leaves a setting as it is, an empty text clears it."""

    display_name: str | None = Field(default=None, max_length=200)
    next_hop_host: str | None = Field(default=None, max_length=255)
    next_hop_port: int | None = None
    next_hop_tls_mode: str | None = None
    next_hop_user: str | None = Field(default=None, max_length=512)
    next_hop_password: str | None = Field(default=None, max_length=8192)
    next_hop_ca_file: str | None = Field(default=None, max_length=4096)
    tracking: str | None = None
    track_smtp: bool | None = None
    unsubscribe: bool | None = None
    on_in_doubt: str | None = None

    def change(self) -> Change:
        return Change(**self.model_dump(include=set(MailboxSettings.model_fields)))


class NewMailbox(MailboxSettings):
    """A mailbox to make."""

    address: str = Field(max_length=320)


class MailboxView(View):
    """A mailbox; its password is not shown to anybody."""

    mailbox_id: str
    address: str
    display_name: str | None
    next_hop_host: str | None
    next_hop_port: int | None
    next_hop_tls_mode: str | None
    next_hop_user: str | None
    next_hop_ca_file: str | None
    tracking: str
    track_smtp: bool
    unsubscribe: bool
    on_in_doubt: str
    created_at: dt.datetime
    updated_at: dt.datetime


class NewToken(Body):
    """A token to issue; absent limits take the configured defaults."""

    mailbox: str = Field(max_length=320)
    name: str = Field(default="", max_length=100)
    scopes: list[Scope] = [Scope.MESSAGES_SEND, Scope.MESSAGES_READ]
    lifetime_s: int | None = Field(default=None, ge=1, le=MOST)
    hourly: int | None = Field(default=None, ge=0, le=MOST)
    daily: int | None = Field(default=None, ge=0, le=MOST)
    unlimited: bool = False
    allowed_recipient_domains: list[str] = Field(default=[], max_length=1000)
    sandbox: bool = False


class TokenView(View):
    """A token without its secret."""

    token_id: str
    name: str
    scopes: list[str]
    hourly: int | None
    daily: int | None
    allowed_recipient_domains: list[str] | None
    sandbox: bool
    issued_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None


class NewDomain(Body):
    """A domain to make keys for."""

    domain: str = Field(max_length=255)


class RecordView(View):
    """A DNS record to publish."""

    name: str
    type: str
    value: str
    why: str


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_mailboxes(parts))
    routes.include_router(_tokens(parts))
    routes.include_router(_domains(parts))
    return routes


def _mailboxes(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/mailboxes")

    @routes.get("")
    async def show_all() -> dict[str, Any]:
        rows = await parts.mailboxes.list()
        return {"items": [MailboxView.model_validate(row) for row in rows]}

    @routes.post("", status_code=201)
    async def create(body: NewMailbox) -> MailboxView:
        return MailboxView.model_validate(await parts.mailboxes.create(body.address, body.change()))

    @routes.get("/{address:path}")
    async def show(address: str) -> MailboxView:
        return MailboxView.model_validate(await parts.mailboxes.get(address))

    @routes.patch("/{address:path}")
    async def update(address: str, body: MailboxSettings) -> MailboxView:
        return MailboxView.model_validate(await parts.mailboxes.update(address, body.change()))

    @routes.delete("/{address:path}")
    async def destroy(address: str) -> dict[str, Any]:
        return {"address": address, "tokens_revoked": await parts.mailboxes.destroy(address)}

    @routes.post("/{address:path}/validate")
    async def validate(address: str) -> dict[str, Any]:
        """Really connect to the next hop and log in."""
        row = await parts.mailboxes.get(address)
        next_hop = parts.mailboxes.next_hop_of(row)
        if next_hop is None:
            raise Refused(
                Code.NO_ROUTE,
                f"{row.address} has no next hop; set one with `gatewayd mailboxes update "
                f"{row.address} --next-hop-host HOST` or delivery.smarthost",
            )
        tls = await parts.check_next_hop(next_hop)
        return {
            "address": row.address,
            "next_hop": str(next_hop),
            "tls": tls,
            "user": next_hop.user,
            "logged_in": next_hop.user is not None,
        }

    return routes


def _tokens(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/tokens")

    @routes.get("")
    async def show_all(mailbox: str | None = None) -> dict[str, Any]:
        rows = await parts.tokens.list(mailbox)
        return {
            "items": [
                {"mailbox": address, **TokenView.model_validate(row).model_dump(mode="json")}
                for row, address in rows
            ]
        }

    @routes.post("", status_code=201)
    async def issue(body: NewToken) -> dict[str, Any]:
        issued = await parts.tokens.issue(
            Request(
                **{
                    **body.model_dump(exclude={"scopes", "allowed_recipient_domains"}),
                    "scopes": tuple(body.scopes),
                    "allowed_recipient_domains": tuple(body.allowed_recipient_domains),
                }
            )
        )
        view = TokenView.model_validate(issued.row).model_dump(mode="json")
        return {"token": issued.token, "mailbox": issued.mailbox, **view}

    @routes.delete("/{token_id:path}")
    async def revoke(token_id: str) -> dict[str, Any]:
        was_live = await parts.tokens.revoke(TokenId(token_id))
        return {"token_id": token_id, "revoked": True, "was_live": was_live}

    return routes


def _domains(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/domains")

    def shown(domain: str, records: Any) -> dict[str, Any]:  # noqa: ANN401 - values of the domains room
        return {"domain": domain, "records": [RecordView.model_validate(one) for one in records]}

    @routes.get("")
    async def show_all() -> dict[str, Any]:
        rows = await parts.domains.list()
        return {
            "items": [
                {
                    "domain": row.domain,
                    "selector": row.selector,
                    "algorithm": row.algorithm,
                    "created_at": row.created_at.isoformat(),
                }
                for row in rows
            ]
        }

    @routes.post("", status_code=201)
    async def add(body: NewDomain) -> dict[str, Any]:
        return shown(body.domain, await parts.domains.add(body.domain))

    @routes.get("/{domain:path}")
    async def dns(domain: str) -> dict[str, Any]:
        return shown(domain, await parts.domains.dns(domain))

    @routes.delete("/{domain:path}")
    async def remove(domain: str) -> dict[str, Any]:
        await parts.domains.remove(domain)
        return {"domain": domain, "removed": True}

    return routes
